import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from flan_tune.models import attention, layers

DRAW = np.random.default_rng(0)


def normal(*shape):
  return jnp.asarray(DRAW.normal(size=shape).astype(np.float32))


def with_numbers(module):
  """`module` with normal numbers for parameters."""
  graph, state = nnx.split(module)
  return nnx.merge(graph, jax.tree.map(lambda leaf: normal(*leaf.shape), nnx.to_pure_dict(state)))


def test_buckets_are_exact_up_to_half_and_then_widen():
  causal = layers.relative_buckets(-np.arange(300), bidirectional=False)
  assert causal[:16].tolist() == list(range(16))
  # With 16 exact, bucket 16+i starts at 16 * 8**(i/16): doubling every 16/3 buckets.
  assert causal[[16, 32, 64, 113, 127, 128, 299]].tolist() == [16, 21, 26, 31, 31, 31, 31]
  assert np.all(np.diff(causal) >= 0)
  assert np.all(layers.relative_buckets(np.arange(1, 50), bidirectional=False) == 0)


def test_bidirectional_buckets_mirror_each_other_sixteen_apart():
  distance = np.arange(1, 200)
  before = layers.relative_buckets(-distance, bidirectional=True)
  after = layers.relative_buckets(distance, bidirectional=True)
  assert np.array_equal(after, before + 16)
  assert before[[0, 6, 7, 15, 31, 63, 127]].tolist() == [1, 7, 8, 10, 12, 14, 15]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(5, 5), (3, 7), (7, 3), (1, 4)])
def test_bias_of_a_pair_is_its_bucket_s_number(bidirectional, num_queries, num_keys):
  bias = with_numbers(layers.RelativeBias(2, bidirectional=bidirectional))
  distance = np.arange(num_keys)[None] - np.arange(num_queries)[:, None]
  buckets = layers.relative_buckets(distance, bidirectional=bidirectional)
  expected = np.asarray(bias.rel_embedding[...])[:, buckets][None]
  assert np.array_equal(bias(num_queries, num_keys), expected)


def test_bias_of_one_position_is_a_row_of_all_positions():
  bias = with_numbers(layers.RelativeBias(2, bidirectional=False))
  whole = bias(6, 6)
  for position in range(6):
    assert np.array_equal(bias.at(jnp.int32(position), 6), whole[:, :, position : position + 1])


def test_dropout_keeps_the_mean_and_its_rate():
  keep = layers.draw_keep(jax.random.key(0), 0.25, (64, 512))
  assert abs(float(jnp.mean(keep)) - 0.75) < 0.01
  x = layers.dropout(jnp.ones((64, 3, 512)), keep, 0.25)
  assert set(np.unique(x).tolist()) == {0.0, np.float32(1 / 0.75)}
  assert np.array_equal(x[:, 0], x[:, 2])  # shared along the length


def test_norm_gives_root_mean_square_one_whatever_the_size_of_its_input():
  norm = with_numbers(layers.Norm(64, dtype=jnp.float32))
  x = normal(2, 3, 64)
  scaled = norm(1000.0 * x) / norm.scale[...][None, None]
  np.testing.assert_allclose(jnp.mean(jnp.square(scaled), axis=-1), 1.0, rtol=1e-5)
  np.testing.assert_allclose(norm(1000.0 * x), norm(x), rtol=1e-4)


@pytest.mark.parametrize(("num_in", "num_out"), [(4, 6), (6, 4)])
def test_gradient_of_a_product_is_the_product_s(num_in, num_out, quick_jit):
  x, kernel, dy = normal(2, 3, num_in), normal(num_in, num_out), normal(2, 3, num_out)
  gradient = lambda product: quick_jit(lambda *args: jax.vjp(product, *args)[1](dy))(x, kernel)
  for a, b in zip(gradient(layers.project), gradient(jnp.matmul), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradient_of_attention_is_that_of_the_plain_formula(with_bias, quick_jit):
  shapes = [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), (1, 2, 3, 5), (2, 2, 3, 4)]
  queries, keys, values, bias, dy = (normal(*shape) for shape in shapes)
  bias = bias if with_bias else None
  mask = jnp.asarray(np.arange(5) < np.array([[[2]], [[4]]]))[:, None] & jnp.ones(
    (2, 1, 3, 5), bool
  )

  def plain(queries, memory, bias):
    logits = jnp.einsum("bhtk,bhsk->bhts", queries, memory.keys) + (0 if bias is None else bias)
    probs = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf))
    return jnp.einsum("bhts,bhsk->bhtk", probs, memory.values)

  ours = lambda queries, memory, bias: attention.attend(queries, memory, bias, mask)

  @quick_jit
  def compute(*arguments):
    (out, back), (expected, plain_back) = jax.vjp(ours, *arguments), jax.vjp(plain, *arguments)
    return (out, back(dy)), (expected, plain_back(dy))

  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(compare, *compute(queries, attention.Memory(keys, values), bias))


def test_a_masked_key_weighs_nothing_however_large_its_value():
  queries, keys = jnp.ones((1, 1, 1, 2)), jnp.ones((1, 1, 3, 2))
  values = jnp.array([[[[1.0, 2.0], [3.0, 4.0], [1e30, -1e30]]]])
  mask = jnp.array([[[[True, True, False]]]])
  out = attention.attend(queries, attention.Memory(keys, values), None, mask)
  np.testing.assert_allclose(out[0, 0, 0], [2.0, 3.0])


def test_shapes_are_checked_while_testing():
  """By jaxtyping and beartype, which pyproject.toml switches on for the tests alone."""
  with pytest.raises(jaxtyping.TypeCheckError, match="segment_mask"):
    attention.segment_mask(jnp.zeros((2, 3), int), jnp.zeros((2, 3, 1), int))
