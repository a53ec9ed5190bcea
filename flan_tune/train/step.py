"""One training step: a pure function of state and batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Params = Any
Arrays = dict[str, jax.Array]


class TrainState(NamedTuple):
  """What a run carries from step to step, and what a checkpoint holds.

  Attributes:
    step: int32 scalar, updates done.
    params: Nested dict of float32 arrays under T5X's names.
    opt_state: The optimiser's.
  """

  step: jax.Array
  params: Params
  opt_state: Any


# (params, batch, key) -> (loss to differentiate, name -> (sum, count))
LossFn = Callable[[Params, Arrays, jax.Array], tuple[jax.Array, dict[str, Any]]]


def create(params: Params, tx: optax.GradientTransformation) -> TrainState:
  """The state before the first step."""
  return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def train_step(
  state: TrainState,
  batch: Arrays,
  *,
  loss_fn: LossFn,
  tx: optax.GradientTransformation,
  seed: int,
) -> tuple[TrainState, dict[str, Any]]:
  """One update.  The key depends on (seed, step) alone, so a resumed run replays it.

  Returns:
    The new state, and metrics: name -> (sum, count), to be divided last, so that neither padding
    nor sharding can bias a mean.
  """
  key = jax.random.fold_in(jax.random.key(seed), state.step)
  (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch, key)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  one = jnp.ones((), jnp.float32)
  metrics = {**metrics, "objective": (loss, one), "grad_norm": (optax.tree.norm(grads), one)}
  return TrainState(state.step + 1, params, opt_state), metrics
