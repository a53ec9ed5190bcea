"""Names, shapes, placement and initial numbers of PaLM's parameters."""

import math
import re
import time

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from flan_tune import assets, config, errors, gin_files, lm_batch, optim, partition
from flan_tune.checkpoint import layout
from flan_tune.models import palm, registry

# PaLM, table 1: (layers, heads, d), and the number that the description gives.
PALM = {
  "8b": (32, 16, 4096, 8_632_012_800),
  "62b": (64, 32, 8192, 62_495_662_080),
  "540b": (118, 48, 18432, 540_356_474_880),
}
TINY = dict(vocab_size=50, emb_dim=16, num_heads=4, head_dim=4, mlp_dim=24, num_layers=2)


def count(network):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(network.shapes))


def model_of(size, *bindings):
  files = ["experiments/quickstart.gin", f"models/palm_{size}.gin"]
  return gin_files.resolve(config.Run, files, ["VOCAB_SIZE=256000", *bindings])[0].model


@pytest.mark.parametrize("scan_layers", [True, False])
@pytest.mark.parametrize("size", PALM)
def test_number_of_parameters_is_the_published_one(size, scan_layers):
  depth, heads, d, number = PALM[size]
  formula = depth * (2 * d * heads * 256 + 2 * d * 256 + 12 * d * d + d) + 256_000 * d + d
  model = model_of(size, f"SCAN_LAYERS={scan_layers}")

  def seconds() -> float:
    start = time.process_time()
    registry.build(model)
    return time.process_time() - start

  assert any(seconds() < 1.0 for _ in range(3))  # one may meet Python's collector
  network = registry.build(model)
  assert count(network) == number == formula
  assert (model.num_layers, model.num_heads, model.emb_dim) == (depth, heads, d)
  assert (model.head_dim, model.mlp_dim, model.scan_layers) == (256, 4 * d, scan_layers)


@pytest.mark.parametrize("size", PALM)
def test_the_file_of_a_size_states_its_number(size):
  number = f"{PALM[size][3]:,}"
  assert number in (assets.search_path("configs")[0] / f"models/palm_{size}.gin").read_text()


def test_the_file_of_the_tiny_size_states_its_number():
  stated = (assets.search_path("configs")[0] / "models/palm_tiny.gin").read_text()
  number = int(re.search(r"([\d,]+) parameters", stated)[1].replace(",", ""))
  assert count(registry.build(model_of("tiny"))) == number + 256_000 * 128


def test_names_and_shapes_are_t5x_s(tree):
  _, flattened = tree
  shapes = {
    path: leaf.shape for path, leaf in flattened(palm.PaLM(palm.PaLMConfig(**TINY)).shapes).items()
  }
  layer = {
    "layer_norm/scale": (16,),
    "attention/query/kernel": (16, 16),
    "attention/key/kernel": (16, 4),
    "attention/value/kernel": (16, 4),
    "attention/out/kernel": (16, 16),
    "mlp/wi_0/kernel": (16, 24),
    "mlp/wi_1/kernel": (16, 24),
    "mlp/wo/kernel": (24, 16),
  }
  expected = {
    f"decoder/layers_{i}/{path}": shape for i in range(2) for path, shape in layer.items()
  }
  expected |= {"token_embedder/embedding": (50, 16), "decoder/decoder_norm/scale": (16,)}
  assert shapes == expected


@pytest.fixture(scope="module")
def mesh():
  return partition.make_mesh("data=2,fsdp=2,model=2")


@pytest.mark.parametrize("scan_layers", [True, False])
def test_the_one_head_of_keys_and_values_is_not_cut_over_heads(tree, mesh, scan_layers):
  _, flattened = tree
  network = palm.PaLM(palm.PaLMConfig(**TINY, scan_layers=scan_layers, lora_rank=2))
  specs = flattened(partition.shardings(network.shapes, network.axes, mesh))
  start = "decoder/decoder" if scan_layers else "decoder/layers_1"
  expected = {
    "attention/query/kernel": ("fsdp", "model"),
    "attention/key/kernel": ("fsdp", None),
    "attention/value/kernel": ("fsdp", None),
    "attention/value/lora_b": (None, None),
    "attention/out/kernel": ("model", "fsdp"),
    "mlp/wo/kernel": ("model", "fsdp"),
  }
  for path, (first, second) in expected.items():
    layers = (None,) if scan_layers else ()
    assert specs[f"{start}/{path}"].spec == PartitionSpec(first, *layers, second), path


