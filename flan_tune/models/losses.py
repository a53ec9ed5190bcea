"""T5X's loss.  Axes: b batch, t target position, v vocabulary."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flan_tune import errors

NORMALIZING_FACTORS = ("NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE")


class TokenLosses(NamedTuple):
  """What each target token contributes, before weights."""

  loss: Float[Array, "b t"]  # nats: cross entropy plus the z term
  z_loss: Float[Array, "b t"]  # the z term alone
  correct: Bool[Array, "b t"]  # no token has a larger logit than the target


def token_losses(
  logits: Float[Array, "b t v"],
  targets: Int[Array, "b t"],
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> TokenLosses:
  """Cross entropy + z_loss * log(Z)**2 of each token (T5X: t5x/losses.py).

  With label smoothing the entropy of the smoothed target is subtracted, as in T5X, so that a
  perfect model has loss 0.
  """
  return _cross_entropy(logits, targets, z_loss, label_smoothing)


def _smoothed(vocab_size: int, label_smoothing: float) -> tuple[float, float, float]:
  """Target probability of the right token, of each other one, and the entropy of the two."""
  high, low = 1.0 - label_smoothing, label_smoothing / (vocab_size - 1)
  entropy = -high * math.log(high)
  if low > 0.0:
    entropy -= (vocab_size - 1) * low * math.log(low)
  return high, low, entropy


def forward(logits, targets, z_loss, label_smoothing):
  """`token_losses`, and what `backward` needs of them."""
  vocab_size = logits.shape[-1]
  largest = jnp.max(logits, axis=-1)
  log_z = jnp.log(jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)) + largest
  right = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  loss = log_z - right
  if label_smoothing > 0.0:
    high, low, entropy = _smoothed(vocab_size, label_smoothing)
    all_tokens = vocab_size * log_z - jnp.sum(logits, axis=-1)
    loss = high * loss + low * (all_tokens - loss) - entropy
  z_term = z_loss * jnp.square(log_z)
  return TokenLosses(loss + z_term, z_term, right >= largest), (logits, targets, log_z)


def backward(z_loss, label_smoothing, saved, cotangents):
  """Gradients of the logits, and of the targets, which have none."""
  logits, targets, log_z = saved
  of_loss, of_z_term = cotangents.loss, cotangents.z_loss
  high, low, _ = _smoothed(logits.shape[-1], label_smoothing)
  is_right = jax.lax.broadcasted_iota(targets.dtype, logits.shape, 2) == targets[..., None]
  wanted = jnp.where(is_right, high, low)
  of_log_z = of_loss + (of_loss + of_z_term) * (2.0 * z_loss) * log_z
  probs = jnp.exp(logits - log_z[..., None])
  return probs * of_log_z[..., None] - wanted * of_loss[..., None], None


# A gradient of our own: one pass over the logits, where differentiating the forward pass would
# scatter into an array of their size and then add it.
_cross_entropy: Any = jax.custom_vjp(lambda *args: forward(*args)[0], nondiff_argnums=(2, 3))
_cross_entropy.defvjp(forward, backward)


def loss_weights(batch: Mapping[str, Any]) -> Float[Array, "b t"]:
  """The weight of each target token; 1 for every token that is not padding when none are given."""
  weights = batch.get("decoder_loss_weights")
  if weights is None:
    weights = batch["decoder_target_tokens"] > 0
  return weights.astype(jnp.float32)


def normalization(
  batch: Mapping[str, Any], factor: float | str | None
) -> tuple[Float[Array, "b t"], float | Float[Array, ""]]:
  """Weights of the tokens and the number that divides their sum, by T5X's names.

  Args:
    factor: None or a number divide by it; NUM_REAL_TARGET_TOKENS by the sum of weights;
      NUM_TOTAL_TARGET_TOKENS by b * t; AVERAGE_PER_SEQUENCE first makes the weights of every
      example, packed or not, add up to 1 and then divides by the number of examples.
  """
  weights = loss_weights(batch)
  if factor is None:
    return weights, 1.0
  if not isinstance(factor, str):
    return weights, float(factor)
  match errors.one_of(factor.upper(), NORMALIZING_FACTORS, "loss_normalizing_factor"):
    case "NUM_REAL_TARGET_TOKENS":
      return weights, _or_one(jnp.sum(weights))
    case "NUM_TOTAL_TARGET_TOKENS":
      return weights, float(weights.size)
  weights = weights / _or_one(_weight_of_example(weights, batch.get("decoder_segment_ids")))
  return weights, _or_one(jnp.sum(weights))


def _or_one(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
  return jnp.where(x == 0.0, 1.0, x)


def _weight_of_example(weights, segment_ids) -> Float[Array, "b t"]:
  """At each token, the summed weight of its example."""
  if segment_ids is None:
    return jnp.broadcast_to(jnp.sum(weights, axis=-1, keepdims=True), weights.shape)
  same = segment_ids[:, :, None] == segment_ids[:, None, :]  # b t t
  return jnp.einsum("bts,bs->bt", same.astype(jnp.float32), weights)


def scale(batch: Mapping[str, Any], factor: float | str | None) -> Float[Array, "b t"]:
  """What each target token's loss is multiplied by in the objective: weight and normalisation.

  Taken from the batch where `prepare` has put it, so that the parts of a batch that is worked off
  in several are normalised by the whole of it.
  """
  given = batch.get("loss_scale")
  if given is not None:
    return given
  weights, divisor = normalization(batch, factor)
  return weights / divisor


def prepare(batch: Mapping[str, Any], factor: float | str | None) -> dict[str, Any]:
  """The batch with "loss_scale", the `scale` of its tokens."""
  return {**batch, "loss_scale": scale(batch, factor)}


def metrics(
  each: TokenLosses, batch: Mapping[str, Any], *, num_groups: int | None = None
) -> dict[str, tuple[Array, Array]]:
  """Sums and counts over the weighted tokens of a batch, which no normalising touches.

  Args:
    each: The tokens' losses; those of tokens of weight 0 do not matter.
    batch: Its "loss_groups" [b, t] count only with `num_groups`.
    num_groups: Adds `loss_by_group`, vectors of this size: cross entropy, without the z term, of
      the tokens whose group is 0, 1, ...; other numbers belong to none.
  """
  plain = loss_weights(batch)
  count = jnp.sum(plain)
  names = ("encoder_input_tokens", "decoder_target_tokens")  # decoder-only: the second alone
  sides = [batch[name] for name in names if name in batch]
  made = {
    "loss": (jnp.sum(each.loss * plain), count),
    "z_loss": (jnp.sum(each.z_loss * plain), count),
    "accuracy": (jnp.sum(each.correct * plain), count),
    "tokens": (
      jnp.float32(sum(jnp.sum(side > 0) for side in sides)),
      jnp.float32(sum(side.size for side in sides)),
    ),
  }
  if num_groups is not None and "loss_groups" in batch:
    groups = batch["loss_groups"].ravel()
    by_group = lambda y: jax.ops.segment_sum(y.ravel(), groups, num_groups)
    made["loss_by_group"] = (by_group((each.loss - each.z_loss) * plain), by_group(plain))
  return made


def weighted(
  logits: Float[Array, "b t v"],
  batch: Mapping[str, Any],
  *,
  z_loss: float,
  label_smoothing: float,
  loss_normalizing_factor: float | str | None,
  num_groups: int | None = None,
) -> tuple[Float[Array, ""], dict[str, tuple[Array, Array]]]:
  """The loss of a batch, a sum over weighted tokens, and its metrics as (sum, count)."""
  each = token_losses(
    logits, batch["decoder_target_tokens"], z_loss=z_loss, label_smoothing=label_smoothing
  )
  loss = jnp.sum(each.loss * scale(batch, loss_normalizing_factor))
  return loss, metrics(each, batch, num_groups=num_groups)
