"""What a training run is made from: frozen dataclasses that know which values make no sense.

Gin files fill them (`gin_files.resolve`); messages name the macros of `configs/`.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flan_tune import errors
from flan_tune.data import tokens
from flan_tune.models import losses, palm, t5

# Steps and seeds are 32-bit numbers on the devices.
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Data:
  """What is read.  Macros: MIXTURE_OR_TASK_NAME, TASK_FEATURE_LENGTHS, BATCH_SIZE, RANDOM_SEED.

  Attributes:
    lengths: Tokens a row holds, {"inputs": ..., "targets": ...}, EOS included.
    vocabulary: Path of a SentencePiece model, or "playground".
    escape: Spell out what the vocabulary lacks (`vocab.Vocabulary`).
    extra_ids: Sentinels after the vocabulary's pieces.
    without: Tasks, mixtures and groups to leave out.
    strict: Missing data stop the run.
    allow_benchmarks: Train on tasks of held-out benchmarks, too.
    long: "drop" or "trim" examples beyond the lengths; both are counted per task.
    shots: Most exemplars in a few-shot prompt.
    lookahead: Examples the packer may choose among.
    num_workers: Processes that render and tokenise; 0 uses a thread.
    objective: What is learnt: "instructions", or a key of `denoising.OBJECTIVES` on running text.
    mode_tokens: Whether a mixture of denoisers names its denoiser before the inputs.
    lanes: Independent streams that a batch is made of, each of as many rows: what lets each of
      several hosts read its share alone.
  """

  mixture: str
  lengths: Mapping[str, int]
  batch_size: int
  seed: int = 0
  vocabulary: str = "playground"
  escape: bool = False
  extra_ids: int = 100
  without: Sequence[str] = ()
  strict: bool = False
  allow_benchmarks: bool = False
  pack: bool = True
  long: str = "drop"
  shots: int = 5
  lookahead: int = 256
  num_workers: int = 0
  objective: str = tokens.INSTRUCTIONS
  mode_tokens: bool = True
  lanes: int = 1

  def __post_init__(self):
    if not isinstance(self.lengths, Mapping) or set(self.lengths) != {"inputs", "targets"}:
      raise errors.UserError(
        f"TASK_FEATURE_LENGTHS = {self.lengths!r}: expected {{'inputs': n, 'targets': n}}"
      )
    for side, length in self.lengths.items():
      _whole(length, f"TASK_FEATURE_LENGTHS[{side!r}]", least=2)
    _whole(self.batch_size, "BATCH_SIZE")
    _whole(self.seed, "RANDOM_SEED", least=0, most=_MOST)
    _whole(self.shots, "SHOTS")
    _whole(self.lookahead, "LOOKAHEAD")
    _whole(self.num_workers, "NUM_WORKERS", least=0)
    _whole(self.extra_ids, "EXTRA_IDS", least=0)
    _whole(self.lanes, "DATA_LANES")
    if self.batch_size % self.lanes:
      raise errors.UserError(
        f"DATA_LANES = {self.lanes}: does not divide BATCH_SIZE = {self.batch_size}"
      )
    names = self.without if isinstance(self.without, list | tuple) else [None]
    if not all(isinstance(name, str) for name in names):
      raise errors.UserError(
        f"WITHOUT = {self.without!r}: expected a list of names, as in ('rte',)"
      )
    errors.one_of(self.long, tokens.LONG_RULES, "LONG_EXAMPLES")
    errors.one_of(self.objective, tokens.OBJECTIVES, "OBJECTIVE")


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """Adafactor with T5X's defaults (T5X: t5x/adafactor.py); the rate is constant unless said.

  Attributes:
    warmup_steps: First steps, over which the rate grows from 0.
    cooldown_steps: Last steps, over which it falls towards 0.
    final_learning_rate: Where the rate falls to along half a cosine; None keeps it.
    trainable: Path pattern of the parameters that learn.
  """

  learning_rate: float
  warmup_steps: int = 0
  cooldown_steps: int = 0
  final_learning_rate: float | None = None
  decay_rate: float = 0.8
  step_offset: int = 0
  clipping_threshold: float = 1.0
  multiply_by_parameter_scale: bool = True
  min_dim_size_to_factor: int = 128
  weight_decay_rate: float | None = None
  beta1: float | None = None
  trainable: str = ".*"

  def __post_init__(self):
    # Steps are float32 numbers, and one that overflows cannot be left out any more.
    told = "a number above 0 and at most 1e30"
    _number(self.learning_rate, "LEARNING_RATE", told, lambda rate: 0 < rate <= 1e30)
    told = "a number from 0 to 1e30, or None"
    _number(self.final_learning_rate, "FINAL_LEARNING_RATE", told, lambda rate: 0 <= rate <= 1e30)
    _number(self.clipping_threshold, "Optimizer.clipping_threshold", "a number above 0", _above_0)
    _whole(self.min_dim_size_to_factor, "Optimizer.min_dim_size_to_factor", least=0)
    if self.step_offset > 0:
      raise errors.UserError(
        f"Optimizer.step_offset = {self.step_offset}: expected 0 or less, as updates count from 1"
      )
    _number(self.decay_rate, "Optimizer.decay_rate", "a number, 0 or more", _from_0)
    told = "a number, at least 0 and below 1, or None"
    _number(self.beta1, "Optimizer.beta1", told, _is_share)
    _number(self.weight_decay_rate, "Optimizer.weight_decay_rate", told, _is_share)
    _whole(self.warmup_steps, "WARMUP_STEPS", least=0)
    _whole(self.cooldown_steps, "COOLDOWN_STEPS", least=0)
    try:
      re.compile(self.trainable)
    except re.error as error:
      raise errors.UserError(
        f"TRAINABLE = {self.trainable!r}: no regular expression: {error}"
      ) from None
    if self.final_learning_rate is not None and self.cooldown_steps:
      raise errors.UserError(
        f"FINAL_LEARNING_RATE = {self.final_learning_rate} and COOLDOWN_STEPS ="
        f" {self.cooldown_steps}: the rate can fall in one way only; leave one of them out"
      )


@dataclasses.dataclass(frozen=True)
class Loss:
  """Cross entropy as T5X computes it (T5X: t5x/losses.py).

  Attributes:
    chunk: Target tokens of a batch whose logits exist at a time; None for all.
  """

  z_loss: float = 1e-4
  label_smoothing: float = 0.0
  loss_normalizing_factor: float | str | None = None
  chunk: int | None = None

  def __post_init__(self):
    _whole_or_none(self.chunk, "LOSS_CHUNK")
    _number(self.z_loss, "Z_LOSS", "a number, 0 or more", _from_0)
    told = "a number, at least 0 and below 1"
    _number(self.label_smoothing, "LABEL_SMOOTHING", told, _is_share)
    factor = self.loss_normalizing_factor
    if isinstance(factor, str):
      errors.one_of(factor.upper(), losses.NORMALIZING_FACTORS, "LOSS_NORMALIZING_FACTOR")
    else:
      _number(
        factor, "LOSS_NORMALIZING_FACTOR", "a number above 0, a rule's name or None", _above_0
      )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What is scored, when and on how much.

  Attributes:
    period: Steps between evaluations of the held-out tasks; 0 for none.
    steps: Batches per task in those.
    batch_size: Prompts generated for at a time.
    held_out: The held-out tasks, or None: names separated by commas, of benchmarks (`mmlu_direct`),
      tasks or mixtures.
    final_examples: Unseen examples per task in the final table; 0 leaves the table out.
    max_tokens: Longest generation; None takes the targets' length.
    shots: Exemplars in prompts of held-out tasks; benchmarks have their own number.
    patience: Evaluations without a new best average after which training ends; None for never.
  """

  period: int = 1000
  steps: int = 1
  batch_size: int = 32
  held_out: str | None = None
  final_examples: int = 64
  max_tokens: int | None = None
  shots: int = 2
  patience: int | None = None

  def __post_init__(self):
    _whole(self.period, "EVAL_PERIOD", least=0)
    _whole(self.steps, "EVAL_STEPS")
    _whole(self.batch_size, "EVAL_BATCH_SIZE")
    _whole(self.final_examples, "FINAL_EXAMPLES", least=0)
    _whole(self.shots, "EVAL_SHOTS", least=0)
    _whole_or_none(self.max_tokens, "MAX_DECODE_TOKENS")
    _whole_or_none(self.patience, "EVAL_PATIENCE")


