"""Layers without biases that T5's stacks are made of.

Modules only hold parameters: built, they hold shapes; `T5.init` draws the numbers.
Axes: b batch, t query (or any) position, s key position, h head, d model, f hidden of the MLP,
v vocabulary, w width of several dropout masks side by side.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_tune.models import layout

NUM_BUCKETS = 32  # T5X: t5x/examples/t5/network.py, rel_emb
MAX_DISTANCE = 128  # the same place; Raffel et al. 2020, section 2.1
NORM_EPSILON = 1e-6  # T5X: t5x/examples/t5/layers.py, LayerNorm

DTYPES = ("float32", "bfloat16")  # of activations, and of parameters
ACTIVATIONS = {
  "gelu": functools.partial(jax.nn.gelu, approximate=True),
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
  "linear": lambda x: x,
}


def parameter(*shape: int) -> nnx.Param:
  """A float32 parameter of which only the shape is known yet."""
  return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32))


def hold_parameters_as(module: nnx.Module, dtype: str) -> None:
  """Makes every parameter of a network that has just been built one of `dtype`, in place."""
  change = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype))
  nnx.update(module, jax.tree.map(change, nnx.state(module)))


def draw_keep(key: Array, rate: float, shape: tuple[int, int]) -> Bool[Array, "b w"]:
  """False with probability `rate`."""
  # 16 random bits an entry instead of 32: half the cost, and a rate off by less than 1e-5.
  keep = jax.random.bits(key, shape, jnp.uint16) >= round(rate * (1 << 16))
  return layout.constrain(keep, "batch", None)


def cut(keep: Bool[Array, "b w"] | None, widths: Sequence[int]) -> list[Array | None]:
  """The masks of these widths that lie side by side in `keep`; without it, None for each."""
  if keep is None:
    return [None] * len(widths)
  # Whole, or the one mask that is cut over `model` would have the others sent around.
  keep = layout.constrain(keep, "batch", None)
  ends = list(itertools.accumulate(widths))
  return [keep[:, end - width : end] for width, end in zip(widths, ends, strict=True)]


def dropout(
  x: Float[Array, "b t d"], keep: Bool[Array, "b _"] | None, rate: float
) -> Float[Array, "b t d"]:
  """Zeroes what is not to keep and scales the rest to hold the mean; without `keep`, `x`.

  One row of `keep` serves all positions of a row of `x`, as in T5X (`broadcast_dims=(-2,)`),
  unless it has a number for each position.
  """
  if keep is None:
    return x
  keep = keep.reshape(x.shape[0], -1, x.shape[2])  # b 1 d or b t d
  return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


@jax.custom_vjp
def project(x: Float[Array, "*b i"], kernel: Float[Array, "i o"]) -> Float[Array, "*b o"]:
  """`x @ kernel`, with a gradient laid out for the CPU.

  The first operand of the kernel's gradient is the one that XLA transposes, recomputing what
  produced it entry by entry.  Making that the narrower one, where JAX always takes `dy`, saves
  35% of the gradient of an MLP of 8192 x 128 x 512.
  """
  return x @ kernel


def _project_forward(x, kernel):
  return x @ kernel, (x, kernel)


def _project_backward(saved, dy):
  x, kernel = saved
  dx = jnp.einsum("...o,io->...i", dy, kernel)
  if x.shape[-1] <= dy.shape[-1]:
    return dx, jnp.einsum("...i,...o->io", x, dy)
  # The barrier keeps XLA from swapping the operands to spare the last transpose.
  return dx, jax.lax.optimization_barrier(jnp.einsum("...o,...i->oi", dy, x)).T


project.defvjp(_project_forward, _project_backward)


class Readout(NamedTuple):
  """An output layer not yet applied, for a loss that never holds all of its logits."""

  vectors: Float[Array, "b t d"]  # float32
  table: Float[Array, "_ _"]  # float32
  table_axes: str  # "dv" or "vd"


class Dense(nnx.Module):
  """A matrix product."""

  def __init__(self, num_in: int, num_out: int, *, dtype):
    self.kernel = parameter(num_in, num_out)
    self.dtype = dtype

  def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
    """`x @ kernel` in the layer's dtype."""
    return project(x.astype(self.dtype), self.kernel[...].astype(self.dtype))

  def readout(self, x: Float[Array, "b t d"]) -> Readout:
    """The same, to be applied later, in float32."""
    return Readout(x.astype(jnp.float32), self.kernel[...].astype(jnp.float32), "dv")


