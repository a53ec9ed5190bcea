"""Gin, in one place: files and bindings -> frozen dataclasses, or one sentence on what is wrong.

Gin files may import only modules of an allow-list (ours, and those named in
FLAN_TUNE_GIN_IMPORTS), checked before gin sees them: importing is running code.
"""

import dataclasses
import os
import pathlib
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import gin
from gin import config_parser

from flan_tune import assets, errors
from flan_tune import bindings as bindings_lib
from flan_tune.data import tokens

T = TypeVar("T")
ALLOWED_IMPORTS = ("__gin__", "flan_tune")
_DYNAMIC = "__gin__.dynamic_registration"


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
      _positive(length, f"TASK_FEATURE_LENGTHS[{side!r}]", least=2)
    _positive(self.batch_size, "BATCH_SIZE")
    _positive(self.shots, "SHOTS")
    _positive(self.lookahead, "LOOKAHEAD")
    _positive(self.num_workers, "NUM_WORKERS", least=0)
    _positive(self.extra_ids, "EXTRA_IDS", least=0)
    _positive(self.lanes, "DATA_LANES")
    if self.batch_size % self.lanes:
      raise errors.UserError(
        f"DATA_LANES = {self.lanes}: does not divide BATCH_SIZE = {self.batch_size}"
      )
    if isinstance(self.without, str) or not isinstance(self.without, Sequence):
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
    if not _is_number(self.learning_rate) or not 0 < self.learning_rate <= 1e30:
      raise errors.UserError(
        f"LEARNING_RATE = {self.learning_rate!r}: expected a number above 0 and at most 1e30"
      )
    _positive(self.warmup_steps, "WARMUP_STEPS", least=0)
    _positive(self.cooldown_steps, "COOLDOWN_STEPS", least=0)
    try:
      re.compile(self.trainable)
    except re.error as error:
      raise errors.UserError(
        f"TRAINABLE = {self.trainable!r}: no regular expression: {error}"
      ) from None
    if self.final_learning_rate is None:
      return
    if not _is_number(self.final_learning_rate) or self.final_learning_rate < 0:
      raise errors.UserError(
        f"FINAL_LEARNING_RATE = {self.final_learning_rate!r}: expected a number, 0 or more, or None"
      )
    if self.cooldown_steps:
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
    if self.chunk is not None:
      _positive(self.chunk, "LOSS_CHUNK")
    if isinstance(self.loss_normalizing_factor, str):
      from flan_tune.models import losses  # brings JAX, which few who read a gin file need

      name, known = self.loss_normalizing_factor.upper(), losses.NORMALIZING_FACTORS
      errors.one_of(name, known, "LOSS_NORMALIZING_FACTOR")


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
    _positive(self.period, "EVAL_PERIOD", least=0)
    _positive(self.steps, "EVAL_STEPS")
    _positive(self.batch_size, "EVAL_BATCH_SIZE")
    _positive(self.final_examples, "FINAL_EXAMPLES", least=0)
    _positive(self.shots, "EVAL_SHOTS", least=0)
    if self.max_tokens is not None:
      _positive(self.max_tokens, "MAX_DECODE_TOKENS")
    if self.patience is not None:
      _positive(self.patience, "EVAL_PATIENCE")


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
    _positive(self.steps, "TRAIN_STEPS")
    _positive(self.checkpoint_period, "CHECKPOINT_PERIOD")
    _positive(self.keep, "KEEP_CHECKPOINTS")
    _positive(self.log_period, "LOG_PERIOD")
    _positive(self.microbatches, "MICROBATCHES")
    _positive(self.max_skipped, "MAX_SKIPPED_STEPS")
    if self.keep_every is not None:
      _positive(self.keep_every, "KEEP_EVERY")
    if self.peak_flops is not None and not (_is_number(self.peak_flops) and self.peak_flops > 0):
      raise errors.UserError(f"PEAK_FLOPS = {self.peak_flops!r}: expected FLOP/s of one device")
    for name in ("async_checkpoints", "log_norms", "deterministic", "compilation_cache"):
      if not isinstance(value := getattr(self, name), bool):
        raise errors.UserError(f"{name.upper()} = {value!r}: expected True or False")


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
    for field in dataclasses.fields(self.model):
      if field.type is int and field.name != "lora_rank":
        name = f"{type(self.model).__name__}.{field.name}"
        _positive(getattr(self.model, field.name), name)
    if self.model.param_dtype != "float32":
      raise errors.UserError(
        f"PARAM_DTYPE = {self.model.param_dtype!r}: training needs float32 parameters, as steps are"
        ' smaller than bfloat16 can add; to save time and memory set ACTIVATION_DTYPE = "bfloat16"'
      )


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object, name: str, least: int = 1) -> None:
  if not isinstance(value, int) or isinstance(value, bool) or value < least:
    raise errors.UserError(f"{name} = {value!r}: expected a whole number, {least} or more")


def resolve(files: Sequence[str], bindings: Sequence[str]) -> tuple[Run, str]:
  """A training run from gin files and `NAME=value` bindings; see `resolved`."""
  return resolved(Run, files, bindings)


