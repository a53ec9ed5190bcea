"""A loss in chunks is the loss of all logits, and holds but a chunk of them."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune import partition
from flan_tune.models import chunked, layers, losses

LENGTHS = (20, 12)
SETTINGS = {"z_loss": 0.01, "label_smoothing": 0.1}


@pytest.fixture
def packed(make_batch, examples):
  """Weights of 0 in the middle of a row and at its end, a row of padding, groups."""
  batch = make_batch([examples[:2], examples[2:], []], *LENGTHS)
  weights = batch["decoder_loss_weights"].at[0, 1].set(0.0).at[1, 0].set(0.5)
  groups = jnp.asarray(np.arange(3 * LENGTHS[1]).reshape(3, -1) % 3, jnp.int32)
  return batch | {"decoder_loss_weights": weights, "loss_groups": groups}


ONE_LAYER = {"num_encoder_layers": 1, "num_decoder_layers": 1}
NETWORKS = {
  "t5_1_0": ("make_model", {**ONE_LAYER, "logits_via_embedding": True}),
  "t5_1_1_bfloat16": ("make_model", {**ONE_LAYER, "dtype": "bfloat16"}),
  "palm": ("make_palm", {"num_layers": 1}),
}


@pytest.mark.parametrize(
  "name",
  [pytest.param(n, marks=[pytest.mark.slow] if "bfloat16" in n else []) for n in NETWORKS],
)
def test_loss_metrics_and_gradients_equal_those_of_all_logits(name, packed, request, quick_jit):
  fixture, changes = NETWORKS[name]
  network, params = request.getfixturevalue(fixture)(**changes)
  loss = functools.partial(network.loss, **SETTINGS, num_groups=3)

  @quick_jit
  def compute(params):
    of = lambda chunk: jax.value_and_grad(functools.partial(loss, chunk=chunk), has_aux=True)
    return of(None)(params, packed), of(15)(params, packed)

  (whole, whole_grads), (ours, grads) = compute(params)
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  jax.tree.map(compare, ours, whole)
  # An entry of bfloat16 that rounds the other way is off by 2**-8 of itself.
  off = 2e-2 if "bfloat16" in name else 1e-5
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=off * np.abs(b).max())
  jax.tree.map(compare, grads, whole_grads)


def test_an_output_layer_with_an_adapter_is_taken_whole(make_model, packed, quick_jit):
  network, params = make_model(**ONE_LAYER, lora_rank=2, lora_pattern="decoder/logits_dense")
  loss = lambda chunk: network.loss(params, packed, chunk=chunk)[0]
  whole, ours = quick_jit(lambda: (loss(None), loss(6)))()
  assert whole == ours


def problem(rows, length, width, vocab_size):
  """An output layer to be applied, and targets."""
  draw = np.random.default_rng(0)
  number = lambda *shape: jnp.asarray(draw.normal(size=shape), jnp.float32)
  targets = jnp.asarray(draw.integers(0, vocab_size, (rows, length)), jnp.int32)
  return layers.Readout(number(rows, length, width), number(width, vocab_size), "dv"), targets


@pytest.mark.parametrize("chunk", [1, 10, 1000])  # positions: 1, 5 (no divisor of 8), all 8
def test_any_chunk_gives_the_same_losses_and_gradients(chunk, quick_jit):
  (vectors, table, axes), targets = problem(2, 8, 4, 16)
  wanted = jnp.asarray(np.random.default_rng(1).random((2, 8)) < 0.7)
  scale = jnp.where(wanted, jnp.arange(16.0).reshape(2, 8), 0.0)

  def ours(vectors, table):
    made = layers.Readout(vectors, table, axes)
    return chunked.objective(made, targets, scale, wanted, chunk=chunk, **SETTINGS)

  def plain(vectors, table):
    each = losses.token_losses(vectors @ table, targets, **SETTINGS)
    return jnp.sum(scale * each.loss), jax.tree.map(lambda y: jnp.where(wanted, y, 0), each)

  @quick_jit
  def compute():
    gradient = lambda loss: jax.value_and_grad(loss, (0, 1), has_aux=True)(vectors, table)
    return gradient(ours), gradient(plain), ours(vectors, table)

  with_gradient, expected, without = compute()
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)
  jax.tree.map(compare, with_gradient, expected)
  jax.tree.map(compare, without, expected[0])


@pytest.mark.parametrize("num_wanted", [0, 2, 4])
def test_chunks_after_the_last_wanted_target_are_left_out(num_wanted):
  """Seen by what they would do: the vectors of targets that nobody wants are no numbers."""
  wanted = np.zeros((2, 8), bool)
  wanted[0, 8 - num_wanted :] = True  # at the end of a row: moved to the front
  wanted[1, :num_wanted] = True
  (vectors, table, axes), targets = problem(2, 8, 4, 16)
  bad = jnp.where(wanted[..., None], vectors, jnp.nan)
  scale = jnp.asarray(wanted, jnp.float32)

  def loss(table):
    made = layers.Readout(bad, table, axes)
    return chunked.objective(made, targets, scale, jnp.asarray(wanted), chunk=4, **SETTINGS)[0]

  total, d_table = jax.value_and_grad(loss)(table)
  assert np.isfinite(total)
  assert np.all(np.isfinite(d_table))


def test_memory_is_that_of_a_chunk_and_not_of_all_logits(quick_jit):
  (vectors, table, axes), targets = problem(4, 64, 16, 50_000)
  ones = jnp.ones(targets.shape, jnp.float32)

  def loss(vectors, table):
    made = layers.Readout(vectors, table, axes)
    return chunked.objective(made, targets, ones, ones > 0, chunk=16, **SETTINGS)[0]

  compiled = quick_jit(jax.grad(loss, argnums=(0, 1))).lower(vectors, table).compile()
  all_logits = 4 * targets.size * table.shape[1]
  assert compiled.memory_analysis().temp_size_in_bytes < all_logits / 3


def test_the_table_and_its_gradient_cross_the_network_once_and_not_for_each_chunk(quick_jit):
  (vectors, table, axes), targets = problem(8, 16, 16, 64)
  scale = jnp.arange(128.0).reshape(8, 16) % 3

  def loss(vectors, table, targets, scale):
    made = layers.Readout(vectors, table, axes)
    return chunked.objective(made, targets, scale, scale > 0, chunk=32, **SETTINGS)[0]

  gradient = jax.grad(loss, argnums=(0, 1))
  mesh = partition.make_mesh("data=2,fsdp=2", jax.devices()[:4])
  rows = jax.sharding.NamedSharding(mesh, partition.BATCH)
  cut = jax.sharding.NamedSharding(mesh, jax.P("fsdp", None))
  arrays = (vectors, table, targets, scale)
  placed = jax.device_put(arrays, (rows, cut, rows, rows))
  with jax.set_mesh(mesh):
    compiled = quick_jit(gradient, out_shardings=(rows, cut)).lower(*placed).compile()
  loops, _, once = compiled.as_text().partition("\nENTRY ")
  assert " while(" in once and " all-reduce(" in once
  assert not re.search(r" (all-\w+|reduce-scatter|collective-permute)(-start)?\(", loops)
  assert once.count(" all-gather(") == 1
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  jax.tree.map(compare, compiled(*placed), quick_jit(gradient)(*arrays))
