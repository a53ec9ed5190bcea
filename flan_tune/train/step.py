"""One training step: a pure function of state and batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from flan_tune import optim
from flan_tune.train import accumulate, norms, trainable

Params = Any
Arrays = dict[str, jax.Array]
LossFn = accumulate.LossFn


class TrainState(NamedTuple):
  """What a run carries from step to step.  A checkpoint holds it without `frozen`.

  Attributes:
    step: int32 scalar, batches seen; less by the skipped steps is how many updates were done.
    params: The parameters that learn: a nested dict of float32 arrays under T5X's names.
    opt_state: The optimiser's, of those.
    frozen: The network's other parameters, likewise; empty when all learn.
  """

  step: jax.Array
  params: Params
  opt_state: Any
  frozen: Params

  def whole(self) -> Params:
    """All parameters, as the network takes them."""
    return trainable.join(self.params, self.frozen)


def create(params: Params, tx: optax.GradientTransformation, *, learning: str = ".*") -> TrainState:
  """The state before the first step.

  Args:
    params: All of the network's.
    learning: Pattern found in the paths of the parameters that learn.
  """
  learned, frozen = trainable.split(params, learning)
  return TrainState(jnp.zeros((), jnp.int32), learned, tx.init(learned), frozen)


def train_step(
  state: TrainState,
  batch: Arrays,
  *,
  loss_fn: LossFn,
  tx: optax.GradientTransformation,
  seed: int,
  prepare: Callable[[Arrays], Arrays] | None = None,
  microbatches: int = 1,
  norm_groups: norms.Table | None = None,
) -> tuple[TrainState, dict[str, Any]]:
  """One update.  The key depends on (seed, step) alone, so a resumed run replays it.

  Where the loss or the gradient's norm is infinite or not a number, parameters and optimiser's
  state (and with it the optimiser's own count) stay as they are to the bit; the step counts on, so
  that the run goes on with the next batch and another key.

  Args:
    state: Before the update.
    batch: Arrays [b, ...].
    loss_fn: Called with all parameters.
    tx: Gives what is added to the parameters that learn.
    seed: Of the run.
    prepare: Adds to the batch what must be worked out from the whole of it.
    microbatches: Parts of the batch that are worked off one after the other.
    norm_groups: Adds the metrics of `norms.measure`, by these groups.

  Returns:
    The new state, and metrics: name -> (sum, count), to be divided last, so that neither padding
    nor sharding can bias a mean.  "skipped" is (1, 1) for a step that changed nothing.
  """
  key = jax.random.fold_in(jax.random.key(seed), state.step)
  batch = batch if prepare is None else prepare(batch)
  # Differentiating what learns and nothing else spares the gradients of all frozen weights.
  objective = lambda params, part, key: loss_fn(trainable.join(params, state.frozen), part, key)
  (loss, metrics), grads = accumulate.gradients(
    objective, state.params, batch, key, microbatches=microbatches
  )
  grad_norm = optim.global_norm(grads)
  usable = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  new = (optax.apply_updates(state.params, updates), opt_state)
  # Chosen number by number and not by `cond`: XLA makes it part of the update, in the same buffers.
  keep = lambda changed, old: jnp.where(usable, changed, old)
  params, opt_state = jax.tree.map(keep, new, (state.params, state.opt_state))
  one = jnp.ones((), jnp.float32)
  metrics = {
    **metrics,
    "objective": (loss, one),
    "grad_norm": (grad_norm, one),
    "skipped": (1.0 - usable, one),
  }
  if norm_groups is not None:
    metrics |= norms.measure(grads, updates, state.params, table=norm_groups)
  return TrainState(state.step + 1, params, opt_state, state.frozen), metrics