@dataclasses.dataclass(frozen=True)
class Train:
  """The loop.  Macros: MODEL_DIR, TRAIN_STEPS, CHECKPOINT_PERIOD, MESH, ...

  Attributes:
    mesh: As in "data=2,fsdp=2,model=2"; -1 stands for the rest of the devices.
    dcn_mesh: How many slices lie along which axis, as in "data=2"; `mesh` then is of one slice.
    microbatches: Parts of a batch whose gradients are summed, one part in memory at a time.
    keep: Newest checkpoints to keep, beside the best one.
    keep_every: Checkpoints whose step is a multiple of this stay, too.
    async_checkpoints: Write files while training goes on.
    log_period: Steps between lines of metrics.jsonl.
    log_norms: Log norms of gradients and updates by group of parameters.
    max_skipped: Steps in a row whose loss or gradient is not finite before the run stops.
    deterministic: Bit-exact from run to run, whatever the backend.
    compilation_cache: Keep compiled programs in MODEL_DIR/compiled.
    peak_flops: Of one device, in FLOP/s; None looks it up, or measures it on a CPU.
  """

  model_dir: str
  steps: int
  mesh: str = "data=-1"
  dcn_mesh: str | None = None
  microbatches: int = 1
  checkpoint_period: int = 1000
  keep: int = 2
  keep_every: int | None = None
  async_checkpoints: bool = True
  log_period: int = 10
  log_norms: bool = False
  max_skipped: int = 10
  deterministic: bool = False
  compilation_cache: bool = True
  peak_flops: float | None = None
  initial_checkpoint: str | None = None

  def __post_init__(self):
    _whole(self.steps, "TRAIN_STEPS", most=_MOST)
    _whole(self.checkpoint_period, "CHECKPOINT_PERIOD")
    _whole(self.keep, "KEEP_CHECKPOINTS")
    _whole(self.log_period, "LOG_PERIOD")
    _whole(self.microbatches, "MICROBATCHES")
    _whole(self.max_skipped, "MAX_SKIPPED_STEPS")
    _whole_or_none(self.keep_every, "KEEP_EVERY")
    _number(self.peak_flops, "PEAK_FLOPS", "FLOP/s of one device, or None", _above_0)
    if not self.model_dir:
      raise errors.UserError("MODEL_DIR = '': name a folder")


