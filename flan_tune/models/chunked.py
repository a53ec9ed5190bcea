"""Output layer and loss in one: the logits of a few target tokens exist at a time.

Axes: b batch, t target position, c those of one chunk, d model, v vocabulary.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flan_tune.models import layout, losses
from flan_tune.models.layers import Readout
from flan_tune.models.losses import TokenLosses


class Settings(NamedTuple):
  """What a compiled loss is made for."""

  table_axes: str  # of the output layer, "dv" or "vd"
  width: int  # target positions of a chunk, of every row
  z_loss: float
  label_smoothing: float


class _Sums(NamedTuple):
  """What the loop over chunks fills in; the gradients are those of the objective."""

  each: TokenLosses
  d_vectors: Float[Array, "b t d"] | None
  d_table: Float[Array, "_ _"] | None


def objective(
  readout: Readout,
  targets: Int[Array, "b t"],
  scale: Float[Array, "b t"],
  wanted: Bool[Array, "b t"],
  *,
  chunk: int,
  z_loss: float,
  label_smoothing: float,
) -> tuple[Float[Array, ""], TokenLosses]:
  """The sum of scale * loss over tokens, and the losses of the wanted ones; 0 for the others.

  Equal to `losses.token_losses` of all logits but for rounding.  Only the sum has a gradient.  It
  is made in the same loop over chunks as the loss (Hsu et al. 2024, "Liger Kernel", section 3.2),
  so that nothing is computed twice.  Wanted targets are moved to the front of their row and the
  chunks after the last of them are left out: what a row spends on the tokens of its inputs, or on
  padding, is a comparison.

  Args:
    readout: The output layer and what it is to be applied to.
    targets: The right tokens.
    scale: Weight of each token in the sum; 0 where not wanted.
    wanted: Which tokens' losses are computed.
    chunk: Tokens, of all rows together, whose logits exist at a time; at least one of each row.
    z_loss: As in `losses.token_losses`.
    label_smoothing: Likewise.
  """
  rows, length = targets.shape
  width = min(max(chunk // rows, 1), length)
  padded = -length % width
  settings = Settings(readout.table_axes, width, z_loss, label_smoothing)
  order = jnp.argsort(~wanted, axis=1, stable=True)
  # The last chunk may reach beyond the row: what stands there has weight 0.
  front = lambda y: jnp.pad(jnp.take_along_axis(y, order, axis=1), ((0, 0), (0, padded)))
  back = jnp.argsort(order, axis=1)
  vectors = jnp.take_along_axis(readout.vectors, order[..., None], axis=1)
  vectors = jnp.pad(vectors, ((0, 0), (0, padded), (0, 0)))
  last = jnp.max(jnp.sum(wanted, axis=1))
  total, each = _objective(settings, vectors, readout.table, front(targets), front(scale), last)
  unorder = lambda y: jnp.where(
    wanted, jnp.take_along_axis(y, back, axis=1), jnp.zeros((), y.dtype)
  )
  return total, jax.tree.map(unorder, jax.lax.stop_gradient(each))


def _primal(settings, vectors, table, targets, scale, last):
  return _loop(settings, vectors, table, targets, scale, last, differentiate=False)[0]


def _forward(settings, vectors, table, targets, scale, last):
  out, sums = _loop(settings, vectors, table, targets, scale, last, differentiate=True)
  return out, (sums.d_vectors, sums.d_table)


def _backward(settings, saved, cotangents):
  d_vectors, d_table = saved
  of_total, _ = cotangents
  return of_total * d_vectors, of_total * d_table, None, None, None


_objective: Any = jax.custom_vjp(_primal, nondiff_argnums=(0,))
_objective.defvjp(_forward, _backward)


def _loop(settings, vectors, table, targets, scale, last, *, differentiate: bool):
  zeros = jnp.zeros(targets.shape, jnp.float32)
  names = [{"d": "act_embed", "v": "act_vocab"}[axis] for axis in settings.table_axes]
  # Gathered here, or a compiler may do it for every product of every chunk.
  table = layout.constrain(table, *names)
  # A sum for each place of the mesh, or that of every chunk would go over the network.
  places = layout.places(len(vectors))
  d_table = layout.constrain(jnp.zeros((places, *table.shape), table.dtype), "batch", *names)
  start = _Sums(
    TokenLosses(zeros, zeros, zeros > 0),
    jnp.zeros_like(vectors) if differentiate else None,
    d_table if differentiate else None,
  )
  call = functools.partial(_chunk, settings, vectors, table, targets, scale)
  num_chunks = (last + settings.width - 1) // settings.width
  sums = jax.lax.fori_loop(0, num_chunks, call, start)
  if differentiate:
    # A product: of one, the partitioner makes a sum by parts where parameters are cut.
    sums = sums._replace(d_table=jnp.einsum("p,p...->...", jnp.ones(places), sums.d_table))
  return (jnp.sum(sums.each.loss * scale), sums.each), sums


def _chunk(settings, vectors, table, targets, scale, number, sums: _Sums) -> _Sums:
  """`sums` with the chunk of this number added."""
  cut = lambda y: jax.lax.dynamic_slice_in_dim(y, number * settings.width, settings.width, axis=1)
  put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(
    old, new, number * settings.width, axis=1
  )
  axes = settings.table_axes
  x, of_loss = cut(vectors), cut(scale)
  logits = jnp.einsum(f"bcd,{axes}->bcv", x, table)
  each, saved = losses.forward(logits, cut(targets), settings.z_loss, settings.label_smoothing)
  tokens = jax.tree.map(put, sums.each, each)
  if sums.d_table is None:
    return _Sums(tokens, None, None)
  cotangents = TokenLosses(of_loss, jnp.zeros_like(of_loss), of_loss)
  d_logits, _ = losses.backward(settings.z_loss, settings.label_smoothing, saved, cotangents)
  d_x = jnp.einsum(f"bcv,{axes}->bcd", d_logits, table)
  places = sums.d_table.shape[0]
  by_place = lambda y: y.reshape(places, -1, *y.shape[1:])
  operands = {"d": by_place(x), "v": by_place(d_logits)}
  named = ",".join(f"pbc{axis}" for axis in axes)
  d_table = jnp.einsum(f"{named}->p{axes}", *(operands[axis] for axis in axes))
  return _Sums(tokens, put(sums.d_vectors, d_x), sums.d_table + d_table)
