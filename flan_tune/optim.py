"""Adafactor with T5X's semantics, learning rate schedules, and choosing parameters by path.

Paths of parameters are joined by "/", as in `encoder/layers_0/attention/query/kernel`.  A table is
an ordered sequence of (regular expression, value); the first expression found anywhere in a path
(`re.search`, as in T5X) gives the parameter its value.  Tables of logical axes are the model's and
their expressions match whole paths.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flan_tune import errors, partition

Value = TypeVar("Value")
Table = Sequence[tuple[str, Value]]
Schedule = Callable[[Any], Any]

# Which side of the factored second moment a logical axis belongs to; "batch" axes hold separate
# tensors.  The names and sides are facts of T5X (t5x: t5x/adafactor.py,
# standard_logical_factor_rules): a converted checkpoint must have v_row and v_col the same way.
LOGICAL_SIDES: Mapping[str, str] = {
  "embed": "row",
  "vocab": "column",
  "mlp": "column",
  "heads": "column",
  "kv": "column",
  "joined_kv": "column",
  "q_wi_fused": "column",
  "o_wo_fused": "column",
  "multiquery_heads": "column",
  "kv_fused": "column",
  "mlp_activations": "column",
  "relpos_buckets": "none",
  "lora": "none",  # ours: a low rank is too short to factor, in a stack as alone
  "layer_norm_scale": "none",
  "layers": "batch",
  "stack": "batch",
}


class ParameterState(NamedTuple):
  """What Adafactor remembers of one parameter; float32, zeros of shape (1,) where unused.

  v_row and v_col are the factored second moment, v the whole one, m the momentum.
  """

  v_row: jax.Array
  v_col: jax.Array
  v: jax.Array
  m: jax.Array

  def kept(
    self, path: str, shape: tuple[int, ...], axes: "Table[tuple[str, ...]]"
  ) -> "ParameterState":
    """For each array, the dimensions of the parameter that it has if it is used: placement's."""
    # Whether it is factored shows in the arrays themselves; here, how it would be.
    plan = factoring(path, shape, axes=axes, min_dim_size_to_factor=0)
    left: Any = lambda gone: tuple(d for d in range(len(shape)) if d not in gone)
    return ParameterState(left(plan.columns), left(plan.rows), left(()), left(()))


class AdafactorState(NamedTuple):
  """State of `adafactor`: int32 number of updates done, and a `ParameterState` per parameter."""

  step: jax.Array
  param_states: Any


class Factoring(NamedTuple):
  """How one tensor's second moment is kept: dimensions, in order.

  mean: what root mean squares are taken over (all but the batch dimension).
  rows, columns: the two sides of the factored form; both empty when it is not factored.
  """

  mean: tuple[int, ...]
  rows: tuple[int, ...] = ()
  columns: tuple[int, ...] = ()


class _Settings(NamedTuple):
  """The arguments of `adafactor`, under the same names."""

  learning_rate: Schedule
  axes: Table[tuple[str, ...]]
  batch_axes: Table[int]
  multiply_by_parameter_scale: bool | Table[bool]
  decay_rate: float
  step_offset: int
  clipping_threshold: float | None
  epsilon1: float
  epsilon2: float
  min_dim_size_to_factor: int
  beta1: float | None
  weight_decay_rate: float | None
  global_norm_clip_threshold: float | None