class Embedding(nnx.Module):
  """The table of token vectors; also the output layer of T5 1.0."""

  def __init__(self, vocab_size: int, emb_dim: int, *, dtype):
    self.embedding = parameter(vocab_size, emb_dim)
    self.dtype = dtype

  def __call__(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t d"]:
    """The vectors of `tokens`."""
    # A gather.  T5X multiplies by one-hot vectors, 28% of its step on a CPU at T5-small's shape.
    # With `embed` cut, every device would look up its part for the whole batch.
    table = layout.constrain(self.embedding[...], "vocab", None)
    return layout.within(table[tokens].astype(self.dtype))

  def attend(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
    """Logits of every token, scaled by 1/sqrt(d) (Raffel et al. 2020; T5X: network.py, Decoder)."""
    x, table, _ = self.readout(x)
    return layout.constrain(project(x, table.T), "batch", "length", "act_vocab")

  def readout(self, x: Float[Array, "b t d"]) -> Readout:
    """The same, to be applied later."""
    x = x.astype(jnp.float32) / math.sqrt(x.shape[-1])
    return Readout(x, self.embedding[...].astype(jnp.float32), "vd")


class Norm(nnx.Module):
  """Root mean square normalisation: no mean, no bias, computed in float32."""

  def __init__(self, emb_dim: int, *, dtype):
    self.scale = parameter(emb_dim)
    self.dtype = dtype

  def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """`x` with root mean square 1 over d, times the learned scale."""
    x = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + NORM_EPSILON)
    return (x * inverse).astype(self.dtype) * self.scale[...].astype(self.dtype)[None, None]


class Mlp(nnx.Module):
  """One hidden layer; with two activations, the product of two (Shazeer 2020, "GLU variants")."""

  def __init__(
    self,
    emb_dim: int,
    mlp_dim: int,
    *,
    activations: tuple[str, ...],
    dropout_rate: float,
    dtype,
  ):
    # T5X's names: `wi` alone, or `wi_0`, `wi_1` in the order of the activations.
    names = ["wi"] if len(activations) == 1 else [f"wi_{i}" for i in range(len(activations))]
    for name in names:
      setattr(self, name, Dense(emb_dim, mlp_dim, dtype=dtype))
    self.wo = Dense(mlp_dim, emb_dim, dtype=dtype)
    self.branches = tuple(zip(names, activations, strict=True))
    self.dropout_rate = dropout_rate

  def __call__(
    self, x: Float[Array, "b t d"], keep: Bool[Array, "b f"] | None = None
  ) -> Float[Array, "b t d"]:
    """The output of the hidden layer, which `keep` thins out."""
    hidden = [ACTIVATIONS[act](getattr(self, name)(x)) for name, act in self.branches]
    product = functools.reduce(jnp.multiply, hidden)  # b t f
    product = layout.constrain(product, "batch", "length", "act_mlp")
    return self.wo(dropout(product, keep, self.dropout_rate))


def relative_buckets(distance: np.ndarray, *, bidirectional: bool) -> np.ndarray:
  """The bucket of each distance (key position minus query position).

  Half of the buckets hold one distance each; the rest widen geometrically up to `MAX_DISTANCE`, and
  the last holds all beyond (Raffel et al. 2020, section 2.1).  Bidirectional: keys after the query
  use the upper half.  Causal: keys after the query, which are masked anyway, share bucket 0.
  """
  buckets = NUM_BUCKETS // 2 if bidirectional else NUM_BUCKETS
  exact = buckets // 2
  steps = buckets - exact
  # Bucket exact+i starts at exact * (MAX_DISTANCE/exact)**(i/steps), rounded up.  Whole numbers
  # decide, so that no logarithm rounds a boundary such as 16, 32 or 64 into the wrong bucket.
  is_from = lambda n, i: n**steps * exact**i >= exact**steps * MAX_DISTANCE**i
  sizes = range(exact, MAX_DISTANCE + 1)
  starts = [next(n for n in sizes if is_from(n, i)) for i in range(steps)]
  size = np.abs(distance) if bidirectional else np.maximum(-distance, 0)
  bucket = np.searchsorted(np.array([*range(1, exact), *starts]), size, side="right")
  return bucket + buckets * (distance > 0) if bidirectional else bucket


class RelativeBias(nnx.Module):
  """A learned number for each head and bucket of distance, added to a stack's attention logits."""

  def __init__(self, num_heads: int, *, bidirectional: bool):
    self.rel_embedding = parameter(num_heads, NUM_BUCKETS)
    self.bidirectional = bidirectional

  def by_distance(self, num_queries: int, num_keys: int) -> Float[Array, "h n"]:
    """One number for each distance from `1 - num_queries` to `num_keys - 1`."""
    distance = np.arange(1 - num_queries, num_keys)
    buckets = relative_buckets(distance, bidirectional=self.bidirectional)
    return self.rel_embedding[...].astype(jnp.float32)[:, buckets]

  def __call__(
    self, num_queries: int, num_keys: int, *, copies: int = 1
  ) -> Float[Array, "c h t s"]:
    """The bias of every query at every key, float32.

    Args:
      num_queries: t.
      num_keys: s.
      copies: c, equal ones, each for as many rows of the batch.  On a mesh one for each place of a
        batch keeps gradients where they arise until they are summed over layers and distances:
        numbers for h x (t + s) go over the network once, and not h x t x s for each layer.
    """
    line = self.by_distance(num_queries, num_keys)  # h t+s-1
    heads, width = line.shape
    lines = jnp.broadcast_to(line[None], (copies, heads, width))
    lines = layout.constrain(lines, "batch", "act_heads", None)
    # Entry (t, s) is line[s - t + num_queries - 1].  Copies of the line of width+1, read with a
    # stride of width, move one to the right each row: no gather of t*s entries, and a gradient
    # that is a sum and not a scatter.
    padded = jnp.pad(lines, ((0, 0), (0, 0), (0, 1)))
    rows = jnp.broadcast_to(padded[:, :, None], (copies, heads, num_queries, width + 1))
    flat = rows.reshape(copies, heads, -1)[..., : num_queries * width]
    return flat.reshape(copies, heads, num_queries, width)[..., num_queries - 1 :]

  def at(self, position: Int[Array, ""], num_keys: int) -> Float[Array, "1 h 1 s"]:
    """The bias of the one query at `position` (below `num_keys`), float32."""
    line = self.by_distance(num_keys, num_keys)
    row = jax.lax.dynamic_slice_in_dim(line, num_keys - 1 - position, num_keys, axis=1)
    return row[None, :, None]
