"""What a packed row promises: each of its examples is computed as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

LENGTHS = (20, 12)


@pytest.fixture(scope="module")
def packed(make_batch, examples):
  """Rows of two and three examples, padding at the end of both sides, and rows of padding."""
  return make_batch([examples[:2], examples[2:], [], [], []], *LENGTHS)


@pytest.fixture(scope="module")
def alone(make_batch, examples):
  """One example a row."""
  return make_batch([[example] for example in examples], *LENGTHS)


@pytest.fixture(scope="module")
def logits(model):
  network, params = model
  return jax.jit(lambda batch: network.logits(params, batch))


@pytest.fixture(scope="module")
def gradient(make_model, quick_jit):
  """Loss and gradients of a smaller model, compiled once."""
  network, params = make_model(num_encoder_layers=1, num_decoder_layers=1)
  return quick_jit(jax.value_and_grad(lambda p, batch: network.loss(p, batch)[0])), params


def places(examples):
  """Where each example's targets start: (packed row, column, length)."""
  rows = [examples[:2], examples[2:]]
  for row, members in enumerate(rows):
    start = 0
    for _, targets in members:
      yield row, start, len(targets)
      start += len(targets)


def test_packed_logits_equal_those_alone(logits, packed, alone, examples):
  together, apart = logits(packed), logits(alone)
  for number, (row, start, length) in enumerate(places(examples)):
    np.testing.assert_allclose(
      together[row, start : start + length], apart[number, :length], rtol=1e-5, atol=1e-5
    )


def test_packed_loss_and_gradients_equal_the_sum_over_examples_alone(gradient, packed, alone):
  compute, params = gradient
  (together, of_packed), (apart, of_alone) = compute(params, packed), compute(params, alone)
  np.testing.assert_allclose(together, apart, rtol=1e-5)
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())
  jax.tree.map(compare, of_packed, of_alone)


@pytest.mark.parametrize("side", ["encoder_input", "decoder_input"])
def test_changing_one_example_leaves_its_row_mates_bit_equal(logits, packed, examples, side):
  """Inputs reach others only by encoder and cross attention, targets only by the decoder's."""
  segments = packed[f"{side.split('_')[0]}_segment_ids"]
  tokens = packed[f"{side}_tokens"]
  second = np.zeros(segments.shape, bool)
  second[1] = segments[1] == 2
  changed = packed | {f"{side}_tokens": jnp.where(second, tokens % 40 + 5, tokens)}
  before, after = np.asarray(logits(packed)), np.asarray(logits(changed))
  for number, (row, start, length) in enumerate(places(examples)):
    same = np.array_equal(before[row, start : start + length], after[row, start : start + length])
    assert same == (number != 3), f"example {number}"


def test_changing_a_target_leaves_what_comes_before_it_bit_equal(logits, packed):
  tokens = packed["decoder_input_tokens"]
  before = np.asarray(logits(packed))
  for position in (1, 2):  # within the first example of row 0, and the start of its second
    changed = packed | {"decoder_input_tokens": tokens.at[0, position].add(3)}
    after = np.asarray(logits(changed))
    assert np.array_equal(before[0, :position], after[0, :position])
    assert not np.array_equal(before[0, position], after[0, position])
    assert np.array_equal(before[1], after[1])


def test_what_padding_holds_does_not_matter(logits, alone, make_batch, examples):
  rows = [[example] for example in examples]
  roomy = make_batch(rows, LENGTHS[0] + 9, LENGTHS[1] + 4)
  small, large = logits(alone), logits(roomy)
  for row, (_, targets) in enumerate(examples):
    length = len(targets)
    np.testing.assert_allclose(small[row, :length], large[row, :length], rtol=1e-5, atol=1e-5)


def test_segment_ids_of_one_example_a_row_may_be_left_out(logits, alone):
  names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
  bare = {name: alone[name] for name in names}
  assert np.array_equal(logits(bare), logits(alone))


def test_a_batch_without_tokens_has_loss_and_gradients_0(gradient, packed):
  compute, params = gradient
  loss, grads = compute(params, {name: jnp.zeros_like(x) for name, x in packed.items()})
  assert loss == 0.0
  assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(grads))


def test_losses_of_tokens_add_up_to_the_loss_and_the_scores(model, packed, quick_jit):
  network, params = model
  compute = lambda batch: (
    network.token_losses(params, batch),
    network.loss(params, batch, z_loss=0.0)[0],
    network.score(params, batch),
  )
  each, loss, scores = quick_jit(compute)(packed)
  np.testing.assert_allclose(each.sum(), loss, rtol=1e-5)
  np.testing.assert_allclose(-each.sum(axis=-1), scores, rtol=1e-5)
  assert not np.any(np.asarray(each)[packed["decoder_target_tokens"] == 0])
