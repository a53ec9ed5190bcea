import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune import errors
from flan_tune.models import losses


@pytest.fixture(scope="module")
def logits():
  return jnp.asarray(np.random.default_rng(0).normal(0.0, 3.0, (2, 4, 7)).astype(np.float32))


TARGETS = np.array([[1, 2, 3, 0], [6, 5, 0, 0]], np.int32)


def plain_loss(logits, z_loss, label_smoothing):
  """The definition, with soft targets spelt out."""
  size = logits.shape[-1]
  low = label_smoothing / (size - 1)
  soft = jax.nn.one_hot(TARGETS, size) * (1 - label_smoothing - low) + low
  entropy = -jnp.sum(jnp.where(soft > 0, soft * jnp.log(jnp.maximum(soft, 1e-30)), 0.0), axis=-1)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  cross = -jnp.sum(soft * (logits - log_z[..., None]), axis=-1)
  return cross - entropy + z_loss * log_z**2


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_loss_and_gradient_equal_the_definition(logits, z_loss, label_smoothing, quick_jit):
  ours = lambda x: (
    losses.token_losses(
      x, jnp.asarray(TARGETS), z_loss=z_loss, label_smoothing=label_smoothing
    ).loss
  )
  plain = lambda x: plain_loss(x, z_loss, label_smoothing)
  weights = jnp.arange(8.0).reshape(2, 4)

  @quick_jit
  def compute(x):
    (out, back), (expected, plain_back) = jax.vjp(ours, x), jax.vjp(plain, x)
    return out, expected, back(weights)[0], plain_back(weights)[0]

  out, expected, gradient, expected_gradient = compute(logits)
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_the_z_term_has_its_own_gradient(logits):
  each = lambda x: losses.token_losses(x, jnp.asarray(TARGETS), z_loss=0.5)
  of_sum = jax.grad(lambda x: jnp.sum(each(x).loss) - jnp.sum(each(x).z_loss))(logits)
  without = lambda x: losses.token_losses(x, jnp.asarray(TARGETS)).loss
  np.testing.assert_allclose(of_sum, jax.grad(lambda x: jnp.sum(without(x)))(logits), atol=1e-5)


def test_large_logits_do_not_overflow():
  logits = jnp.array([[[1e4, 0.0, -1e4]]])
  each = losses.token_losses(logits, jnp.array([[1]]), z_loss=0.0)
  assert each.loss[0, 0] == 1e4
  assert not each.correct[0, 0]


def test_a_perfect_prediction_has_loss_0_with_label_smoothing():
  soft = jnp.array([[[0.1, 0.1, 0.7, 0.1]]])
  each = losses.token_losses(jnp.log(soft), jnp.array([[2]]), label_smoothing=0.3)
  np.testing.assert_allclose(each.loss, 0.0, atol=1e-6)
  assert each.correct[0, 0]


def batch(**extra):
  return {
    "encoder_input_tokens": jnp.asarray(TARGETS),
    "decoder_target_tokens": jnp.asarray(TARGETS),
    **extra,
  }


def test_weights_left_out_are_one_for_every_token_but_padding():
  assert losses.loss_weights(batch()).tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_average_per_sequence_gives_every_packed_example_the_same_weight():
  segments = jnp.array([[1, 1, 2, 0], [1, 1, 0, 0]])
  weights, divisor = losses.normalization(
    batch(decoder_segment_ids=segments), "average_per_sequence"
  )
  assert weights.tolist() == [[0.5, 0.5, 1, 0], [0.5, 0.5, 0, 0]]
  assert divisor == 3.0


def test_a_batch_without_weights_to_share_divides_by_one_instead_of_zero():
  nothing = batch(decoder_loss_weights=jnp.zeros((2, 4)))
  for factor in losses.NORMALIZING_FACTORS:
    weights, divisor = losses.normalization(nothing, factor)
    assert np.all(weights == 0.0)
    assert divisor > 0.0


def test_an_unknown_factor_is_answered_with_the_nearest(logits):
  with pytest.raises(errors.UserError, match="NUM_REAL_TARGET_TOKENS"):
    losses.normalization(batch(), "NUM_REAL_TARGETS")


@pytest.mark.parametrize("factor", [None, 7.0, *losses.NORMALIZING_FACTORS])
def test_parts_of_a_prepared_batch_add_up_to_the_loss_of_the_whole(logits, factor):
  settings = {"z_loss": 0.1, "label_smoothing": 0.0, "loss_normalizing_factor": factor}
  weights = jnp.array([[1, 1, 0.5, 0], [1, 0, 0, 0]])
  whole = batch(decoder_loss_weights=weights)
  expected = losses.weighted(logits, whole, **settings)[0]
  prepared = losses.prepare(whole, factor)
  parts = [{name: x[row : row + 1] for name, x in prepared.items()} for row in (0, 1)]
  each = [losses.weighted(logits[row : row + 1], parts[row], **settings)[0] for row in (0, 1)]
  np.testing.assert_allclose(sum(each), expected, rtol=1e-6)


def test_losses_by_group_are_cross_entropies_of_weighted_tokens(logits):
  groups = jnp.array([[0, 2, 2, 1], [2, 9, 0, -1]])  # 9 and -1 are no groups; the last are padding
  made = losses.weighted(
    logits,
    batch(loss_groups=groups),
    z_loss=0.1,
    label_smoothing=0.0,
    loss_normalizing_factor=None,
    num_groups=3,
  )[1]
  plain = losses.token_losses(logits, jnp.asarray(TARGETS)).loss
  total, count = made["loss_by_group"]
  expected = jnp.array([plain[0, 0], 0.0, plain[0, 1] + plain[0, 2] + plain[1, 0]])
  np.testing.assert_allclose(total, expected, rtol=1e-5)
  assert count.tolist() == [1.0, 0.0, 3.0]
