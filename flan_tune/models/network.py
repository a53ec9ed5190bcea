"""What networks have in common: pure functions of a dict of parameters, made from a module.

Axes: b batch, t target position, v vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from flan_tune.models import chunked, initial, losses

Params = Mapping[str, Any]  # nested, T5X names
Batch = Mapping[str, Array | np.ndarray]  # T5X feature names
AxesTable = Sequence[tuple[str, tuple[str, ...]]]

# How the rows of a table begin that are for the parameters of layers, one by one and stacked.
LAYER = r"(encoder|decoder)/layers_\d+/"
STACKED = r"(encoder/encoder|decoder/decoder)/"


def stacked_axes(table: AxesTable) -> tuple[tuple[str, tuple[str, ...]], ...]:
  """A table's rows of layers, for layers stacked under one name: the layers' axis is at 1."""
  return tuple(
    (STACKED + pattern.removeprefix(LAYER), (axes[0], "layers", *axes[1:]))
    for pattern, axes in table
    if pattern.startswith(LAYER)
  )


def arrays(batch: Batch) -> dict[str, Array]:
  """The batch with arrays of JAX."""
  return {name: jnp.asarray(value) for name, value in batch.items()}


class Network:
  """Pure functions of parameters, a nested dict of arrays with T5X's names.

  Attributes:
    features: What its batches hold: a key of `converters.CONVERTERS`.
    config: Sizes and choices.
    axes: Table of (path pattern, logical axes); every parameter's path matches exactly one.
    shapes: The nested dict with `jax.ShapeDtypeStruct` in place of arrays.
  """

  features: str

  def __init__(self, config: Any, module: nnx.Module, *, axes: AxesTable, table: initial.Table):
    """Takes a network apart into its structure and its parameters.

    Args:
      config: A dataclass with `scan_layers`.
      module: Called with (batch, key), gives logits; holds shapes.
      axes: Of layers one by one.
      table: How initial numbers are distributed.
    """
    self.config = config
    self.axes = (*axes, *stacked_axes(axes))
    self._table = table
    self._graph, state = nnx.split(module)
    self.shapes = nnx.to_pure_dict(state)

  def init(self, key: Array) -> Params:
    """Fresh parameters; fit for `jax.jit` and `jax.eval_shape`."""
    return initial.draw_params(key, self.shapes, table=self._table)

  def _bind(self, params: Params) -> Any:
    return nnx.merge(self._graph, params)

  def logits(self, params: Params, batch: Batch, key: Array | None = None) -> Float[Array, "b t v"]:
    """Logits of the next token at every target position, float32; a key switches dropout on."""
    return self._bind(params)(arrays(batch), key)

  def prepare(
    self, batch: Batch, *, loss_normalizing_factor: float | str | None = None
  ) -> dict[str, Array]:
    """The batch with "loss_scale" [b, t], which `loss` takes instead of normalising itself.

    For a batch that is to be worked off in parts, whose losses then add up to that of the whole.
    """
    return losses.prepare(arrays(batch), loss_normalizing_factor)

  def loss(
    self,
    params: Params,
    batch: Batch,
    key: Array | None = None,
    *,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
    loss_normalizing_factor: float | str | None = None,
    chunk: int | None = None,
    num_groups: int | None = None,
  ) -> tuple[Float[Array, ""], dict[str, tuple[Array, Array]]]:
    """The loss to minimise, T5X's, and metrics as (sum, count), which no normalising touches.

    Metrics: `loss` and `z_loss` in nats and `accuracy`, over the weights of target tokens;
    `tokens`, those of all sides that are not padding, over all slots; with `num_groups`, and
    "loss_groups" in the batch, `loss_by_group` (see `losses.metrics`).

    Args:
      params: All parameters.
      batch: With "loss_scale" from `prepare`, `loss_normalizing_factor` is not looked at.
      key: Switches dropout on.
      z_loss: See `losses.token_losses`.
      label_smoothing: Likewise.
      loss_normalizing_factor: See `losses.normalization`.
      chunk: Target tokens whose logits exist at a time, or None: those of the whole batch.  An
        output layer with an adapter has them all, whatever is asked.
      num_groups: How many groups "loss_groups" numbers.
    """
    batch, module = arrays(batch), self._bind(params)
    x = module.hidden(batch, key)
    readout = None if chunk is None else module.readout(x)
    terms = {"z_loss": z_loss, "label_smoothing": label_smoothing}
    if chunk is None or readout is None:
      return losses.weighted(
        module.logits(x),
        batch,
        loss_normalizing_factor=loss_normalizing_factor,
        num_groups=num_groups,
        **terms,
      )
    scale = losses.scale(batch, loss_normalizing_factor)
    wanted = (scale != 0) | (losses.loss_weights(batch) != 0)
    targets = batch["decoder_target_tokens"]
    loss, each = chunked.objective(readout, targets, scale, wanted, chunk=chunk, **terms)
    return loss, losses.metrics(each, batch, num_groups=num_groups)

  def token_losses(
    self, params: Params, batch: Batch, key: Array | None = None
  ) -> Float[Array, "b t"]:
    """Weight times negative log-probability of each target token, float32; no z term."""
    return losses.loss_weights(arrays(batch)) * self.judge(params, batch, key).loss

  def score(self, params: Params, batch: Batch) -> Float[Array, " b"]:
    """Sum over each row of weight times log-probability of the target tokens, float32."""
    return -jnp.sum(self.token_losses(params, batch), axis=-1)

  def judge(self, params: Params, batch: Batch, key: Array | None = None) -> losses.TokenLosses:
    """Each target token's negative log-probability, and whether no other one is likelier."""
    return losses.token_losses(
      self.logits(params, batch, key), arrays(batch)["decoder_target_tokens"]
    )
