"""T5 1.0 and 1.1 as pure functions of a dict of parameters.

Axes: b batch, s input position, d model.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flan_tune.models import attention, decode, initial, lora, network
from flan_tune.models.network import LAYER, Batch, Params
from flan_tune.models.transformer import T5Config, Transformer

__all__ = ["AXES", "T5", "T5Config"]

# Where each parameter lies: one pattern matches its whole path.  `partition.RULES` has the mesh's
# axes of these names, and of those that the layers give their activations.
AXES = lora.with_adapters(
  (
    (r"token_embedder/embedding", ("vocab", "embed")),
    (r"decoder/logits_dense/kernel", ("embed", "vocab")),
    (r"(encoder|decoder)/relpos_bias/rel_embedding", ("heads", "relpos_buckets")),
    (r"encoder/encoder_norm/scale|decoder/decoder_norm/scale", ("embed",)),
    (LAYER + r"\w*attention/(query|key|value)/kernel", ("embed", "joined_kv")),
    (LAYER + r"\w*attention/out/kernel", ("joined_kv", "embed")),
    (LAYER + r"mlp/wi(_\d)?/kernel", ("embed", "mlp")),
    (LAYER + r"mlp/wo/kernel", ("mlp", "embed")),
    (LAYER + r"pre_\w+_layer_norm/scale", ("embed",)),
  )
)


class T5(network.Network):
  """A T5; batches are those of `flan_tune.batch`."""

  features = "encoder_decoder"

  def __init__(self, config: T5Config):
    table = initial.t5(config.head_dim)
    super().__init__(config, Transformer(config), axes=AXES, table=table)

  def encode(self, params: Params, batch: Batch, key: Array | None = None) -> Float[Array, "b s d"]:
    """The encoder's output; needs only the encoder's features of `batch`."""
    batch = network.arrays(batch)
    tokens = batch["encoder_input_tokens"]
    segments = attention.segments(tokens, batch.get("encoder_segment_ids"))
    return self._bind(params).encode(tokens, segments, key)

  def generate(
    self,
    params: Params,
    prompts: Int[Array | np.ndarray, "b s"],
    decoding: decode.Decoding,
    keys: Array | None = None,
  ) -> decode.Decoded:
    """Answers to prompts, which are padded with 0 on the right; see `decode.decode`.

    The answers of a prompt share one pass of the encoder and one copy of its keys and values.
    """
    model = self._bind(params)
    prompts = jnp.asarray(prompts)
    segments = attention.segments(prompts, None)
    cross = model.decoder.remember(model.encode(prompts, segments))
    logits = model.output()

    def step(tokens, cache, position):
      x = model.token_embedder(tokens[:, None])
      x, cache = model.decoder.step(x, cross, cache, segments, position)
      return logits(x)[:, 0], cache

    cache = attention.empty(cross, decoding.rows_per_prompt, decoding.max_tokens)
    return decode.decode(step, cache, batch_size=prompts.shape[0], decoding=decoding, keys=keys)
