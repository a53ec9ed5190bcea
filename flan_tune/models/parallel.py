"""PaLM's decoder-only network: attention and MLP of a layer side by side, from one norm.

Axes: b batch, t query, s key (or prompt position), d model, v vocabulary.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_tune import errors
from flan_tune.models import attention, flash, layers, layout, lora, rotary
from flan_tune.models.attention import Memory
from flan_tune.models.choices import Choices
from flan_tune.models.multiquery import MultiQueryAttention
from flan_tune.models.rotary import Rotation
from flan_tune.models.stack import Stack

ATTENTIONS = ("prefix", "causal")


@dataclasses.dataclass(frozen=True)
class PaLMConfig(Choices):
  """Sizes and choices of one model; the defaults are PaLM 8B's (PaLM, table 1)."""

  vocab_size: int = 256_000
  emb_dim: int = 4096
  num_heads: int = 16
  head_dim: int = 256
  mlp_dim: int = 16_384
  num_layers: int = 32
  attention: str = "prefix"  # inputs see each other both ways; or causal: only what is before

  def __post_init__(self):
    super().__post_init__()
    errors.one_of(self.attention, ATTENTIONS, "PaLMConfig.attention")
    if self.head_dim % 2:
      raise errors.UserError(
        f"PaLMConfig.head_dim: {self.head_dim} is odd; rotary positions turn pairs of numbers,"
        " so choose an even one"
      )


class Context(NamedTuple):
  """What every layer of a call shares; while decoding, t is 1 and s is the cache's length."""

  rotation: Rotation  # of the queries
  mask: Bool[Array, "b t s"] | flash.Sight


def visible(segments: Int[Array, "b t"], prefix: Int[Array, "b t"] | None) -> Bool[Array, "b t t"]:
  """True where the query (first) sees the key: in its own segment, before it or in the prefix.

  Args:
    segments: The example of each token, 0 for padding.
    prefix: 1 at the positions of an example that see each other both ways.
  """
  seen = attention.causal_mask(segments.shape[1])[0]  # 1 t t
  if prefix is not None:
    seen = seen | ((prefix[:, :, None] > 0) & (prefix[:, None] > 0))
  return attention.segment_mask(segments, segments)[:, 0] & seen


class LayerNorm(layers.Norm):
  """Mean 0 and variance 1 over d, times the learned scale; no bias (PaLM, section 2).

  The paper says LayerNorm throughout, and its number of parameters has one vector of d a norm.
  """

  def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """`x` normalised; computed in float32."""
    x = x.astype(jnp.float32)
    return super().__call__(x - jnp.mean(x, axis=-1, keepdims=True))


class ParallelLayer(nnx.Module):
  """x + MLP(LayerNorm(x)) + Attention(LayerNorm(x)), one norm for both (PaLM, section 2)."""

  def __init__(self, config: PaLMConfig):
    dtype = jnp.dtype(config.dtype)
    self.layer_norm = LayerNorm(config.emb_dim, dtype=dtype)
    self.attention = MultiQueryAttention(
      config.emb_dim,
      config.num_heads,
      config.head_dim,
      dropout_rate=config.dropout_rate,
      dtype=dtype,
      kernel=config.attention_kernel,
    )
    self.mlp = layers.Mlp(
      config.emb_dim,
      config.mlp_dim,
      activations=("silu", "linear"),
      dropout_rate=config.dropout_rate,
      dtype=dtype,
    )
    self.config = config

  @staticmethod
  def keep_widths(config: PaLMConfig, length: int) -> list[int]:
    """Widths of a row's dropout masks, in the order of use."""
    return [length, config.mlp_dim, config.emb_dim]

  def __call__(
    self, x: Float[Array, "b t d"], context: Context, keep: Bool[Array, "b w"] | None
  ) -> tuple[Float[Array, "b t d"], Memory]:
    """One layer over whole rows; also their keys and values."""
    y = layout.within(self.layer_norm(x))
    memory = self.attention.project(y, context.rotation)
    keeps = layers.cut(keep, self.keep_widths(self.config, x.shape[1]))
    return layout.between(self._add(x, y, memory, context, keeps), self.config), memory

  def step(
    self, x: Float[Array, "b 1 d"], cache: Memory, context: Context, slot: Int[Array, ""]
  ) -> tuple[Float[Array, "b 1 d"], Memory]:
    """One position, given the keys and values of those before it; returns them with its own."""
    y = self.layer_norm(x)
    cache = cache.write(self.attention.project(y, context.rotation), slot)
    return self._add(x, y, cache, context, [None] * 3), cache

  def _add(self, x, y, memory, context, keeps):
    attend_keep, hidden_keep, out_keep = keeps
    read = self.attention(y, memory, rotation=context.rotation, mask=context.mask, keep=attend_keep)
    # One mask for the sum, as Flaxformer's layer for PaLM has it (flaxformer:
    # flaxformer/architectures/t5/parallel_fused_decoder.py).
    added = read + self.mlp(y, hidden_keep)
    return x + layers.dropout(added, out_keep, self.config.dropout_rate)


