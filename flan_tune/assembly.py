"""Building the parts of a run from its configuration: each function makes one of them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import cards, converters, errors, frozen, hosts, optim, partition, pretrained, vocab
from flan_tune import config as config_lib
from flan_tune.checkpoint import folders, orbax_io
from flan_tune.data import feed, mixing, tokens
from flan_tune.models import layout
from flan_tune.sources import playground
from flan_tune.train import norms, trainable
from flan_tune.train import step as step_lib


class Start(NamedTuple):
  """Where training begins.

  Attributes:
    state: The training state.
    sharding: Of every array of it.
    data: The feed's state to continue from; None at the very beginning.
    best: Score and step of the best checkpoint so far.
    base: What checkpoints say of the parameters that do not learn, and which they leave out.
    skips: What the checkpoint says of steps left out (`finite.Watch.state`).
  """

  state: step_lib.TrainState
  sharding: Any
  data: Mapping[str, Any] | None
  best: tuple[float, int] | None
  base: Mapping[str, Any] | None
  skips: Mapping[str, int] | None = None


def plan(data: config_lib.Data) -> mixing.Plan:
  """The mixture that a run asks for; errors as `mixing.plan`."""
  return mixing.plan(
    data.mixture,
    without=tuple(data.without),
    strict=data.strict,
    allow_benchmarks=data.allow_benchmarks,
  )


def open_vocabulary(run: config_lib.Run, plan: mixing.Plan) -> vocab.Vocabulary:
  """The run's vocabulary, checked against the model's table and the mixture's needs."""
  path = playground.VOCABULARY if run.data.vocabulary == "playground" else run.data.vocabulary
  vocabulary = vocab.Vocabulary(path, escape=run.data.escape, extra_ids=run.data.extra_ids)
  if vocabulary.size > run.model.vocab_size:
    raise errors.UserError(
      f"VOCAB_SIZE = {run.model.vocab_size}: the vocabulary {path} has {vocabulary.size} entries,"
      f" EXTRA_IDS = {run.data.extra_ids} of them sentinels"
    )
  mixture, _ = cards.load().mixture(plan.mixture)
  vocabulary.require(mixture.needs, where=f"{mixture.file or mixture.name}: needs")
  return vocabulary


def check_mesh(run: config_lib.Run, network: Any, mesh: Any) -> None:
  """Raises UserError unless the mesh, abstract or of devices, divides the batch and all dimensions.

  Nothing is compiled for it.
  """
  lengths = converters.CONVERTERS[network.features].limits(run.data.lengths)
  # A network without an encoder sees both sides in one row.
  sides: dict[str, int] = dict(zip(("inputs", "targets"), lengths, strict=False))
  partition.check(
    mesh,
    network.shapes,
    network.axes,
    batch_size=run.data.batch_size,
    microbatches=run.train.microbatches,
    dimensions=layout.dimensions(run.model, sides),
  )


def make_optimizer(run: config_lib.Run, axes: Any) -> Any:
  """Adafactor as configured."""
  settings = run.optimizer
  return optim.adafactor(
    learning_rate(run),
    axes=axes,
    # Adapters start at zeros, and steps relative to their size would hardly move them.
    multiply_by_parameter_scale=(
      (r"/lora_[ab]$", False),
      (".*", settings.multiply_by_parameter_scale),
    ),
    decay_rate=settings.decay_rate,
    step_offset=settings.step_offset,
    clipping_threshold=settings.clipping_threshold,
    min_dim_size_to_factor=settings.min_dim_size_to_factor,
    beta1=settings.beta1,
    weight_decay_rate=settings.weight_decay_rate,
  )


