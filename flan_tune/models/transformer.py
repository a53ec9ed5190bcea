"""T5's encoder-decoder network.

Axes: b batch, t target position, s input position, h head, d model, v vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_tune import errors
from flan_tune.models import attention, layers, layout, lora
from flan_tune.models.attention import Memory
from flan_tune.models.choices import Choices
from flan_tune.models.stack import Stack


@dataclasses.dataclass(frozen=True)
class T5Config(Choices):
  """Sizes and choices of one model; the defaults are T5 1.1 small's."""

  vocab_size: int = 32128
  emb_dim: int = 512
  num_heads: int = 6
  head_dim: int = 64
  mlp_dim: int = 1024
  num_encoder_layers: int = 8
  num_decoder_layers: int = 8
  mlp_activations: tuple[str, ...] = ("gelu", "linear")
  logits_via_embedding: bool = False

  def __post_init__(self):
    super().__post_init__()
    for name in self.mlp_activations:
      errors.one_of(name, layers.ACTIVATIONS, "T5Config.mlp_activations")


class EncoderContext(NamedTuple):
  """What every encoder layer of a call shares."""

  bias: Float[Array, "c h s s"]
  mask: attention.Mask  # s x s


class DecoderContext(NamedTuple):
  """What every decoder layer of a call shares; while decoding, t is 1."""

  bias: Float[Array, "c h t t"]
  mask: Any  # `attention.Mask`, t x t; while decoding always an array
  cross_mask: Any  # likewise, t x s


def _attention(config: T5Config) -> attention.Attention:
  return attention.Attention(
    config.emb_dim,
    config.num_heads,
    config.head_dim,
    dropout_rate=config.dropout_rate,
    dtype=jnp.dtype(config.dtype),
    kernel=config.attention_kernel,
  )


def _mlp(config: T5Config) -> layers.Mlp:
  return layers.Mlp(
    config.emb_dim,
    config.mlp_dim,
    activations=config.mlp_activations,
    dropout_rate=config.dropout_rate,
    dtype=jnp.dtype(config.dtype),
  )


def _norm(config: T5Config) -> layers.Norm:
  return layers.Norm(config.emb_dim, dtype=jnp.dtype(config.dtype))


class EncoderLayer(nnx.Module):
  """Self-attention, then the MLP; each on a normalised copy and added back."""

  def __init__(self, config: T5Config):
    self.pre_attention_layer_norm = _norm(config)
    self.attention = _attention(config)
    self.pre_mlp_layer_norm = _norm(config)
    self.mlp = _mlp(config)
    self.config = config

  @staticmethod
  def keep_widths(config: T5Config, length: int) -> list[int]:
    """Widths of a row's dropout masks, in the order of use."""
    return [config.num_heads * length, config.emb_dim, config.mlp_dim, config.emb_dim]

  def __call__(
    self, x: Float[Array, "b s d"], context: EncoderContext, keep: Bool[Array, "b w"] | None
  ) -> Float[Array, "b s d"]:
    """One layer over whole rows."""
    rate = self.config.dropout_rate
    attend_keep, residual_keep, hidden_keep, out_keep = layers.cut(
      keep, self.keep_widths(self.config, x.shape[1])
    )
    y = layout.within(self.pre_attention_layer_norm(x))
    memory = self.attention.project(y)
    y = self.attention(y, memory, bias=context.bias, mask=context.mask, keep=attend_keep)
    x = layout.between(x + layers.dropout(y, residual_keep, rate), self.config)
    y = self.mlp(layout.within(self.pre_mlp_layer_norm(x)), hidden_keep)
    return layout.between(x + layers.dropout(y, out_keep, rate), self.config)