class Decoder(Stack):
  """From the vectors of the tokens so far to the vector that predicts the next."""

  def __init__(self, config: PaLMConfig):
    super().__init__(
      functools.partial(ParallelLayer, config),
      config.num_layers,
      scanned_name="decoder" if config.scan_layers else None,
      remat=config.remat,
    )
    self.decoder_norm = LayerNorm(config.emb_dim, dtype=jnp.dtype(config.dtype))
    self.config = config

  def __call__(
    self, x: Float[Array, "b t d"], context: Context, key: Array | None = None
  ) -> Float[Array, "b t d"]:
    """The normalised output."""
    rows, length, width = x.shape
    rate = self.config.dropout_rate
    keep, (in_keep, out_keep) = self.draw_keep(
      key,
      rate,
      rows,
      layer_widths=ParallelLayer.keep_widths(self.config, length),
      other_widths=[width, width],
    )
    x = layout.between(layers.dropout(x, in_keep, rate), self.config)
    x = self.run(lambda layer, x, keep: layer(x, context, keep)[0], x, keep)
    return layers.dropout(layout.within(self.decoder_norm(x)), out_keep, rate)

  def remember(self, x: Float[Array, "b t d"], context: Context) -> Any:
    """Every layer's keys and values of whole rows."""
    return self.fold(lambda layer, x: layer(x, context, None), x)[1]

  def step(
    self, x: Float[Array, "b 1 d"], cache: Any, context: Context, slot: Int[Array, ""]
  ) -> tuple[Float[Array, "b 1 d"], Any]:
    """One position of every row, and the caches with it added at `slot`."""
    call = lambda layer, x, cache: layer.step(x, cache, context, slot)
    x, cache = self.fold(call, x, cache)
    return self.decoder_norm(x), cache


class ParallelTransformer(nnx.Module):
  """The whole network: one table embeds tokens and turns vectors into logits."""

  def __init__(self, config: PaLMConfig):
    dtype = jnp.dtype(config.dtype)
    self.token_embedder = layers.Embedding(config.vocab_size, config.emb_dim, dtype=dtype)
    self.decoder = Decoder(config)
    self.config = config
    lora.adapt(self, rank=config.lora_rank, pattern=config.lora_pattern, alpha=config.lora_alpha)
    layers.hold_parameters_as(self, config.param_dtype)

  def __call__(self, batch: Mapping[str, Any], key: Array | None = None) -> Float[Array, "b t v"]:
    """Logits at every position of a batch, packed or not."""
    return self.logits(self.hidden(batch, key))

  def logits(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
    """Logits of the next token from the decoder's output, float32."""
    # Scaled by 1/sqrt(d), as the table is shared (PaLM, section 5).
    return self.token_embedder.attend(x)

  def readout(self, x: Float[Array, "b t d"]) -> layers.Readout:
    """What is multiplied for the logits of `hidden`."""
    return self.token_embedder.readout(x)

  def hidden(self, batch: Mapping[str, Any], key: Array | None = None) -> Float[Array, "b t d"]:
    """The decoder's output, of which the table makes logits."""
    segments = attention.segments(batch["decoder_target_tokens"], batch.get("decoder_segment_ids"))
    context = self._context(
      segments, batch.get("decoder_positions"), batch.get("decoder_causal_attention")
    )
    x = self.token_embedder(batch["decoder_input_tokens"])
    return self.decoder(x, context, key)

  def _context(self, segments, positions, prefix) -> Context:
    if positions is None:
      length = segments.shape[1]
      positions = jnp.broadcast_to(jnp.arange(length)[None], segments.shape)
    rotation = rotary.rotation(positions, self.config.head_dim)
    prefix = prefix if self.config.attention == "prefix" else None
    if self.config.attention_kernel != "pallas":
      return Context(rotation, visible(segments, prefix))
    prefix = jnp.zeros_like(segments) if prefix is None else prefix
    return Context(rotation, flash.Sight(segments, segments, prefix, causal=True))

  def remember(self, prompts: Int[Array, "b s"], max_tokens: int) -> Any:
    """Caches of s + `max_tokens` slots, the first s filled by the 0 in front and x1 ... x(s-1).

    The last token of a prompt is read once more by the first `step`, which gives its logits; here
    it is only seen by those before it.
    """
    length = prompts.shape[1]
    tokens = jnp.pad(prompts, ((0, 0), (1, 0)))
    places = jnp.arange(length + 1)[None]
    segments = (places <= jnp.sum(prompts > 0, axis=-1, keepdims=True)).astype(jnp.int32)
    context = self._context(segments, None, segments)
    memories = self.decoder.remember(self.token_embedder(tokens), context)

    def cache(memory):
      room = [(0, 0)] * (memory.ndim - 2) + [(0, max_tokens), (0, 0)]
      return jnp.pad(memory[..., :length, :], room)

    return jax.tree.map(cache, memories)

  def step(
    self,
    tokens: Int[Array, " b"],
    cache: Any,
    position: Int[Array, ""],
    prompts: Int[Array, "b s"],
  ) -> tuple[Float[Array, "b v"], Any]:
    """Logits of what follows `tokens`, the answer's token number `position`, and the caches.

    Answers of all rows start at slot s, however long their prompts are.  At position 0, which
    the loop starts with a token of its own, the prompt's last is read instead.
    """
    sizes = jnp.sum(prompts > 0, axis=-1)  # b
    last = jnp.take_along_axis(prompts, jnp.maximum(sizes - 1, 0)[:, None], axis=-1)
    length, slots = prompts.shape[1], jax.tree.leaves(cache)[0].shape[-2]
    slot = jnp.arange(slots)[None]
    seen = (slot < sizes[:, None]) | ((slot >= length) & (slot <= length + position))
    context = Context(
      rotary.rotation((sizes + position)[:, None], self.config.head_dim), seen[:, None]
    )
    x = self.token_embedder(jnp.where(position == 0, last, tokens[:, None]))
    x, cache = self.decoder.step(x, cache, context, length + position)
    return self.token_embedder.attend(x)[:, 0], cache
