"""Microbatches: the numbers of one batch, each device's own rows, sums in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune import batch as batch_lib
from flan_tune import partition
from flan_tune.models import losses, t5
from flan_tune.train import accumulate

SIZES = dict(vocab_size=48, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=16)
FACTORS = (None, 50.0, *losses.NORMALIZING_FACTORS)
QUICK = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def network():
  return t5.T5(t5.T5Config(**SIZES, num_encoder_layers=1, num_decoder_layers=1))


@pytest.fixture(scope="module")
def params(network):
  draw = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: jnp.float32(draw.normal(0.0, 0.3, leaf.shape)), network.shapes)


def _rows(which: str) -> list:
  """Eight rows of examples of unequal lengths; "padding": those of microbatch 1 of 4 are empty."""
  draw = np.random.default_rng(1)
  text = lambda: draw.integers(2, 48, draw.integers(1, 5)).tolist()
  rows = [[(text(), text()) for _ in range(1 + n % 3)] for n in range(8)]
  return [[] if which == "padding" and n % 4 == 1 else row for n, row in enumerate(rows)]


@pytest.fixture(scope="module")
def by_parts(network):
  """(params, batch) -> ((loss, metrics), gradients) in so many parts, without dropout."""
  plain = lambda params, batch, key: network.loss(params, batch)
  compute = lambda n: (
    lambda params, batch: accumulate.gradients(
      plain, params, batch, jax.random.key(0), microbatches=n
    )
  )
  return {n: jax.jit(compute(n), compiler_options=QUICK) for n in (1, 4)}


@pytest.mark.parametrize("which", ["full", "padding"])
@pytest.mark.parametrize("factor", FACTORS)
def test_microbatches_give_the_numbers_of_one_batch(network, params, by_parts, factor, which):
  batch = batch_lib.packed_batch(_rows(which), {"inputs": 16, "targets": 16})
  batch = network.prepare(batch, loss_normalizing_factor=factor)
  (loss, metrics), grads = by_parts[1](params, batch)
  (ours, our_metrics), our_grads = by_parts[4](params, batch)
  np.testing.assert_allclose(ours, loss, rtol=1e-6)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), our_metrics, metrics)
  near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max())
  jax.tree.map(near, our_grads, grads)


def test_a_mean_over_a_microbatch_would_not_add_up(network, params, by_parts):
  """What `prepare` is for: rows of unequal weight."""
  batch = batch_lib.packed_batch(_rows("padding"), {"inputs": 16, "targets": 16})
  scaled = network.prepare(batch, loss_normalizing_factor="NUM_REAL_TARGET_TOKENS")
  (right, _), _ = by_parts[4](params, scaled)
  means = [
    by_parts[1](
      params,
      network.prepare(
        {name: array[j::4] for name, array in batch.items()},
        loss_normalizing_factor="NUM_REAL_TARGET_TOKENS",
      ),
    )[0][0]
    for j in range(4)
  ]
  assert abs(np.sum(means) / right - 1) > 0.1 < abs(np.mean(means) / right - 1)


def _drawn(params, part, key):
  """A loss function that tells what it was given."""
  number = jax.random.uniform(key)
  return jnp.sum(part["x"] * params), {"key": (number, 1.0), "rows": (part["x"][0], 1.0)}


def test_every_microbatch_has_a_key_of_its_own():
  key, batch = jax.random.key(3), {"x": jnp.zeros((6, 1))}
  run = lambda n: accumulate.gradients(_drawn, jnp.ones((1, 1)), batch, key, microbatches=n)[0][1]
  keys = [jax.random.fold_in(key, j) for j in range(3)]
  np.testing.assert_allclose(run(3)["key"][0], sum(map(jax.random.uniform, keys)), rtol=1e-6)
  assert run(1)["key"][0] == jax.random.uniform(key)


def test_a_microbatch_is_every_nth_row():
  batch = {"x": 10.0 ** jnp.arange(6)[:, None]}
  (_, metrics), _ = accumulate.gradients(
    _drawn, jnp.ones((1, 1)), batch, jax.random.key(0), microbatches=3
  )
  assert float(metrics["rows"][0][0]) == 111.0  # rows 0, 1 and 2 came first


def test_gradients_are_summed_in_float32():
  """In bfloat16, 256 + 1 is 256."""
  batch = {"x": jnp.array([[256.0], [1.0], [1.0], [1.0]])}
  run = lambda n: accumulate.gradients(
    _drawn, jnp.ones((1, 1), jnp.bfloat16), batch, jax.random.key(0), microbatches=n
  )[1]
  assert float(run(4)[0, 0]) == 259.0 != float(run(1)[0, 0])


@pytest.fixture(scope="module")
def sharded():
  """A step by microbatches on a mesh, compiled, of a product alone."""
  mesh = partition.make_mesh("data=2,fsdp=4")
  place = lambda *spec: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))

  def loss_fn(params, part, key):
    y = jnp.tanh(part["x"] @ params)
    return jnp.sum(y), {"loss": (jnp.sum(y), 1.0)}

  run = functools.partial(accumulate.gradients, loss_fn, key=jax.random.key(0), microbatches=4)
  params = jax.ShapeDtypeStruct((64, 128), jnp.float32, sharding=place("fsdp", None))
  batch = {"x": jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=place(("data", "fsdp"), None))}
  with jax.set_mesh(mesh):
    return jax.jit(run).lower(params, batch).compile()


def test_sums_of_gradients_are_cut_like_their_parameters(sharded):
  assert sharded.output_shardings[1].spec[0] == "fsdp"
  (loop,) = [line for line in sharded.as_text().splitlines() if " while(" in line]
  # What it carries: the parameters once, gathered before it, and the sums in parts.
  assert (loop.count("f32[16,128]"), loop.count("f32[64,128]")) == (1, 1)


def test_no_device_gives_rows_away(sharded):
  """Of the batch: 8 rows of 64 numbers on each device, 2 in a microbatch."""
  moved = ("all-to-all", "collective-permute", "all-gather")
  lines = [line for line in sharded.as_text().splitlines() if any(f" {m}(" in line for m in moved)]
  assert lines and all("= f32[64,128]" in line for line in lines)  # the parameters, gathered
