"""Gradients of a batch in parts, for batches whose activations would not fit at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.shard_alike import shard_alike

from flan_tune import partition

# (params, batch, key) -> (loss to differentiate, name -> (sum, count))
LossFn = Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]


def gradients(
  loss_fn: LossFn, params: Any, batch: dict[str, jax.Array], key: jax.Array, *, microbatches: int
) -> tuple[tuple[jax.Array, dict[str, Any]], Any]:
  """What `jax.value_and_grad(loss_fn, has_aux=True)` gives, a microbatch at a time.

  Losses, metrics and gradients are sums, and so add up: a token weighs the same however rows are
  grouped, as long as its weight is in the batch and not worked out from the microbatch
  (`Network.prepare` puts it there).

  Args:
    loss_fn: Its loss and metrics are sums over tokens.
    params: What is differentiated.
    batch: Arrays [b, ...].
    key: Microbatch j gets this key with j folded in; the only one gets it as it is.
    microbatches: How many; b must be a multiple of it.

  Returns:
    ((loss, metrics), gradients).  Gradients of several microbatches are float32.
  """
  differentiate = jax.value_and_grad(loss_fn, has_aux=True)
  if microbatches == 1:
    return differentiate(params, batch, key)
  parts = jax.tree.map(lambda x: _part(x, microbatches), batch)
  first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), parts)
  told, _ = jax.eval_shape(differentiate, params, first, key)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), told)

  def add(sums, item):
    j, part = item
    outcome, grads = differentiate(params, part, jax.random.fold_in(key, j))
    plus = lambda total, x: total + jnp.asarray(x, total.dtype)
    return (jax.tree.map(plus, sums[0], outcome), jax.tree.map(plus, sums[1], grads)), None

  numbers = jnp.arange(microbatches)
  sums, _ = jax.lax.scan(add, (zeros, jax.tree.map(_sum_of, params)), (numbers, parts))
  return sums


def _part(x: jax.Array, microbatches: int) -> jax.Array:
  """[b, ...] -> [n, b/n, ...], microbatch j of rows j::n, so that each device keeps its rows."""
  rows = x.reshape(-1, microbatches, *x.shape[1:])
  rows = partition.constrain(rows, "batch", None, *[None] * (x.ndim - 1))
  return partition.constrain(rows.swapaxes(0, 1), None, "batch", *[None] * (x.ndim - 1))


def _sum_of(parameter: jax.Array) -> jax.Array:
  """A float32 zero for each number of a parameter, lying where that lies."""
  return shard_alike(parameter, jnp.zeros(parameter.shape, jnp.float32))[1]
