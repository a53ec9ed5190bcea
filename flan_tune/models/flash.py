"""Attention by blocks on a GPU, as a Pallas kernel: no t x s array but the bias (Dao et al. 2022).

A block of queries reads the keys from the first to the last block in which it can see one, so that
other segments of a packed row, and keys after a causal query, cost nothing.  Softmax and sums are
float32.  Products with probabilities are in the type of the values, as in `attention`.

The kernels were checked in interpret mode on a CPU, and lowered for CUDA, but not run on a GPU.
Axes: b batch, t query, s key, h head, n heads of keys (h, or 1 that all share), k head width.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int

from flan_tune import errors
from flan_tune.models import layout

_HIDDEN = -1e30  # of logits that do not count; finite, so that no difference of two is NaN
_SMALLEST = 16  # width of a head, and block, that the GPU's matrix units take


class Sight(NamedTuple):
  """Who sees whom: tokens of one segment; what a mask says without its t x s numbers.

  Attributes:
    queries: Segments of the queries, 0 for padding.
    keys: Those of the keys.
    prefix: With `causal`: 1 where tokens of a segment see each other both ways.
    causal: Whether a query sees no key after it, but for the prefix.
  """

  queries: Int[Array, "b t"]
  keys: Int[Array, "b s"]
  prefix: Int[Array, "b t"]
  causal: bool


class _Shape(NamedTuple):
  """What a kernel is made for."""

  block_t: int
  block_s: int
  causal: bool
  interpret: bool


def attend(
  queries: Float[Array, "b h t k"],
  keys: Float[Array, "b n s k"],
  values: Float[Array, "b n s k"],
  bias: Float[Array, "1 h t s"] | None,
  sight: Sight,
  *,
  block: int | None = None,
) -> Float[Array, "b h t k"]:
  """The mean of the values, weighted by the softmax over s of query . key + bias.

  Queries that see no key get 0.  On a CPU the kernels are interpreted, which is slow.

  Args:
    queries: Scaled, if they are to be.
    keys: Of each head, or of one that all heads share.
    values: Likewise.
    bias: float32, shared by all rows.
    sight: Who sees whom.
    block: Queries, and keys, of a block; less where rows are shorter.  By default fewer where
      heads are wide, so that blocks fit into a multiprocessor's memory.

  Raises:
    UserError: Neither on a GPU nor on a CPU.
  """
  if jax.default_backend() not in ("cpu", "gpu"):
    raise errors.UserError(
      f"ATTENTION_KERNEL = 'pallas': is written for NVIDIA's GPUs, and this is a"
      f" {jax.default_backend()}; use 'xla'"
    )
  if block is None:
    block = 64 if queries.shape[3] * queries.dtype.itemsize <= 256 else 32
  size = lambda length: min(block, max(_SMALLEST, pl.next_power_of_2(length)))
  blocks = size(queries.shape[2]), size(keys.shape[2])
  shape = _Shape(*blocks, sight.causal, jax.default_backend() == "cpu")
  call = functools.partial(_attend, shape)
  ids = sight.queries, sight.keys, sight.prefix
  heads = ("batch", "act_heads")
  names = (heads, heads, heads, (None, "act_heads"), *[("batch",)] * 3)
  return layout.by_device(call, (queries, keys, values, bias, *ids), names)


def _attend(shape: _Shape, queries, keys, values, bias, query_ids, key_ids, prefix):
  """`attend` of arrays that are padded to whole blocks and to a width that the GPU can multiply."""
  length, width = queries.shape[2:]
  to = lambda size, step: -size % step
  wide = to(width, max(_SMALLEST, pl.next_power_of_2(width)))
  more_t, more_s = to(length, shape.block_t), to(keys.shape[2], shape.block_s)
  pad = lambda y, *ends: jnp.pad(y, [(0, 0)] * (y.ndim - len(ends)) + [(0, n) for n in ends])
  queries = pad(queries, more_t, wide)
  keys, values = pad(keys, more_s, wide), pad(values, more_s, wide)
  bias = None if bias is None else pad(bias[0], more_t, more_s)
  ids = pad(query_ids, more_t), pad(key_ids, more_s), pad(prefix, more_t)
  return _padded(shape, queries, keys, values, bias, *ids)[:, :, :length, :width]


def _forward(shape: _Shape, queries, keys, values, bias, query_ids, key_ids, prefix):
  ids = (query_ids, key_ids, prefix)
  span = _span(_needed(shape, *ids))
  rows, heads, length, _ = queries.shape
  group = heads // keys.shape[1]
  own = pl.BlockSpec((None, None, shape.block_t, queries.shape[3]), lambda b, h, i: (b, h, i, 0))
  out, total = pl.pallas_call(
    functools.partial(_forward_kernel, shape),
    grid=(rows, heads, length // shape.block_t),
    in_specs=[own, *_of_keys(keys, group), _bias_rows(shape, bias), *_of_row(ids, span)],
    out_specs=[own, pl.BlockSpec((None, None, shape.block_t), lambda b, h, i: (b, h, i))],
    out_shape=[
      jax.ShapeDtypeStruct(queries.shape, queries.dtype),
      jax.ShapeDtypeStruct(queries.shape[:3], jnp.float32),
    ],
    **_settings(shape),
  )(queries, keys, values, bias, *ids, *span)
  return out, (queries, keys, values, bias, *ids, out, total)


def _backward(shape: _Shape, saved, d_out):
  queries, keys, values, bias, *ids, out, total = saved
  needed = _needed(shape, *ids)
  inner = jnp.sum(d_out.astype(jnp.float32) * out, axis=-1)  # b h t
  arrays = (queries, keys, values, bias, *ids)
  others = (d_out, total, inner)
  d_queries = _queries_gradient(shape, arrays, others, _span(needed))
  d_keys, d_values = _keys_gradient(shape, arrays, others, _span(needed.swapaxes(1, 2)))
  d_bias = None if bias is None else _bias_gradient(shape, arrays, others, needed)
  return d_queries, d_keys, d_values, d_bias, None, None, None


_padded: Any = jax.custom_vjp(lambda *arguments: _forward(*arguments)[0], nondiff_argnums=(0,))
_padded.defvjp(_forward, _backward)


def _needed(shape: _Shape, query_ids, key_ids, prefix) -> Bool[Array, "b i j"]:
  """Where a block of queries may see a key of a block: always where it does."""

  def bounds(ids, block):
    ids = ids.reshape(ids.shape[0], -1, block)
    least = jnp.min(jnp.where(ids > 0, ids, jnp.iinfo(jnp.int32).max), axis=-1)
    return least, jnp.max(ids, axis=-1)

  (q_least, q_most), (s_least, s_most) = (
    bounds(query_ids, shape.block_t),
    bounds(key_ids, shape.block_s),
  )
  meet = (q_least[:, :, None] <= s_most[:, None]) & (s_least[:, None] <= q_most[:, :, None])
  if not shape.causal:
    return meet
  i, j = jnp.arange(meet.shape[1])[:, None], jnp.arange(meet.shape[2])[None]
  before = j * shape.block_s < (i + 1) * shape.block_t
  t, s = shape.block_t, shape.block_s
  any_of = lambda size: jnp.any(prefix.reshape(len(prefix), -1, size) > 0, axis=-1)
  return meet & (before[None] | (any_of(t)[:, :, None] & any_of(s)[:, None]))


def _span(needed: Bool[Array, "b i j"]) -> tuple[Int[Array, "b i"], Int[Array, "b i"]]:
  """The first j that i needs and the one after the last; 0 and 0 if it needs none."""
  count = needed.shape[2]
  last = count - jnp.argmax(needed[:, :, ::-1], axis=-1)
  some = jnp.any(needed, axis=-1)
  first = jnp.argmax(needed, axis=-1)
  none_to_0 = lambda y: jnp.where(some, y, 0).astype(jnp.int32)
  return none_to_0(first), none_to_0(last)


def _settings(shape: _Shape) -> dict[str, Any]:
  if shape.interpret:
    return {"interpret": True}
  return {"compiler_params": triton.CompilerParams(num_warps=4, num_stages=2)}


def _of_keys(keys, group: int) -> list[pl.BlockSpec]:
  """A program of (row, head, _) finds all keys, and all values, of its head."""
  one = pl.BlockSpec((None, None, *keys.shape[2:]), lambda b, h, i: (b, h // group, 0, 0))
  return [one, one]


def _of_row(*groups) -> list[pl.BlockSpec]:
  """A program of (row, ...) finds all of its row."""
  one = lambda y: pl.BlockSpec((None, *y.shape[1:]), lambda b, *_: (b, *[0] * (y.ndim - 1)))
  return [one(y) for group in groups for y in group]


def _bias_rows(shape: _Shape, bias) -> pl.BlockSpec | None:
  if bias is None:
    return None
  return pl.BlockSpec((None, shape.block_t, bias.shape[2]), lambda b, h, i: (h, i, 0))


def _seen(shape: _Shape, ids, t_slice, s_slice, *row) -> Bool[Array, "t s"]:
  """The mask of a block; `row` where the ids are those of all rows."""
  query_ids, key_ids, prefix = ids
  queries, keys = query_ids[(*row, t_slice)], key_ids[(*row, s_slice)]
  seen = (queries[:, None] == keys[None]) & (queries > 0)[:, None]
  if not shape.causal:
    return seen
  t = t_slice.start + jnp.arange(shape.block_t)
  s = s_slice.start + jnp.arange(shape.block_s)
  both = (prefix[(*row, t_slice)][:, None] > 0) & (prefix[(*row, s_slice)][None] > 0)
  return seen & ((t[:, None] >= s[None]) | both)


def _product(a, b, axes: str) -> Float[Array, "_ _"]:
  """A matrix product in float32; the letters of the contracted axes, as in "ik,jk->ij"."""
  return jnp.einsum(axes, a, b, preferred_element_type=jnp.float32)


def _forward_kernel(
  shape: _Shape, q, k, v, bias, query_ids, key_ids, prefix, first, last, out, total
):
  row = pl.program_id(2)
  queries = q[...]
  t_slice = pl.ds(row * shape.block_t, shape.block_t)

  def body(number, carry):
    mixed, largest, weight = carry
    s_slice = pl.ds(number * shape.block_s, shape.block_s)
    values = v[s_slice, :]
    logits = _product(queries, k[s_slice, :], "tk,sk->ts")
    logits = logits if bias is None else logits + bias[:, s_slice]
    seen = _seen(shape, (query_ids, key_ids, prefix), t_slice, s_slice)
    logits = jnp.where(seen, logits, _HIDDEN)
    now = jnp.maximum(largest, jnp.max(logits, axis=1))
    probs = jnp.where(seen, jnp.exp(logits - now[:, None]), 0.0)
    shrink = jnp.exp(largest - now)
    added = _product(probs.astype(values.dtype), values, "ts,sk->tk")
    return mixed * shrink[:, None] + added, now, weight * shrink + jnp.sum(probs, axis=1)

  start = (
    jnp.zeros(q.shape, jnp.float32),
    jnp.full(shape.block_t, _HIDDEN, jnp.float32),
    jnp.zeros(shape.block_t, jnp.float32),
  )
  mixed, largest, weight = jax.lax.fori_loop(first[row], last[row], body, start)
  weight = jnp.where(weight == 0.0, 1.0, weight)
  out[...] = (mixed / weight[:, None]).astype(out.dtype)
  total[...] = largest + jnp.log(weight)


def _gradients(shape: _Shape, q, k, v, bias, seen, d_out, total, inner):
  """Probabilities of a block, computed again, and the gradient of its logits."""
  logits = _product(q, k, "tk,sk->ts")
  logits = logits if bias is None else logits + bias
  probs = jnp.where(seen, jnp.exp(jnp.where(seen, logits, 0.0) - total[:, None]), 0.0)
  # In the type of the values, as the forward pass has weighted them.
  probs = probs.astype(v.dtype)
  d_probs = _product(d_out, v, "tk,sk->ts")
  return probs, probs * (d_probs - inner[:, None])


def _queries_gradient(shape: _Shape, arrays, others, span):
  queries, keys, values, bias, *ids = arrays
  d_out, total, inner = others
  rows, heads, length, width = queries.shape
  group = heads // keys.shape[1]
  own = pl.BlockSpec((None, None, shape.block_t, width), lambda b, h, i: (b, h, i, 0))
  line = pl.BlockSpec((None, None, shape.block_t), lambda b, h, i: (b, h, i))

  def kernel(q, k, v, bias, query_ids, key_ids, prefix, d_out, total, inner, first, last, d_q):
    row = pl.program_id(2)
    t_slice = pl.ds(row * shape.block_t, shape.block_t)
    mine = q[...], d_out[...], total[...], inner[...]

    def body(number, sums):
      s_slice = pl.ds(number * shape.block_s, shape.block_s)
      one, seen = k[s_slice, :], _seen(shape, (query_ids, key_ids, prefix), t_slice, s_slice)
      of_bias = None if bias is None else bias[:, s_slice]
      _, d_logits = _gradients(shape, mine[0], one, v[s_slice, :], of_bias, seen, *mine[1:])
      return sums + _product(d_logits.astype(one.dtype), one, "ts,sk->tk")

    sums = jax.lax.fori_loop(first[row], last[row], body, jnp.zeros(q.shape, jnp.float32))
    d_q[...] = sums.astype(d_q.dtype)

  return pl.pallas_call(
    kernel,
    grid=(rows, heads, length // shape.block_t),
    in_specs=[
      *[own, *_of_keys(keys, group), _bias_rows(shape, bias), *_of_row(ids)],
      *[own, line, line, *_of_row(span)],
    ],
    out_specs=own,
    out_shape=jax.ShapeDtypeStruct(queries.shape, queries.dtype),
    **_settings(shape),
  )(queries, keys, values, bias, *ids, d_out, total, inner, *span)


def _keys_gradient(shape: _Shape, arrays, others, span):
  queries, keys, values, bias, *ids = arrays
  rows, of_keys, length, width = keys.shape
  group = queries.shape[1] // of_keys
  own = pl.BlockSpec((None, None, shape.block_s, width), lambda b, n, j: (b, n, j, 0))
  # The heads that share the keys, whole.
  many = lambda *ends: pl.BlockSpec((None, group, *ends), lambda b, n, j: (b, n, *[0] * len(ends)))
  of_bias = None
  if bias is not None:
    of_bias = pl.BlockSpec((group, bias.shape[1], shape.block_s), lambda b, n, j: (n, 0, j))

  def kernel(q, k, v, bias, query_ids, key_ids, prefix, d_out, total, inner, first, last, d_k, d_v):
    column = pl.program_id(2)
    s_slice = pl.ds(column * shape.block_s, shape.block_s)
    one, values = k[...], v[...]

    def body(number, sums, head):
      t_slice = pl.ds(number * shape.block_t, shape.block_t)
      seen = _seen(shape, (query_ids, key_ids, prefix), t_slice, s_slice)
      mine = q[head, t_slice, :]
      added = None if bias is None else bias[head, t_slice, :]
      theirs = d_out[head, t_slice, :]
      lines = theirs, total[head, t_slice], inner[head, t_slice]
      probs, d_logits = _gradients(shape, mine, one, values, added, seen, *lines)
      of_keys = sums[0] + _product(d_logits.astype(mine.dtype), mine, "ts,tk->sk")
      return of_keys, sums[1] + _product(probs.astype(theirs.dtype), theirs, "ts,tk->sk")

    of_head = lambda head, sums: jax.lax.fori_loop(
      first[column], last[column], functools.partial(body, head=head), sums
    )
    zeros = jnp.zeros(k.shape, jnp.float32)
    of_keys, of_values = jax.lax.fori_loop(0, group, of_head, (zeros, zeros))
    d_k[...], d_v[...] = of_keys.astype(d_k.dtype), of_values.astype(d_v.dtype)

  return pl.pallas_call(
    kernel,
    grid=(rows, of_keys, length // shape.block_s),
    in_specs=[
      *[many(*queries.shape[2:]), own, own, of_bias, *_of_row(ids)],
      *[many(*queries.shape[2:]), *[many(queries.shape[2])] * 2, *_of_row(span)],
    ],
    out_specs=[own, own],
    out_shape=[jax.ShapeDtypeStruct(keys.shape, keys.dtype)] * 2,
    **_settings(shape),
  )(queries, keys, values, bias, *ids, *others, *span)


def _bias_gradient(shape: _Shape, arrays, others, needed):
  """The sum over rows, in one program for each block of the bias: no sum waits for another's."""
  queries, keys, values, bias, *ids = arrays
  rows, heads, _, width = queries.shape
  group = heads // keys.shape[1]
  of_t = pl.BlockSpec((rows, None, shape.block_t, width), lambda h, i, j: (0, h, i, 0))
  of_s = pl.BlockSpec((rows, None, shape.block_s, width), lambda h, i, j: (0, h // group, j, 0))
  line = pl.BlockSpec((rows, None, shape.block_t), lambda h, i, j: (0, h, i))
  own = pl.BlockSpec((None, shape.block_t, shape.block_s), lambda h, i, j: (h, i, j))
  whole = lambda y: pl.BlockSpec(y.shape, lambda *_: (0,) * y.ndim)

  def kernel(q, k, v, bias, query_ids, key_ids, prefix, d_out, total, inner, needed, d_bias):
    i, j = pl.program_id(1), pl.program_id(2)
    t_slice = pl.ds(i * shape.block_t, shape.block_t)
    s_slice = pl.ds(j * shape.block_s, shape.block_s)
    added = bias[...]

    def add(row, sums):
      seen = _seen(shape, (query_ids, key_ids, prefix), t_slice, s_slice, row)
      lines = d_out[row], total[row], inner[row]
      return sums + _gradients(shape, q[row], k[row], v[row], added, seen, *lines)[1]

    def body(row, sums):
      return jax.lax.cond(needed[row, i, j] > 0, add, lambda _, sums: sums, row, sums)

    d_bias[...] = jax.lax.fori_loop(0, rows, body, jnp.zeros(bias.shape, jnp.float32))

  needed = needed.astype(jnp.int32)
  return pl.pallas_call(
    kernel,
    grid=(heads, *needed.shape[1:]),
    in_specs=[of_t, of_s, of_s, own, *map(whole, ids), of_t, line, line, whole(needed)],
    out_specs=own,
    out_shape=jax.ShapeDtypeStruct(bias.shape, jnp.float32),
    **_settings(shape),
  )(queries, keys, values, bias, *ids, *others, needed)