def resolved(what: type[T], files: Sequence[str], bindings: Sequence[str]) -> tuple[T, str]:
  """Parses gin files and `NAME=value` bindings.

  Args:
    what: The dataclass that the files configure.

  Returns:
    The run, and the resolved configuration as text that parses back to the same run.

  Raises:
    UserError: A file is missing or malformed, imports what it may not, names something that does
      not exist, or leaves a required value out.
  """
  if not files:
    raise errors.UserError(
      "--gin_file: no file given, such as --gin_file=experiments/quickstart.gin"
    )
  overrides = [_literal(binding) for binding in bindings]
  sources = [_read(name) for name in files]
  statements = [one for source in sources for one in source.statements]
  statements += [
    one for text in overrides for one in _parsed(text, f"--gin.{text.split('=')[0].strip()}")
  ]
  imports, bound = _imports(statements), _bindings(statements)
  bindings_lib.check(bound, imports)
  gin.clear_config()
  try:
    # As one text: gin would look for included files in its own way, and complain as it searches.
    texts = [f"from __gin__ import {_DYNAMIC.rpartition('.')[2]}"]
    gin.parse_config("\n".join([*texts, *(source.text for source in sources), *overrides]))
    run = _configurable(what, files)()
  except errors.UserError as error:
    told = str(error).split("\n  In call")[0]
    raise errors.UserError(bindings_lib.with_macros(told, bound)) from None
  except (ValueError, TypeError, SyntaxError, RuntimeError) as error:
    raise errors.UserError(_sentence(error)) from None
  return run, gin.config_str(max_line_length=100)


def _configurable(what: type[T], files: Sequence[str]) -> Callable[[], T]:
  try:
    return gin.get_configurable(what)
  except ValueError:  # nothing imports its module
    told = ", ".join(files)
    raise errors.UserError(f"--gin_file={told}: configures no {what.__name__}") from None


def _imports(statements: Sequence[Any]) -> dict[str, str]:
  found = [one for one in statements if isinstance(one, config_parser.ImportStatement)]
  return {one.alias or one.module.rpartition(".")[2]: one.module for one in found}


def _bindings(statements: Sequence[Any]) -> list[Any]:
  return [one for one in statements if isinstance(one, config_parser.BindingStatement)]


def find(name: str) -> pathlib.Path:
  """A gin file by name: FLAN_TUNE_PATH, the package's `configs`, then the current folder.

  Raises:
    UserError: Not found; the nearest known name is given.
  """
  for folder in _folders():
    if (folder / name).is_file():
      return folder / name
  known = [
    str(path.relative_to(folder))
    for folder in assets.search_path("configs")
    for path in folder.rglob("*.gin")
  ]
  raise errors.unknown(name, known, where="--gin_file")


def _folders() -> list[pathlib.Path]:
  return [*assets.search_path("configs"), pathlib.Path.cwd()]


def _literal(binding: str) -> str:
  """`NAME=value` with a value that is no Python literal, macro or reference put in quotes."""
  name, sign, value = binding.partition("=")
  if not sign:
    raise errors.UserError(f"--gin.{binding}: expected --gin.NAME=value")
  value = value.strip()
  try:
    next(iter(config_parser.ConfigParser(f"X = {value}", _References())))
  except (SyntaxError, StopIteration, ValueError, tokenize.TokenError):
    value = repr(value)
  return f"{name.strip()} = {value}"


class _References(config_parser.ParserDelegate):
  """Stands in for gin's objects while we look a file over: names only, nothing is imported."""

  def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
    return ("@", scoped_configurable_name)

  def macro(self, name: str) -> Any:
    return ("%", name)


def _parsed(source: Any, where: str) -> list[Any]:
  try:
    return list(config_parser.ConfigParser(source, _References()))
  except SyntaxError as error:
    line = f" line {error.lineno}" if error.lineno else ""
    raise errors.UserError(f"{where}{line}: {error.msg}: {(error.text or '').strip()!r}") from None
  except tokenize.TokenError as error:
    raise errors.UserError(f"{where}: {error.args[0]}: a bracket or quote is not closed") from None


class _Source(NamedTuple):
  """A gin file with what it includes put in its place: its statements, and its text."""

  statements: list[Any]
  text: str


def _read(name: str, within: tuple[str, ...] = ()) -> _Source:
  """Reads a file and those it includes, and checks what they import."""
  if name in within:
    raise errors.UserError(f"{name}: includes itself through {' -> '.join(within)}")
  path = find(name)
  with path.open() as file:
    parsed = _parsed(file, name)
  lines = path.read_text().splitlines()
  statements = []
  for statement in parsed:
    if isinstance(statement, config_parser.IncludeStatement):
      included = _read(statement.filename, (*within, name))
      statements += included.statements
      lines[statement.location.line_num - 1] = included.text
      continue
    if isinstance(statement, config_parser.ImportStatement):
      _check_import(statement, name)
      if statement.module == _DYNAMIC:  # gin wants it once, before all else: `resolve` says it
        lines[statement.location.line_num - 1] = ""
        continue
    statements.append(statement)
  return _Source(statements, "\n".join(lines))


def _check_import(statement: Any, name: str) -> None:
  named = os.environ.get("FLAN_TUNE_GIN_IMPORTS", "")
  allowed = (*ALLOWED_IMPORTS, *(one.strip() for one in named.split(",") if one.strip()))
  module = statement.module
  if not any(module == one or module.startswith(f"{one}.") for one in allowed):
    raise errors.UserError(
      f"{name} line {statement.location.line_num}: import of {module!r} is not allowed; allowed"
      f" are {', '.join(allowed)}; name it in FLAN_TUNE_GIN_IMPORTS if you trust it"
    )


def _sentence(error: Exception) -> str:
  """Gin's message without the dump of the configuration that follows it."""
  text = str(error)
  missing = re.search(r"Required bindings for `([^`]+)` not provided[^:]*: \[([^\]]*)\]", text)
  if missing:
    return f"{missing[1]}: required and not set: {missing[2]}"
  first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
  return re.sub(r"\s+", " ", first)
