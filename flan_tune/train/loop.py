"""The loop.  It draws batches and calls the step; everything else happens in hooks."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax

from flan_tune.train import clock as clock_lib
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
  mesh: jax.sharding.Mesh,
  batch_sharding: jax.sharding.Sharding,
  state_sharding: Any,
  num_steps: int,
  put: Callable[[Any, jax.sharding.Sharding], Any] = jax.device_put,
  clock: clock_lib.Clock | None = None,
  hooks: Sequence[Hook] = (),
  **settings: Any,
) -> step_lib.TrainState:
  """Trains from `state.step` to `num_steps`, or to the step at which a hook has seen enough.

  Args:
    batches: Yields objects with `.arrays`, host arrays by feature name, and perhaps `.groups`,
      which the loss gets as "loss_groups"; drawn one at a time, so what a checkpoint says of them
      is what the state has seen.
    put: Host arrays and a sharding to arrays on the devices, without waiting.
    clock: Told what time goes to; the recorder's, where there is one.
    hooks: Called in order after each step they are due at.
    settings: Of `step.train_step`: `loss_fn`, `tx`, `seed`, and whatever else it takes.
  """
  clock = clock or clock_lib.Clock()
  step_fn = compiled_step(state_sharding, **settings)
  start = int(state.step)
  # The guard turns a silent host<->device copy, the usual cause of a slow step, into an error.
  with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
    for step in range(start + 1, num_steps + 1):
      # No batch is drawn ahead: calling a step does not wait for it, so the one before still runs
      # here and hides drawing and copying, and the feed's state is that of the steps called.
      with clock.spending("data"):
        batch = next(batches)
        arrays = put(_arrays(batch), batch_sharding)
      named = jax.profiler.StepTraceAnnotation("train", step_num=step)  # in a trace
      with named, clock.spending("step" if step > start + 1 else "compile"):
        state, metrics = step_fn(state, arrays)  # returns before the device has finished
      clock.running(metrics)
      is_last = step == num_steps
      for hook in hooks:
        if hook.due(step) or is_last:
          is_last = bool(hook(step, state, metrics, batch)) or is_last
      if is_last:
        break
  return state


def compiled_step(state_sharding: Any, **settings: Any) -> Any:
  """The step of `fit`, jitted: (state, arrays) -> (state, metrics), the state donated.

  Args:
    state_sharding: Of every array of the state.
    settings: Of `step.train_step`.
  """
  first = jax.tree.leaves(state_sharding)[0]
  spread = isinstance(first, jax.sharding.NamedSharding)
  # A process can read only what lies on its own devices.
  everywhere = jax.sharding.NamedSharding(first.mesh, jax.P()) if spread else None
  return jax.jit(
    functools.partial(step_lib.train_step, **settings),
    donate_argnames="state",
    # The new state lies where the old one did, or a second compilation would follow.
    out_shardings=(state_sharding, everywhere),
  )


def _arrays(batch: Any) -> dict[str, Any]:
  groups = getattr(batch, "groups", None)
  return batch.arrays if groups is None else {**batch.arrays, "loss_groups": groups}
