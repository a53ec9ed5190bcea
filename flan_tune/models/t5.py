"""T5 1.0 and 1.1 as pure functions of a dict of parameters.

Axes: b batch, t target position, s input position, d model, v vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_tune.models import attention, decode, initial, losses
from flan_tune.models.transformer import T5Config, Transformer

__all__ = ["AXES", "SCANNED_AXES", "T5", "T5Config"]

Params = Mapping[str, Any]  # nested, T5X names, float32 arrays
Batch = Mapping[str, Array | np.ndarray]  # T5X feature names

# The order matters: the first pattern that matches a whole path decides.
AXES = (
  (r"token_embedder/embedding", ("vocab", "embed")),
  (r"decoder/logits_dense/kernel", ("embed", "vocab")),
  (r".*/relpos_bias/rel_embedding", ("heads", "relpos_buckets")),
  (r".*/(query|key|value)/kernel", ("embed", "joined_kv")),
  (r".*/out/kernel", ("joined_kv", "embed")),
  (r".*/mlp/wi(_\d+)?/kernel", ("embed", "mlp")),
  (r".*/mlp/wo/kernel", ("mlp", "embed")),
  (r".*/scale", ("embed",)),
)
# Stacked layers, tried first: the same with the layers' axis at 1.
SCANNED_AXES = tuple(
  (
    r"(encoder/encoder|decoder/decoder)/" + pattern.replace(".*/", "(.*/)?"),
    (axes[0], "layers", *axes[1:]),
  )
  for pattern, axes in AXES
  if pattern.startswith(".*") and "relpos" not in pattern
)


def _arrays(batch: Batch) -> dict[str, Array]:
  return {name: jnp.asarray(value) for name, value in batch.items()}


class T5:
  """A T5 as pure functions of its parameters, a nested dict of float32 arrays with T5X's names.

  Attributes:
    config: Sizes and choices.
    axes: Ordered table of (path pattern, logical axes); every parameter's path matches one.
    shapes: The nested dict with `jax.ShapeDtypeStruct` in place of arrays.
  """

  def __init__(self, config: T5Config):
    self.config = config
    self.axes = SCANNED_AXES + AXES if config.scan_layers else AXES
    self._graph, state = nnx.split(Transformer(config))
    self.shapes = nnx.to_pure_dict(state)

  def init(self, key: Array) -> Params:
    """Fresh parameters, distributed as T5X's; fit for `jax.jit` and `jax.eval_shape`."""
    return initial.draw_params(key, self.shapes, head_dim=self.config.head_dim)

  def _bind(self, params: Params) -> Transformer:
    return nnx.merge(self._graph, params)

  def encode(self, params: Params, batch: Batch, key: Array | None = None) -> Float[Array, "b s d"]:
    """The encoder's output; needs only the encoder's features of `batch`."""
    batch = _arrays(batch)
    tokens = batch["encoder_input_tokens"]
    segments = attention.segments(tokens, batch.get("encoder_segment_ids"))
    return self._bind(params).encode(tokens, segments, key)

  def logits(self, params: Params, batch: Batch, key: Array | None = None) -> Float[Array, "b t v"]:
    """Logits of the next token at every target position, float32; a key switches dropout on."""
    return self._bind(params)(_arrays(batch), key)

  def loss(
    self,
    params: Params,
    batch: Batch,
    key: Array | None = None,
    *,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
    loss_normalizing_factor: float | str | None = None,
  ) -> tuple[Float[Array, ""], dict[str, tuple[Array, Array]]]:
    """The loss to minimise, T5X's, and metrics as (sum, count), which no normalising touches.

    Metrics: `loss` and `z_loss` in nats and `accuracy`, over the weights of target tokens;
    `tokens`, those of both sides that are not padding, over all slots.
    """
    batch = _arrays(batch)
    return losses.weighted(
      self.logits(params, batch, key),
      batch,
      z_loss=z_loss,
      label_smoothing=label_smoothing,
      loss_normalizing_factor=loss_normalizing_factor,
    )

  def token_losses(
    self, params: Params, batch: Batch, key: Array | None = None
  ) -> Float[Array, "b t"]:
    """Weight times negative log-probability of each target token, float32; no z term."""
    batch = _arrays(batch)
    logits = self.logits(params, batch, key)
    plain = losses.token_losses(logits, batch["decoder_target_tokens"]).loss
    return losses.loss_weights(batch) * plain

  def score(self, params: Params, batch: Batch) -> Float[Array, " b"]:
    """Sum over each row of weight times log-probability of the target tokens, float32."""
    return -jnp.sum(self.token_losses(params, batch), axis=-1)

  def generate(
    self, params: Params, encoder_input_tokens: Int[Array | np.ndarray, "b s"], *, max_tokens: int
  ) -> tuple[Int[Array, "b t"], Float[Array, " b"]]:
    """The greedy continuation, 0 after EOS, and its summed log-probability (EOS included).

    What a row gives depends on that row alone.
    """
    model = self._bind(params)
    inputs = jnp.asarray(encoder_input_tokens)
    segments = attention.segments(inputs, None)
    cross = model.decoder.remember(model.encode(inputs, segments))

    def step(tokens, cache, position):
      x = model.token_embedder(tokens[:, None])
      x, cache = model.decoder.step(x, cross, cache, segments, position, max_tokens)
      return model.logits(x)[:, 0], cache

    cache = decode.empty_cache(cross, max_tokens)
    return decode.greedy(step, cache, batch_size=inputs.shape[0], max_tokens=max_tokens)
