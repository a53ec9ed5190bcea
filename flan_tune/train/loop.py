"""The loop.  It draws batches and calls the step; everything else happens in hooks."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax
import optax

from flan_tune.train import step as step_lib


class Hook(Protocol):
  """Something done between steps.  It sees the state, and must not keep it: it is donated."""

  def due(self, step: int) -> bool:
    """Whether to be called after `step`; every hook is called after the last step."""
    ...

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: dict[str, Any], batch: Any
  ) -> bool | None:
    """Does it; `metrics` are this step's, still on the device.  True makes this the last step."""
    ...


def fit(
  state: step_lib.TrainState,
  batches: Iterator[Any],
  *,
  loss_fn: step_lib.LossFn,
  tx: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  batch_sharding: jax.sharding.Sharding,
  state_sharding: Any,
  num_steps: int,
  seed: int,
  hooks: Sequence[Hook] = (),
) -> step_lib.TrainState:
  """Trains from `state.step` to `num_steps`, or to the step at which a hook has seen enough.

  Args:
    batches: Yields objects with `.arrays`, host arrays by feature name; drawn one at a time, so
      what a checkpoint says of them is what the state has seen.
    hooks: Called in order after each step they are due at.
  """
  step_fn = jax.jit(
    functools.partial(step_lib.train_step, loss_fn=loss_fn, tx=tx, seed=seed),
    donate_argnames="state",
    # The new state lies where the old one did, or a second compilation would follow.
    out_shardings=(state_sharding, None),
  )
  start = int(state.step)
  # The guard turns a silent host<->device copy, the usual cause of a slow step, into an error.
  with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
    for step in range(start + 1, num_steps + 1):
      batch = next(batches)
      arrays = jax.device_put(batch.arrays, batch_sharding)
      state, metrics = step_fn(state, arrays)  # returns before the device has finished
      is_last = step == num_steps
      for hook in hooks:
        if hook.due(step) or is_last:
          is_last = bool(hook(step, state, metrics, batch)) or is_last
      if is_last:
        break
  return state