class DecoderLayer(nnx.Module):
  """Causal self-attention, attention to the encoder's output, then the MLP."""

  def __init__(self, config: T5Config):
    self.pre_self_attention_layer_norm = _norm(config)
    self.self_attention = _attention(config)
    self.pre_cross_attention_layer_norm = _norm(config)
    self.encoder_decoder_attention = _attention(config)
    self.pre_mlp_layer_norm = _norm(config)
    self.mlp = _mlp(config)
    self.config = config

  @staticmethod
  def keep_widths(config: T5Config, length: int, encoded_length: int) -> list[int]:
    """Widths of a row's dropout masks, in the order of use."""
    heads, model, hidden = config.num_heads, config.emb_dim, config.mlp_dim
    return [heads * length, model, heads * encoded_length, model, hidden, model]

  def __call__(
    self,
    x: Float[Array, "b t d"],
    encoded: Float[Array, "b s d"],
    context: DecoderContext,
    keep: Bool[Array, "b w"] | None,
  ) -> Float[Array, "b t d"]:
    """One layer over whole rows."""
    widths = self.keep_widths(self.config, x.shape[1], encoded.shape[1])
    attend_keep, residual_keep, *keeps = layers.cut(keep, widths)
    y = layout.within(self.pre_self_attention_layer_norm(x))
    memory = self.self_attention.project(y)
    y = self.self_attention(y, memory, bias=context.bias, mask=context.mask, keep=attend_keep)
    x = layout.between(x + layers.dropout(y, residual_keep, self.config.dropout_rate), self.config)
    memory = self.encoder_decoder_attention.project(encoded)
    attend_keep, residual_keep, hidden_keep, out_keep = keeps
    y = layout.within(self.pre_cross_attention_layer_norm(x))
    y = self.encoder_decoder_attention(
      y, memory, bias=None, mask=context.cross_mask, keep=attend_keep
    )
    x = layout.between(x + layers.dropout(y, residual_keep, self.config.dropout_rate), self.config)
    y = self.mlp(layout.within(self.pre_mlp_layer_norm(x)), hidden_keep)
    return layout.between(x + layers.dropout(y, out_keep, self.config.dropout_rate), self.config)

  def step(
    self,
    x: Float[Array, "r 1 d"],
    cross: Memory,
    cache: Memory,
    context: DecoderContext,
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "r 1 d"], Memory]:
    """One position, given the keys and values of those before it; returns them with its own."""
    y = self.pre_self_attention_layer_norm(x)
    cache = cache.write(self.self_attention.project(y), position)
    x = x + self.self_attention.recall(y, cache, bias=context.bias, mask=context.mask)
    # The rows of one prompt are so many queries of the one memory that they share: r 1 d -> b n d.
    y = self.pre_cross_attention_layer_norm(x).reshape(cross.keys.shape[0], -1, x.shape[2])
    y = self.encoder_decoder_attention.recall(y, cross, bias=None, mask=context.cross_mask)
    x = x + y.reshape(x.shape)
    return x + self.mlp(self.pre_mlp_layer_norm(x)), cache


def _bias(stack: Any, rows: int, length: int) -> Float[Array, "c h t t"]:
  # The kernels sum the gradient over rows themselves.
  copies = layout.places(rows) if stack.config.attention_kernel == "xla" else 1
  return stack.relpos_bias(length, length, copies=copies)


class Encoder(Stack):
  """From token vectors to what the decoder attends to."""

  def __init__(self, config: T5Config):
    self.relpos_bias = layers.RelativeBias(config.num_heads, bidirectional=True)
    super().__init__(
      functools.partial(EncoderLayer, config),
      config.num_encoder_layers,
      scanned_name="encoder" if config.scan_layers else None,
      remat=config.remat,
    )
    self.encoder_norm = _norm(config)
    self.config = config

  def __call__(
    self, x: Float[Array, "b s d"], segments: Int[Array, "b s"], key: Array | None = None
  ) -> Float[Array, "b s d"]:
    """The normalised output; `segments` number the examples of a row, 0 is padding."""
    rows, length, width = x.shape
    keep, (in_keep, out_keep) = self.draw_keep(
      key,
      self.config.dropout_rate,
      rows,
      layer_widths=EncoderLayer.keep_widths(self.config, length),
      # The output is the one place where T5X draws for every position (network.py, Encoder).
      other_widths=[width, length * width],
    )
    mask = attention.segment_sight(self.config.attention_kernel, segments, segments)
    context = EncoderContext(_bias(self, rows, length), mask)
    x = layout.between(layers.dropout(x, in_keep, self.config.dropout_rate), self.config)
    x = self.run(lambda layer, x, keep: layer(x, context, keep), x, keep)
    x = layout.within(self.encoder_norm(x))
    return layers.dropout(x, out_keep, self.config.dropout_rate)


