"""T5's position bias on a mesh: how much of its gradient goes over the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_tune import partition
from flan_tune.models import attention, layers, t5
from flan_tune.plan import exchanges


def test_copies_of_the_bias_give_what_one_gives():
  """Values and gradients, with copies for two rows each."""
  draw = functools.partial(np.random.default_rng(0).normal, size=(4, 2, 6, 3))
  queries, keys, values, wanted = (jnp.asarray(draw(), jnp.float32) for _ in range(4))
  graph, _ = nnx.split(layers.RelativeBias(2, bidirectional=True))
  table = jnp.linspace(-1.0, 1.0, 2 * layers.NUM_BUCKETS).reshape(2, -1)

  def loss(table, copies):
    added = nnx.merge(graph, {"rel_embedding": table})(6, 6, copies=copies)
    assert added.shape == (copies, 2, 6, 6)
    memory = attention.Memory(keys, values)
    seen = jnp.ones((4, 1, 6, 6), bool)
    return jnp.sum(attention.attend(queries, memory, added, seen) * wanted)

  one, two = (jax.value_and_grad(functools.partial(loss, copies=n))(table) for n in (1, 2))
  np.testing.assert_allclose(one[0], two[0], rtol=1e-6)
  np.testing.assert_allclose(one[1], two[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scan_layers", [False, True])
def test_its_gradient_goes_over_the_network_once_and_by_distance(scan_layers):
  """Not h x t x s numbers for each layer, which was most of what a large T5 exchanged."""
  config = t5.T5Config(
    vocab_size=256,
    emb_dim=16,
    num_heads=8,
    head_dim=4,
    mlp_dim=16,
    num_encoder_layers=3,
    num_decoder_layers=1,
    scan_layers=scan_layers,
  )
  network, mesh = t5.T5(config), partition.make_mesh("data=4,model=2")
  placed = partition.shardings(network.shapes, network.axes, mesh)
  rows = jax.sharding.NamedSharding(mesh, partition.BATCH)
  shape = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
  names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
  batch = {name: jax.ShapeDtypeStruct((8, 128), np.int32, sharding=rows) for name in names}
  params = jax.tree.map(shape, network.shapes, placed)
  with jax.set_mesh(mesh):
    step = jax.jit(jax.grad(lambda p, b: network.loss(p, b)[0]), out_shardings=placed)
    text = step.lower(params, batch).compile().as_text()
  found = exchanges.read(text, dict(mesh.shape))
  # Parameters' gradients are a third of it; two layers' would be more alone.
  of_bias = 4 * config.num_heads // 2 * 128 * 128
  of_params = sum(4 * leaf.size for leaf in jax.tree.leaves(network.shapes))
  crossed = sum(one.bytes for one in found if "data" in one.axes)
  assert crossed < of_params + of_bias // 2