def learning_rate(run: config_lib.Run) -> optim.Schedule:
  """The rate as a function of the updates done: constant, but for the ends if they are given."""
  settings = run.optimizer
  if settings.final_learning_rate is not None:
    return optim.cosine(
      settings.learning_rate,
      num_steps=run.train.steps,
      final_rate=settings.final_learning_rate,
      warmup_steps=settings.warmup_steps,
    )
  if settings.warmup_steps == settings.cooldown_steps == 0:
    return optim.constant(settings.learning_rate)
  return optim.trapezoid(
    settings.learning_rate,
    num_steps=run.train.steps,
    warmup_steps=settings.warmup_steps,
    cooldown_steps=settings.cooldown_steps,
  )


def initial_params(
  run: config_lib.Run,
  network: Any,
  vocabulary: vocab.Vocabulary,
  mesh: jax.sharding.Mesh,
  *,
  path: pathlib.Path | None = None,
) -> Any:
  """Parameters before tuning: a checkpoint's, or random ones from the seed.

  Args:
    run: The configuration.
    network: What they are for.
    vocabulary: The run's.
    mesh: Where they go.
    path: The checkpoint; INITIAL_CHECKPOINT_PATH, if there is one, by default.
  """
  placed = partition.shardings(network.shapes, network.axes, mesh)
  path = path or initial_path(run)
  read = path and functools.partial(pretrained.read_params, path, vocabulary=vocabulary)
  return frozen.initial(network, seed=run.data.seed, read=read, shardings=placed)


def initial_path(run: config_lib.Run) -> pathlib.Path | None:
  """INITIAL_CHECKPOINT_PATH, if there is one."""
  return (
    None if run.train.initial_checkpoint is None else pathlib.Path(run.train.initial_checkpoint)
  )


def starting_state(
  run: config_lib.Run,
  network: Any,
  tx: Any,
  mesh: jax.sharding.Mesh,
  initial: Callable[..., Any],
) -> Start:
  """The state of the run's last good checkpoint, or of the initial parameters without one.

  `initial` gives these, of a `path` if it is told one.

  Raises:
    UserError: The checkpoint is of another model, or of one with other frozen parameters.
  """
  checkpoints = pathlib.Path(run.train.model_dir) / pretrained.CHECKPOINTS
  create = functools.partial(step_lib.create, tx=tx, learning=run.optimizer.trainable)
  shapes, sharding = state_shapes(run, network, tx, mesh)
  saved = lambda state: state._replace(frozen={})
  try:
    # Not `latest` first: each would read and hash the whole checkpoint.
    restored = orbax_io.restore(checkpoints, saved(shapes), shardings=saved(sharding))
  except orbax_io.NoCheckpoint:
    # Compiled, so that arrays of equal content get buffers of their own and can be donated.
    state = jax.jit(create, out_shardings=sharding)(initial())
    return Start(state, sharding, None, None, _base(run, state.frozen))
  if "data" not in restored.documents:
    raise errors.UserError(
      f"MODEL_DIR = {run.train.model_dir!r}: its checkpoints are converted ones, which do not say"
      " where a run's data stood; name them in INITIAL_CHECKPOINT_PATH and use a new MODEL_DIR"
    )
  score = best_so_far(checkpoints, restored)
  state, base = restored.state, restored.documents["meta"].get("base")
  if shapes.frozen:
    params = initial(path=base_path(base))
    rest = trainable.split(params, run.optimizer.trainable)[1]
    frozen.check(rest, base, where=f"{checkpoints}, step {restored.step}")
    state = state._replace(frozen=rest)
  documents = restored.documents
  return Start(state, sharding, documents["data"], score, base, documents.get("watch"))


def best_so_far(checkpoints: pathlib.Path, restored: orbax_io.Restored) -> tuple[float, int] | None:
  """Score and step of the best checkpoint up to a restored one; mends its mark.

  A kill may come between a checkpoint and its mark, and the mark may be of a later checkpoint that
  is damaged.
  """
  marked = orbax_io.best(checkpoints)
  if "best" not in restored.documents:  # of an earlier version
    return (marked.score, marked.step) if marked else None
  told = restored.documents["best"]
  if told is None:
    return None
  best = folders.Best(float(told["score"]), int(told["step"]))
  if best != marked and best.step in folders.present(checkpoints) and hosts.is_first():
    orbax_io.mark_best(checkpoints, step=best.step, score=best.score)
  return best.score, best.step


