"""PaLM (Chowdhery et al. 2022) as pure functions of a dict of parameters.

Axes: b batch, s prompt position.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from flan_tune.models import decode, initial, lora, network
from flan_tune.models.network import LAYER, Params
from flan_tune.models.parallel import PaLMConfig, ParallelTransformer

__all__ = ["AXES", "PaLM", "PaLMConfig"]

# Where each parameter lies: one pattern matches its whole path.  `partition.RULES` has the mesh's
# axes of these names, and of those that the layers give their activations.
AXES = lora.with_adapters(
  (
    (r"token_embedder/embedding", ("vocab", "embed")),
    (r"decoder/decoder_norm/scale", ("embed",)),
    (LAYER + r"attention/query/kernel", ("embed", "joined_kv")),
    # One head, which every device that has heads of queries needs whole.
    (LAYER + r"attention/(key|value)/kernel", ("embed", "kv")),
    (LAYER + r"attention/out/kernel", ("joined_kv", "embed")),
    (LAYER + r"mlp/wi_\d/kernel", ("embed", "mlp")),
    (LAYER + r"mlp/wo/kernel", ("mlp", "embed")),
    (LAYER + r"layer_norm/scale", ("embed",)),
  )
)


class PaLM(network.Network):
  """A decoder-only PaLM; batches are those of `flan_tune.lm_batch`."""

  features = "decoder_only"

  def __init__(self, config: PaLMConfig):
    super().__init__(config, ParallelTransformer(config), axes=AXES, table=initial.PALM)

  def generate(
    self,
    params: Params,
    prompts: Int[Array | np.ndarray, "b s"],
    decoding: decode.Decoding,
    keys: Array | None = None,
  ) -> decode.Decoded:
    """Answers to each prompt, which ends where its 0s begin.

    What a row gives depends on that row alone.

    Args:
      params: Of the network.
      prompts: Token ids, padded on the right with 0.
      decoding: How; static under `jax.jit`.
      keys: [b], a random key for each prompt; needed to sample.
    """
    model = self._bind(params)
    prompts = jnp.asarray(prompts)
    num_rows = decoding.rows_per_prompt
    cache = decode.repeat(model.remember(prompts, decoding.max_tokens), num_rows)
    repeated = jnp.repeat(prompts, num_rows, axis=0)
    step = lambda tokens, cache, position: model.step(tokens, cache, position, repeated)
    return decode.decode(step, cache, batch_size=len(prompts), decoding=decoding, keys=keys)
