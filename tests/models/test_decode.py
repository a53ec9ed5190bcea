import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune.models import decode

MAX_TOKENS = 7


@pytest.fixture(scope="module")
def generate(model):
  network, params = model
  return jax.jit(lambda inputs: network.generate(params, inputs, max_tokens=MAX_TOKENS))


@pytest.fixture(scope="module")
def inputs(examples):
  rows = np.zeros((5, 9), np.int32)
  for row, (tokens, _) in enumerate(examples):
    rows[row, : len(tokens)] = tokens
  return jnp.asarray(rows)


def test_the_cache_gives_what_a_full_forward_pass_gives(model, generate, inputs):
  network, params = model
  tokens, log_probs = generate(inputs)
  batch = {
    "encoder_input_tokens": inputs,
    "decoder_input_tokens": jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1],
    "decoder_target_tokens": jnp.where(tokens > 0, tokens, 2),  # all positions are looked at
  }
  logits = jax.jit(network.logits)(params, batch)
  best = np.asarray(jnp.argmax(logits, axis=-1))
  each = np.asarray(jnp.max(jax.nn.log_softmax(logits), axis=-1))
  for row, decoded in enumerate(np.asarray(tokens)):
    ends = np.flatnonzero(decoded == decode.EOS)
    length = ends[0] + 1 if len(ends) else MAX_TOKENS
    assert decoded[:length].tolist() == best[row, :length].tolist()
    assert not decoded[length:].any()
    np.testing.assert_allclose(log_probs[row], each[row, :length].sum(), rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(generate, inputs):
  tokens, log_probs = generate(inputs)
  others = generate(inputs.at[1:].set(inputs[:1] % 7 + 2))
  assert np.array_equal(tokens[0], others[0][0])
  assert log_probs[0] == others[1][0]
  backwards = generate(inputs[::-1])
  assert np.array_equal(tokens, backwards[0][::-1])


def counting(table, calls=None):
  """A step whose best token is the next of `table` for each row; counts its calls in the cache."""

  def step(tokens, cache, position):
    del tokens
    return jax.nn.one_hot(table[:, position], 9) * 4.0, cache + 1

  return step


def test_decoding_stops_when_every_row_has_ended():
  table = jnp.array([[3, 1, 5, 5], [1, 7, 7, 7]])
  last = {}

  def step(tokens, cache, position):
    jax.debug.callback(lambda p: last.update(position=int(p)), position)
    return counting(table)(tokens, cache, position)

  tokens, log_probs = decode.greedy(step, jnp.int32(0), batch_size=2, max_tokens=4)
  jax.effects_barrier()
  assert tokens.tolist() == [[3, 1, 0, 0], [1, 0, 0, 0]]
  assert last["position"] == 1
  one = 4.0 - np.log(np.exp(4.0) + 8.0)
  np.testing.assert_allclose(log_probs, [2 * one, one], rtol=1e-5)


def test_rows_that_never_end_are_cut():
  step = counting(jnp.full((1, 3), 5))
  tokens, _ = decode.greedy(step, jnp.int32(0), batch_size=1, max_tokens=3)
  assert tokens.tolist() == [[5, 5, 5]]


def test_another_choice_of_tokens_fits_in():
  """What sampling needs: a function of logits and position."""
  worst = lambda logits, position: jnp.argmin(logits, axis=-1).astype(jnp.int32) + 2 * position
  step = counting(jnp.full((1, 3), 0))
  tokens, _ = decode.extend(step, jnp.int32(0), worst, batch_size=1, max_tokens=3)
  assert tokens.tolist() == [[1, 0, 0]]