def state_shapes(
  run: config_lib.Run, network: Any, tx: Any, mesh: jax.sharding.Mesh
) -> tuple[Any, Any]:
  """Shapes of a training state's arrays, and where each lies."""
  create = functools.partial(step_lib.create, tx=tx, learning=run.optimizer.trainable)
  shapes = jax.eval_shape(create, network.shapes)
  return shapes, partition.shardings(shapes, network.axes, mesh)


def step_settings(run: config_lib.Run, network: Any, tx: Any, num_groups: int) -> dict[str, Any]:
  """What the compiled step depends on besides the shapes of state and batch.

  Args:
    num_groups: Of tasks, whose losses are told apart.
  """
  loss = dataclasses.asdict(run.loss)
  factor = loss["loss_normalizing_factor"]
  prepare = functools.partial(network.prepare, loss_normalizing_factor=factor)
  return {
    "loss_fn": functools.partial(network.loss, num_groups=num_groups, **loss),
    "tx": tx,
    "seed": run.data.seed,
    # Only parts of a batch need to be told of the whole.
    "prepare": prepare if run.train.microbatches > 1 else None,
    "microbatches": run.train.microbatches,
    "norm_groups": norms.GROUPS if run.train.log_norms else None,
  }


def batch_shapes(run: config_lib.Run, features: str) -> dict[str, Any]:
  """Shapes of a whole batch as the step gets it, of a network's `features`."""
  converter, lengths = converters.CONVERTERS[features], run.data.lengths
  if run.data.pack:
    arrays = converter.packed([[]] * run.data.batch_size, lengths)
  else:
    arrays = converter.unpacked([], lengths, batch_size=run.data.batch_size)
  arrays |= {"loss_groups": np.zeros_like(arrays["decoder_target_tokens"])}
  return {name: jax.ShapeDtypeStruct(one.shape, one.dtype) for name, one in arrays.items()}


def base_path(base: Mapping[str, Any] | None) -> pathlib.Path | None:
  """The checkpoint that a run began with, where INITIAL_CHECKPOINT_PATH may have newer ones.

  None where it is not there any more: then INITIAL_CHECKPOINT_PATH says where it has gone.

  Args:
    base: As `Start` has it.
  """
  path = pathlib.Path(base["path"]) if base and base["path"] else None
  return path if path and path.exists() else None


def _base(run: config_lib.Run, rest: Any) -> dict[str, Any] | None:
  return frozen.describe(rest, seed=run.data.seed, path=initial_path(run)) if rest else None


def open_feed(
  settings: config_lib.Data,
  plan: mixing.Plan,
  vocabulary: vocab.Vocabulary,
  features: str,
  state: Mapping[str, Any] | None,
  rows: Sequence[int] | None = None,
) -> feed.Feed:
  """The Grain feed for a network's `features`, from its beginning or from `state`.

  Args:
    rows: Of the batch, those that this process needs; all by default.
  """
  return feed.Feed(
    recipe(settings, plan, vocabulary, features),
    batch_size=settings.batch_size,
    pack=settings.pack,
    lookahead=settings.lookahead,
    num_workers=settings.num_workers,
    features=features,
    state=state,
    lanes=settings.lanes,
    rows=rows,
    everyone=hosts.everyone,
  )


def recipe(
  settings: config_lib.Data, plan: mixing.Plan, vocabulary: vocab.Vocabulary, features: str
) -> tokens.Recipe:
  """What the examples of a run are made of, for a network's `features`."""
  return feed.recipe(
    plan,
    vocabulary=vocabulary,
    lengths=(settings.lengths["inputs"], settings.lengths["targets"]),
    seed=settings.seed,
    long=settings.long,
    shots=settings.shots,
    objective=settings.objective,
    mode_tokens=settings.mode_tokens,
    shared_row=features == "decoder_only",
  )
