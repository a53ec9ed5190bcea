"""Decoding token by token with a cache.  Axes: b row, t decoded position, v vocabulary.

A model gives `step(tokens [b], cache, position) -> (logits [b, v], cache)`: logits of what
follows `tokens` at `position`.  The cache is any tree of arrays; nothing here looks inside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PAD = 0  # also what starts a target
EOS = 1

Step = Callable[[Array, Any, Array], tuple[Array, Any]]
Choose = Callable[[Array, Array], Array]  # (logits [b, v], position) -> tokens [b]


class Progress(NamedTuple):
  """State of the decoding loop."""

  position: Int[Array, ""]
  tokens: Int[Array, "b t"]  # 0 where nothing is decoded yet
  last: Int[Array, " b"]
  ended: Bool[Array, " b"]
  log_probs: Float[Array, " b"]
  cache: Any


def empty_cache(cross: Any, max_tokens: int) -> Any:
  """Zeros for `max_tokens` self-attention keys and values, shaped like the cross-attention's."""
  # The length is the last axis but one, with or without a leading axis of layers.
  make = lambda x: jnp.zeros((*x.shape[:-2], max_tokens, x.shape[-1]), x.dtype)
  return jax.tree.map(make, cross)


def choose_best(logits: Float[Array, "b v"], position: Int[Array, ""]) -> Int[Array, " b"]:
  """The most probable token; the lowest number wins a tie."""
  del position  # what samples needs it to pick its random bits
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def extend(
  step: Step, cache: Any, choose: Choose, *, batch_size: int, max_tokens: int
) -> tuple[Int[Array, "b t"], Float[Array, " b"]]:
  """Extends every row by what `choose` picks, until all rows have ended or are full.

  Returns:
    The tokens, 0 after EOS, and the sum of the log-probabilities of those up to and with EOS.
  """

  def advance(now: Progress) -> Progress:
    logits, cache = step(now.last, now.cache, now.position)
    picked = choose(logits, now.position)
    token = jnp.where(now.ended, PAD, picked)
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), picked[:, None], axis=-1)[:, 0]
    return Progress(
      position=now.position + 1,
      tokens=jax.lax.dynamic_update_slice_in_dim(now.tokens, token[:, None], now.position, axis=1),
      last=token,
      ended=now.ended | (token == EOS),
      log_probs=now.log_probs + jnp.where(now.ended, 0.0, log_prob),
      cache=cache,
    )

  start = Progress(
    position=jnp.int32(0),
    tokens=jnp.full((batch_size, max_tokens), PAD, jnp.int32),
    last=jnp.full(batch_size, PAD, jnp.int32),
    ended=jnp.zeros(batch_size, bool),
    log_probs=jnp.zeros(batch_size, jnp.float32),
    cache=cache,
  )
  unfinished = lambda now: (now.position < max_tokens) & ~jnp.all(now.ended)
  end = jax.lax.while_loop(unfinished, advance, start)
  return end.tokens, end.log_probs


def greedy(
  step: Step, cache: Any, *, batch_size: int, max_tokens: int
) -> tuple[Int[Array, "b t"], Float[Array, " b"]]:
  """`extend` by the most probable token."""
  return extend(step, cache, choose_best, batch_size=batch_size, max_tokens=max_tokens)