class Decoder(Stack):
  """From the vectors of the tokens so far to the vector that predicts the next."""

  def __init__(self, config: T5Config):
    self.relpos_bias = layers.RelativeBias(config.num_heads, bidirectional=False)
    super().__init__(
      functools.partial(DecoderLayer, config),
      config.num_decoder_layers,
      scanned_name="decoder" if config.scan_layers else None,
      remat=config.remat,
    )
    self.decoder_norm = _norm(config)
    if not config.logits_via_embedding:
      # float32 for stability whatever the activations are (T5X: network.py, Decoder).
      self.logits_dense = layers.Dense(config.emb_dim, config.vocab_size, dtype=jnp.float32)
    self.config = config

  def __call__(
    self,
    x: Float[Array, "b t d"],
    encoded: Float[Array, "b s d"],
    segments: Int[Array, "b t"],
    encoder_segments: Int[Array, "b s"],
    key: Array | None = None,
  ) -> Float[Array, "b t d"]:
    """The normalised output; queries see their own segment's past and input."""
    rows, length, width = x.shape
    keep, (in_keep, out_keep) = self.draw_keep(
      key,
      self.config.dropout_rate,
      rows,
      layer_widths=DecoderLayer.keep_widths(self.config, length, encoded.shape[1]),
      other_widths=[width, width],
    )
    kernel = self.config.attention_kernel
    context = DecoderContext(
      _bias(self, rows, length),
      attention.segment_sight(kernel, segments, segments, causal=True),
      attention.segment_sight(kernel, segments, encoder_segments),
    )
    x = layout.between(layers.dropout(x, in_keep, self.config.dropout_rate), self.config)
    x = self.run(lambda layer, x, keep: layer(x, encoded, context, keep), x, keep)
    x = layout.within(self.decoder_norm(x))
    return layers.dropout(x, out_keep, self.config.dropout_rate)

  def remember(self, encoded: Float[Array, "b s d"]) -> Any:
    """Every layer's cross-attention keys and values, computed once for a whole decode."""
    project = lambda layer, x: (x, layer.encoder_decoder_attention.project(x))
    return self.fold(project, encoded)[1]

  def step(
    self,
    x: Float[Array, "r 1 d"],
    cross: Any,
    cache: Any,
    encoder_segments: Int[Array, "b s"],
    position: Int[Array, ""],
  ) -> tuple[Float[Array, "r 1 d"], Any]:
    """One position of every row, and the caches with it added; r / b rows belong to a prompt."""
    max_tokens = jax.tree.leaves(cache)[0].shape[-2]
    seen = jnp.arange(max_tokens) <= position
    context = DecoderContext(
      self.relpos_bias.at(position, max_tokens),
      seen[None, None, None],
      (encoder_segments > 0)[:, None, None],
    )
    call = lambda layer, x, cross, cache: layer.step(x, cross, cache, context, position)
    x, cache = self.fold(call, x, cross, cache)
    return self.decoder_norm(x), cache


class Transformer(nnx.Module):
  """The whole network: embeds tokens for both stacks and turns vectors into logits."""

  def __init__(self, config: T5Config):
    dtype = jnp.dtype(config.dtype)
    self.token_embedder = layers.Embedding(config.vocab_size, config.emb_dim, dtype=dtype)
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)
    self.logits_via_embedding = config.logits_via_embedding
    lora.adapt(self, rank=config.lora_rank, pattern=config.lora_pattern, alpha=config.lora_alpha)
    layers.hold_parameters_as(self, config.param_dtype)

  def encode(
    self, tokens: Int[Array, "b s"], segments: Int[Array, "b s"], key: Array | None = None
  ) -> Float[Array, "b s d"]:
    """What the decoder attends to."""
    return self.encoder(self.token_embedder(tokens), segments, key)

  def logits(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
    """Logits of the next token from the decoder's output, float32."""
    if self.logits_via_embedding:
      return self.token_embedder.attend(x)
    return layout.constrain(self.decoder.logits_dense(x), "batch", "length", "act_vocab")

  def readout(self, x: Float[Array, "b t d"]) -> layers.Readout | None:
    """What `logits` multiplies; None where that is more than one product: with an adapter."""
    if self.logits_via_embedding:
      return self.token_embedder.readout(x)
    dense = self.decoder.logits_dense
    return dense.readout(x) if type(dense) is layers.Dense else None

  def output(self) -> Callable[[Array], Array]:
    """`logits` as a function for a loop: what each call reads is prepared here, once."""
    dense = None if self.logits_via_embedding else self.decoder.logits_dense
    if type(dense) is not layers.Dense:  # tied, or with an adapter
      return self.logits
    # Turned over, T5 small's 66 MB take 8 vectors half the time on a CPU, and 32 four fifths.
    table = jax.lax.optimization_barrier(dense.kernel[...].astype(dense.dtype).T)  # v d
    return lambda x: jnp.einsum("btd,vd->btv", x.astype(dense.dtype), table)

  def __call__(self, batch: Mapping[str, Any], key: Array | None = None) -> Float[Array, "b t v"]:
    """Logits at every target position of a batch, packed or not."""
    return self.logits(self.hidden(batch, key))

  def hidden(self, batch: Mapping[str, Any], key: Array | None = None) -> Float[Array, "b t d"]:
    """The decoder's output, of which `logits` makes logits."""
    encoder_key, decoder_key = (None, None) if key is None else jax.random.split(key)
    tokens = batch["encoder_input_tokens"]
    encoder_segments = attention.segments(tokens, batch.get("encoder_segment_ids"))
    encoded = self.encode(tokens, encoder_segments, encoder_key)
    segments = attention.segments(batch["decoder_target_tokens"], batch.get("decoder_segment_ids"))
    y = self.token_embedder(batch["decoder_input_tokens"])
    return self.decoder(y, encoded, segments, encoder_segments, decoder_key)