def adafactor(
  learning_rate: float | Schedule,
  *,
  axes: Table[tuple[str, ...]] = (),
  batch_axes: Table[int] = (),
  multiply_by_parameter_scale: bool | Table[bool] = True,
  decay_rate: float = 0.8,
  step_offset: int = 0,
  clipping_threshold: float | None = 1.0,
  epsilon1: float = 1e-30,
  epsilon2: float = 1e-3,
  min_dim_size_to_factor: int = 128,
  beta1: float | None = None,
  weight_decay_rate: float | None = None,
  global_norm_clip_threshold: float | None = None,
) -> optax.GradientTransformation:
  """Adafactor (Shazeer and Stern 2018) as T5X computes it; its defaults are T5X's fine-tuning ones.

  Differs from `optax.adafactor` on stacked layers: each layer has its own root mean squares.
  Source: t5x: t5x/adafactor.py.

  Args:
    learning_rate: A number, or a function of the int32 number of updates done before this one.
    axes: The model's table of logical axes, such as (".*/wo/kernel", ("mlp", "embed")).
      They decide the sides of factored tensors of rank 3 and more (whatever
      `min_dim_size_to_factor` says), and which axis stacks layers.
    batch_axes: For models without `axes`: the axis along which a parameter is a stack of separate
      tensors, each of which is then treated exactly as it would be alone.
    multiply_by_parameter_scale: Whether steps are relative to the parameter's root mean square
      (at least `epsilon2`); a table must match every parameter.
    decay_rate: The second moment keeps 1 - t**-decay_rate of its past at update t = 1, 2, ...
    step_offset: Updates to subtract from t; the first step of a fine-tuning forgets the past.
    clipping_threshold: Upper limit of an update's root mean square before it is scaled.
    epsilon1: Added to squared gradients.
    min_dim_size_to_factor: Matrices are factored when both dimensions are at least this long.
    beta1: Momentum of the scaled update; None keeps none.
    weight_decay_rate: Share of a parameter removed per update, not multiplied by the rate.
    global_norm_clip_threshold: Gradients are scaled down together to this norm first.

  Raises:
    UserError: (from `init` and `update`) a parameter that a table misses, or of rank 3 or more
      that neither `axes` nor `batch_axes` describes.
  """
  settings = _Settings(
    as_schedule(learning_rate),
    axes,
    batch_axes,
    multiply_by_parameter_scale,
    decay_rate,
    step_offset,
    clipping_threshold,
    epsilon1,
    epsilon2,
    min_dim_size_to_factor,
    beta1,
    weight_decay_rate,
    global_norm_clip_threshold,
  )
  return optax.GradientTransformation(
    functools.partial(_init, settings=settings), functools.partial(_update, settings=settings)
  )


def _init(params, *, settings: _Settings) -> AdafactorState:
  states = [
    _initial_state(leaf.shape, _plan(path, leaf, settings), momentum=settings.beta1 is not None)
    for path, leaf in named_leaves(params)
  ]
  tree = jax.tree.structure(params)
  return AdafactorState(jnp.zeros((), jnp.int32), jax.tree.unflatten(tree, states))


def _update(updates, state: Any, params: Any = None, *, settings: _Settings):
  if params is None:
    raise ValueError("adafactor needs the parameters: steps are relative to their size")
  tree = jax.tree.structure(params)
  if settings.global_norm_clip_threshold is not None:
    updates = clip_by_global_norm(updates, settings.global_norm_clip_threshold)
  results = [
    _update_parameter(path, leaf, grad, old, state.step, settings)
    for (path, leaf), grad, old in zip(
      named_leaves(params),
      tree.flatten_up_to(updates),
      tree.flatten_up_to(state.param_states),
      strict=True,
    )
  ]
  changes, states = zip(*results, strict=True) if results else ((), ())
  new_state = AdafactorState(state.step + 1, jax.tree.unflatten(tree, states))
  return jax.tree.unflatten(tree, changes), new_state


def _plan(path: str, parameter, settings: _Settings) -> Factoring:
  return factoring(
    path,
    np.shape(parameter),
    axes=settings.axes,
    batch_axes=settings.batch_axes,
    min_dim_size_to_factor=settings.min_dim_size_to_factor,
  )


def factoring(
  path: str,
  shape: tuple[int, ...],
  *,
  axes: Table[tuple[str, ...]] = (),
  batch_axes: Table[int] = (),
  min_dim_size_to_factor: int = 128,
) -> Factoring:
  """The dimensions over which one parameter's statistics are averaged and factored.

  Without a stack of layers, tensors of rank 0 to 2 follow the sizes of their dimensions alone.
  """
  sides = _logical_sides(path, shape, axes) if axes else None
  if sides and (len(shape) > 2 or "batch" in sides):
    mean = tuple(d for d, side in enumerate(sides) if side != "batch")
    rows = tuple(d for d, side in enumerate(sides) if side == "row")
    columns = tuple(d for d, side in enumerate(sides) if side == "column")
    # Only one side present, as in a stack of norm scales: there is nothing to factor.
    return Factoring(mean, rows, columns) if rows and columns else Factoring(mean)
  batch = first_match(path, batch_axes)
  mean = tuple(d for d in range(len(shape)) if batch is None or d != batch % len(shape))
  if len(mean) > 2:
    raise errors.UserError(
      f"adafactor: {path} has shape {list(shape)}, and neither axes nor batch_axes says which of"
      " its dimensions are separate tensors, rows and columns"
    )
  by_length = sorted(mean, key=lambda d: shape[d])  # stable: equal lengths stay in order
  if len(by_length) < 2 or shape[by_length[0]] < min_dim_size_to_factor:
    return Factoring(mean)
  return Factoring(mean, (by_length[0],), (by_length[1],))


