"""T5 attention.  Axes: b batch, t query, s key, h head, k head width, d model."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_tune.models import cudnn, flash, layers, layout

# Far below any logit: after the softmax's exponential a masked key weighs exactly 0, so what it
# holds cannot change a bit of the result.  A query that sees no key (padding) weighs all the same.
MASKED = -1e10


class Memory(NamedTuple):
  """Keys and values of one attention layer, as a cache holds them."""

  keys: Float[Array, "b h s k"]
  values: Float[Array, "b h s k"]  # h is 1 where all heads share them

  def write(self, new: "Memory", position: Int[Array, ""]) -> "Memory":
    """The memory with `new`, of length 1, stored at `position`."""
    put = lambda old, one: jax.lax.dynamic_update_slice_in_dim(old, one, position, axis=2)
    return Memory(put(self.keys, new.keys), put(self.values, new.values))


def empty(memory: Any, rows_per_prompt: int, max_tokens: int) -> Any:
  """Zeros for a cache of `max_tokens` slots: trees of the form of `memory`, but for b and s."""

  def make(leaf: Float[Array, "*n b h s k"]) -> Float[Array, "*n r h t k"]:
    *layers, batch_size, heads, _, width = leaf.shape
    shape = *layers, batch_size * rows_per_prompt, heads, max_tokens, width
    return jnp.zeros(shape, leaf.dtype)

  return jax.tree.map(make, memory)


@jax.custom_vjp
def attend(
  queries: Float[Array, "b h t k"],
  memory: Memory,
  bias: Float[Array, "c h t s"] | None,
  mask: Bool[Array, "#b 1 #t s"],
) -> Float[Array, "b h t k"]:
  """The mean of the values, weighted by the softmax over s of query . key + bias.

  Its gradient keeps the weights alone, and differs from JAX's own in three places that cost a
  CPU a third of the layer's time: masks are not differentiated (their weights are 0), the
  softmax's inner sum runs over k and not s (Dao et al. 2022, "FlashAttention", B.2), and the sum
  over b of the bias is a product with ones (XLA's reduction strides through memory).
  """
  return _attend_forward(queries, memory, bias, mask)[0]


def _attend_forward(queries, memory, bias, mask):
  # Written with heads last, the products round as T5X's do on a CPU; 2% slower.
  order = lambda y: y.swapaxes(1, 2)
  logits = _products("bthk,bshk->bhts", order(queries), order(memory.keys))
  probs = _weights(logits, bias, mask).astype(queries.dtype)
  mixed = order(jnp.einsum("bhts,bshk->bthk", probs, order(memory.values)))
  return mixed, (queries, memory, bias, probs, mixed)


def _products(axes: str, queries, keys) -> Float[Array, "b h t s"]:
  # float32: bf16's 8-bit mantissa makes a softmax over long packed rows drift.
  return jnp.einsum(axes, queries, keys, preferred_element_type=jnp.float32)


def _weights(logits, bias, mask) -> Float[Array, "b h t s"]:
  logits = logits if bias is None else _by_copy(logits, bias) + bias[:, None]
  logits = logits.reshape(-1, *logits.shape[-3:])
  return jax.nn.softmax(jnp.where(mask, logits, MASKED))


def _by_copy(logits: Float[Array, "b h t s"], bias: Array) -> Float[Array, "c r h t s"]:
  """The rows that go with each copy of the bias."""
  return logits.reshape(len(bias), -1, *logits.shape[1:])


def recall(
  queries: Float[Array, "b h t k"],
  memory: Memory,
  bias: Float[Array, "1 h t s"] | None,
  mask: Bool[Array, "#b 1 #t s"],
) -> Float[Array, "b h t k"]:
  """`attend` for decoding: a few queries read a cache as it lies, where `attend` turns it over."""
  logits = _products("bhtk,bhsk->bhts", queries, memory.keys)
  probs = _weights(logits, bias, mask).astype(queries.dtype)
  return jnp.einsum("bhts,bhsk->bhtk", probs, memory.values)


def _attend_backward(saved, dy):
  queries, (keys, values), bias, probs, mixed = saved
  d_values = jnp.einsum("bhts,bhtk->bhsk", probs, dy)
  d_probs = jnp.einsum("bhtk,bhsk->bhts", dy, values, preferred_element_type=jnp.float32)
  inner = jnp.sum(dy.astype(jnp.float32) * mixed, axis=-1, keepdims=True)  # b h t 1
  d_logits = probs * (d_probs - inner)
  d_bias = None
  if bias is not None:
    ones = jnp.ones(dy.shape[0] // len(bias), d_logits.dtype)
    d_bias = jnp.einsum("r,crhts->chts", ones, _by_copy(d_logits, bias))
  d_logits = d_logits.astype(dy.dtype)
  d_queries = jnp.einsum("bhts,bhsk->bhtk", d_logits, keys)
  d_keys = jnp.einsum("bhts,bhtk->bhsk", d_logits, queries)
  return d_queries, Memory(d_keys, d_values), d_bias, None


attend.defvjp(_attend_forward, _attend_backward)


# With the kernel that needs no t x s numbers, what it takes instead.
Mask = Bool[Array, "#b 1 #t s"] | flash.Sight


def attend_by(
  kernel: str,
  queries: Float[Array, "b h t k"],
  memory: Memory,
  bias: Float[Array, "c h t s"] | None,
  mask: Mask,
) -> Float[Array, "b h t k"]:
  """`attend`, or what does the same on a GPU; a `Sight` is always for the kernel of our own.

  Raises:
    UserError: The kernel is not for this device, type or shape.
  """
  if isinstance(mask, flash.Sight):
    return flash.attend(queries, memory.keys, memory.values, bias, mask)
  if kernel == "cudnn":
    return cudnn.attend(queries, memory.keys, memory.values, bias, mask)
  return attend(queries, memory, bias, mask)


def segment_sight(
  kernel: str, queries: Int[Array, "b t"], keys: Int[Array, "b s"], *, causal: bool = False
) -> Mask:
  """That queries see the keys of their own segment, and with `causal` none after them."""
  if kernel == "pallas":
    return flash.Sight(queries, keys, jnp.zeros_like(queries), causal)
  mask = segment_mask(queries, keys)
  return mask & causal_mask(queries.shape[1]) if causal else mask


class Attention(nnx.Module):
  """Multi-head attention without biases or 1/sqrt(k) scaling (Raffel et al. 2020, section 2.1)."""

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
    joined = num_heads * head_dim
    # These names are the checkpoint's; tests/golden/t5_small_params.txt pins them.
    self.query = layers.Dense(emb_dim, joined, dtype=dtype)
    self.key = layers.Dense(emb_dim, joined, dtype=dtype)
    self.value = layers.Dense(emb_dim, joined, dtype=dtype)
    self.out = layers.Dense(joined, emb_dim, dtype=dtype)
    self.heads = (num_heads, head_dim)
    self.dropout_rate = dropout_rate
    self.kernel = kernel

  def _split(self, y: Float[Array, "b t _"]) -> Float[Array, "b h t k"]:
    # Heads before positions: a cache read in this order is 30% faster to decode with, and no
    # product of the gradient has to move the larger t x s arrays.
    y = y.reshape(*y.shape[:2], *self.heads).swapaxes(1, 2)
    return layout.constrain(y, "batch", "act_heads", "length", "act_kv")

  def project(self, memory: Float[Array, "b s d"]) -> Memory:
    """Keys and values of what is attended to."""
    return Memory(self._split(self.key(memory)), self._split(self.value(memory)))

  def __call__(
    self,
    x: Float[Array, "b t d"],
    memory: Memory,
    *,
    bias: Float[Array, "c h t s"] | None,  # a copy for every b / c rows
    mask: Mask,
    keep: Bool[Array, "b _"] | None = None,  # of probabilities, h * s side by side
  ) -> Float[Array, "b t d"]:
    """What each query reads from the memory; no `bias` in cross-attention."""
    # T5X shares the dropout of probabilities along t.  Then a dropped probability is a dropped
    # value of that head, and the t-fold larger array needs no pass of its own.
    values = memory.values
    if keep is not None:
      kept = keep.reshape(*values.shape[:3], 1)  # b h s 1
      values = jnp.where(kept, values / (1.0 - self.dropout_rate), jnp.zeros((), values.dtype))
    memory = Memory(memory.keys, values)
    return self._joined(attend_by(self.kernel, self._split(self.query(x)), memory, bias, mask))

  def recall(
    self,
    x: Float[Array, "b t d"],
    memory: Memory,
    *,
    bias: Float[Array, "1 h t s"] | None,
    mask: Bool[Array, "#b 1 #t s"],
  ) -> Float[Array, "b t d"]:
    """The same while decoding: no dropout, no gradient."""
    return self._joined(recall(self._split(self.query(x)), memory, bias, mask))

  def _joined(self, mixed: Float[Array, "b h t k"]) -> Float[Array, "b t d"]:
    rows, _, length, _ = mixed.shape
    mixed = layout.constrain(mixed, "batch", "act_heads", "length", "act_kv")
    return self.out(mixed.swapaxes(1, 2).reshape(rows, length, -1))


def segments(tokens: Int[Array, "b t"], segment_ids: Int[Array, "b t"] | None) -> Int[Array, "b t"]:
  """The segment of each token, 0 for padding; one segment a row when none are given."""
  ids = 1 if segment_ids is None else segment_ids
  return jnp.where(tokens > 0, ids, 0)


def segment_mask(queries: Int[Array, "b t"], keys: Int[Array, "b s"]) -> Bool[Array, "b 1 t s"]:
  """True where query and key are tokens of one segment."""
  same = queries[:, :, None] == keys[:, None, :]
  return (same & (queries > 0)[:, :, None])[:, None]


def causal_mask(length: int) -> Bool[Array, "1 1 t t"]:
  """True where the key is not after the query."""
  return jnp.tril(jnp.ones((length, length), bool))[None, None]