def test_a_sharded_step_gives_the_numbers_of_one_device(mesh, examples, make_palm, quick_jit):
  """With queries cut over heads, and batch and parameters over the other axes."""
  network, params = make_palm(num_heads=4, scan_layers=True)
  batch = lm_batch.packed_batch([[one] for one in examples[:4]], {"inputs": 8, "targets": 8})
  compute = quick_jit(jax.value_and_grad(lambda p, batch: network.loss(p, batch)[0]))
  loss, grads = compute(params, batch)
  placed = jax.device_put(params, partition.shardings(params, network.axes, mesh))
  rows = jax.device_put(batch, jax.sharding.NamedSharding(mesh, partition.BATCH))
  ours, our_grads = compute(placed, rows)
  np.testing.assert_allclose(ours, loss, rtol=1e-5)
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())
  jax.tree.map(compare, our_grads, grads)


def test_adafactor_s_state_is_that_of_each_layer():
  """Stacked and layer by layer: the same factors, with the layers' axis or without."""
  sizes = dict(vocab_size=256, emb_dim=128, num_heads=2, head_dim=128, mlp_dim=256, num_layers=3)
  states = {}
  for scan in (True, False):
    network = palm.PaLM(palm.PaLMConfig(**sizes, scan_layers=scan))
    tx = optim.adafactor(1e-3, axes=network.axes)
    states[scan] = jax.eval_shape(tx.init, network.shapes).param_states["decoder"]
  stacked, one = states[True]["decoder"], states[False]["layers_2"]
  for name in ("query", "key", "out"):
    ours, alone = stacked["attention"][name]["kernel"], one["attention"][name]["kernel"]
    assert (alone.v_row.size, alone.v_col.size) == (ours.v_row.size // 3, ours.v_col.size // 3)
    assert alone.v_row.size > 1 < alone.v_col.size
  assert stacked["layer_norm"]["scale"].v.shape == (128, 3)


@pytest.fixture(scope="module")
def initial(quick_jit):
  """Initial parameters of a model, looped and scanned."""
  sizes = dict(vocab_size=400, emb_dim=64, num_heads=4, head_dim=32, mlp_dim=256, num_layers=2)
  networks = [palm.PaLM(palm.PaLMConfig(**sizes, scan_layers=scan)) for scan in (False, True)]
  return quick_jit(lambda key: [network.init(key) for network in networks])(jax.random.key(0))


def test_initial_numbers_have_the_deviations_of_the_paper(initial, tree):
  _, flattened = tree
  for path, leaf in flattened(initial[0]).items():
    if path.endswith("scale"):
      assert np.all(leaf == 1.0)
      continue
    deviation = 1.0 if path.endswith("embedding") else leaf.shape[0] ** -0.5
    tolerance = 4 / math.sqrt(2 * leaf.size)  # four standard errors
    np.testing.assert_allclose(np.std(leaf), deviation, rtol=tolerance, err_msg=path)


def test_stacked_and_looped_models_start_from_the_same_numbers(initial):
  jax.tree.map(np.testing.assert_array_equal, layout.stack_layers(initial[0]), initial[1])


@pytest.mark.parametrize(
  ("field", "value", "says"),
  [
    ("attention", "prefixed", "prefix"),
    ("remat", "dot", "dots"),
    ("dtype", "float16", "bfloat16"),
    ("param_dtype", "float16", "bfloat16"),
    ("dropout_rate", 1.0, "below 1"),
    ("head_dim", 5, "even"),
    ("lora_rank", -1, "0"),
  ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field, value, says):
  with pytest.raises(errors.UserError, match=says):
    palm.PaLMConfig(**{field: value})