def _logical_sides(path: str, shape: tuple[int, ...], axes: Table[tuple[str, ...]]) -> list[str]:
  names = partition.logical_axes(path, axes)
  if len(names) != len(shape):
    raise errors.UserError(
      f"adafactor: {path} has shape {list(shape)} but logical axes {tuple(names)}"
    )
  sides = [LOGICAL_SIDES[errors.one_of(name, LOGICAL_SIDES, f"axes of {path}")] for name in names]
  if {"row", "column", "none"} <= set(sides):
    raise errors.UserError(
      f"adafactor: {path} cannot be factored with logical axes {tuple(names)}:"
      " some are rows, some columns, and some neither"
    )
  return sides


def _initial_state(shape: tuple[int, ...], plan: Factoring, *, momentum: bool) -> ParameterState:
  # Each field has a buffer of its own: the same one twice in a state could not be donated.
  def zeros(used: bool, *, without: tuple[int, ...] = ()) -> jax.Array:
    lengths = [n for d, n in enumerate(shape) if d not in without] if used else [1]
    return jnp.zeros(lengths, jnp.float32)

  factored = bool(plan.rows)
  return ParameterState(
    v_row=zeros(factored, without=plan.columns),
    v_col=zeros(factored, without=plan.rows),
    v=zeros(not factored),
    m=zeros(momentum),
  )


def _update_parameter(
  path: str,
  parameter: jax.Array,
  grad: jax.Array,
  state: ParameterState,
  step: jax.Array,
  settings: _Settings,
) -> tuple[jax.Array, ParameterState]:
  """The float32 number to add to one parameter, and its new state."""
  plan = _plan(path, parameter, settings)
  parameter = parameter.astype(jnp.float32)
  direction, state = _precondition(grad.astype(jnp.float32), state, step, plan, settings)
  if settings.clipping_threshold is not None:
    excess = _root_mean_square(direction, plan.mean) / settings.clipping_threshold
    direction = direction / jnp.maximum(1.0, excess)
  scale = jnp.asarray(settings.learning_rate(step), jnp.float32)
  relative = settings.multiply_by_parameter_scale
  if not isinstance(relative, bool):
    relative = _required_match(path, relative, "multiply_by_parameter_scale")
  if relative:
    scale = scale * jnp.maximum(_root_mean_square(parameter, plan.mean), settings.epsilon2)
  change = -scale * direction
  if settings.beta1 is not None:
    # T5X keeps the momentum of what is subtracted, so m has the opposite sign of the change.
    momentum = settings.beta1 * state.m - (1.0 - settings.beta1) * change
    state = state._replace(m=momentum)
    change = -momentum
  if settings.weight_decay_rate is not None:
    change = change - settings.weight_decay_rate * parameter
  return change, state


def _precondition(
  grad: jax.Array,
  state: ParameterState,
  step: jax.Array,
  plan: Factoring,
  settings: _Settings,
) -> tuple[jax.Array, ParameterState]:
  """The gradient over the root of its second moment, and the state with that moment updated."""
  update_number = (step - settings.step_offset).astype(jnp.float32) + 1.0
  mixing = update_number ** (-settings.decay_rate)

  def mix(old: jax.Array, new: jax.Array) -> jax.Array:
    return (1.0 - mixing) * old + mixing * new

  squared = jnp.square(grad) + settings.epsilon1
  if not plan.rows:
    v = mix(state.v, squared)
    return grad * jax.lax.rsqrt(v), state._replace(v=v)
  v_row = mix(state.v_row, jnp.mean(squared, axis=plan.columns))
  v_col = mix(state.v_col, jnp.mean(squared, axis=plan.rows))
  row = jnp.expand_dims(v_row, plan.columns)
  column = jnp.expand_dims(v_col, plan.rows)
  # Rank one: row * column / mean(row).  The two roots stay apart, as a product of squared
  # gradients near 1e-30 would vanish in float32.
  row = row / jnp.mean(row, axis=plan.rows, keepdims=True)
  direction = grad * jax.lax.rsqrt(row) * jax.lax.rsqrt(column)
  return direction, state._replace(v_row=v_row, v_col=v_col)