@dataclasses.dataclass(frozen=True)
class Run:
  """Everything a run is made from.  `model` is a configuration of `flan_tune.models`."""

  model: Any
  data: Data
  optimizer: Optimizer
  loss: Loss
  evaluation: Evaluation
  train: Train

  def __post_init__(self):
    if not isinstance(self.model, palm.PaLMConfig | t5.T5Config):
      raise errors.UserError(
        f"MODEL = {self.model!r}: expected a network, @t5.T5Config() or @palm.PaLMConfig()"
      )
    for field in dataclasses.fields(self.model):
      if field.type is int and field.name != "lora_rank":
        name = f"{type(self.model).__name__}.{field.name}"
        _whole(getattr(self.model, field.name), name)
    if self.model.param_dtype != "float32":
      raise errors.UserError(
        f"PARAM_DTYPE = {self.model.param_dtype!r}: training needs float32 parameters, as steps are"
        ' smaller than bfloat16 can add; to save time and memory set ACTIVATION_DTYPE = "bfloat16"'
      )


def _whole(value: Any, name: str, *, least: int = 1, most: int | None = None) -> None:
  whole = isinstance(value, int) and not isinstance(value, bool)
  if not whole or value < least or (most is not None and value > most):
    told = f", {least} or more" if most is None else f" from {least} to {most}"
    raise errors.UserError(f"{name} = {value!r}: expected a whole number{told}")


def _whole_or_none(value: Any, name: str) -> None:
  if value is not None:
    _whole(value, name)


def _number(value: float | None, name: str, told: str, fits: Callable[[float], bool]) -> None:
  """None passes: `bindings` refuses it where a field is not for it; what is infinite does not."""
  if value is not None and not (math.isfinite(value) and fits(value)):
    raise errors.UserError(f"{name} = {value!r}: expected {told}")


def _above_0(value: float) -> bool:
  return value > 0


def _from_0(value: float) -> bool:
  return value >= 0


def _is_share(value: float) -> bool:
  return 0 <= value < 1
