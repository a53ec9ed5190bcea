"""Multi-query attention: all heads share one head of keys and values (Shazeer 2019).

Axes: b batch, t query, s key, h head, k head width, d model.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from flan_tune.models import attention, flash, layers, layout, rotary
from flan_tune.models.attention import Memory
from flan_tune.models.rotary import Rotation


@jax.custom_vjp
def attend(
  queries: Float[Array, "b t h k"],
  keys: Float[Array, "b s k"],
  values: Float[Array, "b s k"],
  mask: Bool[Array, "b t s"],
) -> Float[Array, "b t h k"]:
  """The mean of the values, weighted by the softmax over s of query . key.

  Queries stay in the order in which their projection gives them: heads, which have no keys of
  their own, are just more queries, and nothing is transposed.  The gradient is as short as that of
  `attention.attend`, for its reasons.
  """
  return _attend_forward(queries, keys, values, mask)[0]


def _attend_forward(queries, keys, values, mask):
  # float32: bf16's 8-bit mantissa makes a softmax over long packed rows drift.
  logits = jnp.einsum("bthk,bsk->bths", queries, keys, preferred_element_type=jnp.float32)
  logits = jnp.where(mask[:, :, None], logits, attention.MASKED)
  probs = jax.nn.softmax(logits).astype(queries.dtype)
  mixed = jnp.einsum("bths,bsk->bthk", probs, values)
  return mixed, (queries, keys, values, probs, mixed)


def _attend_backward(saved, dy):
  queries, keys, values, probs, mixed = saved
  d_values = jnp.einsum("bths,bthk->bsk", probs, dy)
  d_probs = jnp.einsum("bthk,bsk->bths", dy, values, preferred_element_type=jnp.float32)
  inner = jnp.sum(dy.astype(jnp.float32) * mixed, axis=-1, keepdims=True)  # b t h 1
  d_logits = (probs * (d_probs - inner)).astype(dy.dtype)
  d_queries = jnp.einsum("bths,bsk->bthk", d_logits, keys)
  d_keys = jnp.einsum("bths,bthk->bsk", d_logits, queries)
  return d_queries, d_keys, d_values, None


attend.defvjp(_attend_forward, _attend_backward)


class MultiQueryAttention(nnx.Module):
  """Attention of many queries to one head of keys, both turned by their positions."""

  def __init__(
    self,
    emb_dim: int,
    num_heads: int,
    head_dim: int,
    *,
    dropout_rate: float,
    dtype,
    kernel: str = "xla",
  ):
    self.query = layers.Dense(emb_dim, num_heads * head_dim, dtype=dtype)
    self.key = layers.Dense(emb_dim, head_dim, dtype=dtype)
    self.value = layers.Dense(emb_dim, head_dim, dtype=dtype)
    self.out = layers.Dense(num_heads * head_dim, emb_dim, dtype=dtype)
    self.heads = (num_heads, head_dim)
    self.dropout_rate = dropout_rate
    self.kernel = kernel

  def project(self, y: Float[Array, "b s d"], rotation: Rotation) -> Memory:
    """Keys, turned, and values of what is attended to: one head, in a cache's order of axes."""
    keys = rotary.rotate(self.key(y)[:, :, None], rotation)  # b s 1 k
    whole = lambda x: layout.constrain(x, "batch", None, "length", "act_kv")
    return Memory(whole(keys.swapaxes(1, 2)), whole(self.value(y)[:, None]))

  def __call__(
    self,
    y: Float[Array, "b t d"],
    memory: Memory,
    *,
    rotation: Rotation,
    mask: Bool[Array, "b t s"] | flash.Sight,
    keep: Bool[Array, "b s"] | None = None,
  ) -> Float[Array, "b t d"]:
    """What each query reads from the memory."""
    queries = rotary.rotate(self.query(y).reshape(*y.shape[:2], *self.heads), rotation)
    queries = layout.constrain(queries, "batch", "length", "act_heads", "act_kv")
    # PaLM starts kernels at 1/sqrt(fan-in) and, unlike T5, does not shrink those of queries (PaLM
    # section 5): logits of deviation 1 then take the 1/sqrt(k) of Vaswani et al. 2017, from which
    # section 2 lists no departure.
    queries = queries * self.heads[1] ** -0.5
    # A dropped probability is a dropped value, as in `attention.Attention`; with one head of
    # values, a key is dropped for all heads at once.
    values = memory.values[:, 0]
    if keep is not None:
      zero = jnp.zeros((), values.dtype)
      values = jnp.where(keep[:, :, None], values / (1.0 - self.dropout_rate), zero)
    mixed = self._attend(queries, memory.keys[:, 0], values, mask)
    mixed = layout.constrain(mixed, "batch", "length", "act_heads", "act_kv")
    return self.out(mixed.reshape(*y.shape[:2], -1))  # b t h k -> b t d

  def _attend(self, queries, keys, values, mask):
    # One query, while decoding, is no work for a kernel.
    if self.kernel == "xla" or queries.shape[1] == 1:
      return attend(queries, keys, values, mask)
    memory = Memory(keys[:, None], values[:, None])
    mask = mask if isinstance(mask, flash.Sight) else mask[:, None]
    mixed = attention.attend_by(self.kernel, queries.swapaxes(1, 2), memory, None, mask)
    return mixed.swapaxes(1, 2)