def _root_mean_square(x: jax.Array, axis: tuple[int, ...]) -> jax.Array:
  return jnp.sqrt(jnp.mean(jnp.square(x), axis=axis, keepdims=True))


def as_schedule(learning_rate: float | Schedule) -> Schedule:
  """The function of the step that a number, or already a function, stands for."""
  if callable(learning_rate):
    return learning_rate
  if isinstance(learning_rate, bool) or not isinstance(learning_rate, int | float):
    raise errors.UserError(
      f"learning_rate: {learning_rate!r} is neither a number nor a function of the step"
    )
  return constant(learning_rate)


def constant(rate: float) -> Schedule:
  """The same learning rate at every step (Chung et al. 2022, section 2.2)."""
  return lambda step: jnp.full((), rate, jnp.float32)


def trapezoid(
  rate: float, *, num_steps: int, warmup_steps: int = 0, cooldown_steps: int = 0
) -> Schedule:
  """`rate`, growing linearly from 0 at first and falling linearly to 0 before `num_steps`."""
  up, down = max(1, warmup_steps), max(1, cooldown_steps)

  def schedule(step):
    grown = 1.0 if warmup_steps == 0 else step / up
    left = 1.0 if cooldown_steps == 0 else (num_steps - step) / down
    return rate * jnp.clip(jnp.minimum(grown, left), 0.0, 1.0)

  return schedule


def cosine(
  rate: float, *, num_steps: int, final_rate: float = 0.0, warmup_steps: int = 0
) -> Schedule:
  """`rate`, falling along half a cosine to `final_rate` at `num_steps` and staying there.

  As U-PaLM's second stage was trained, from 1e-4 to 1e-6 (Tay et al. 2022, "Transcending Scaling
  Laws", 2.4).  The warm-up grows linearly from 0; the fall begins after it.
  """
  span = max(1, num_steps - warmup_steps)

  def schedule(step):
    done = jnp.clip((step - warmup_steps) / span, 0.0, 1.0)
    falling = final_rate + (rate - final_rate) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    grown = rate * step / max(1, warmup_steps)
    return jnp.where(step < warmup_steps, grown, falling)

  return schedule


def rsqrt(rate: float = 1.0, *, warmup_steps: int = 10_000) -> Schedule:
  """`rate` / sqrt(max(step, warmup_steps)), as T5 was pretrained (Raffel et al. 2020, 3.1.2)."""
  return lambda step: rate * jax.lax.rsqrt(jnp.maximum(step * 1.0, float(max(1, warmup_steps))))


def global_norm(tree) -> jax.Array:
  """Euclidean norm over all the numbers of a tree of arrays, float32."""
  squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)]
  return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.float32)))


def clip_by_global_norm(tree, threshold: float):
  """The tree scaled down to a global norm of at most `threshold` (Pascanu et al. 2013)."""
  if not (threshold > 0 and math.isfinite(threshold)):
    raise errors.UserError(f"global_norm_clip_threshold: {threshold!r} is not a positive number")
  scale = jnp.minimum(1.0, threshold / global_norm(tree))
  return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), tree)


def named_leaves(tree) -> Iterator[tuple[str, Any]]:
  """(path, leaf) of every array of a nested dictionary, in JAX's order."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def first_match(path: str, table: Table[Value]) -> Value | None:
  """The value of the first expression found in `path`; None when there is none."""
  return next((value for pattern, value in table if re.search(pattern, path)), None)


def _required_match(path: str, table: Table[bool], where: str) -> bool:
  value = first_match(path, table)
  if value is None:
    raise errors.UserError(f"{where}: no expression matches the parameter {path}")
  return value
