"""Placement from tables, of parameters, what the optimiser keeps of them, and activations."""

import contextlib
import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from flan_tune import assets, config, errors, gin_files, optim, partition
from flan_tune.models import layout, palm, registry, t5
from flan_tune.train import step

AXES = ((r".*/kernel", ("embed", "mlp")), (r".*/scale", ("embed",)))
CONFIGS = assets.search_path("configs")[0]
SIZES = dict(vocab_size=64, emb_dim=16, num_heads=4, head_dim=4, mlp_dim=32)
SHIPPED = sorted(
  str(path.relative_to(CONFIGS))
  for path in CONFIGS.glob("models/*.gin")
  if "EMB_DIM = " in path.read_text()
)


@pytest.fixture(scope="module")
def mesh():
  return partition.make_mesh("data=2,fsdp=2,model=2")


def shallow(model, **changes):
  """A configuration with two layers a stack: the paths of more differ in their digits."""
  depth = [field for field in vars(model) if field.endswith("_layers") and field.startswith("num_")]
  return dataclasses.replace(model, **dict.fromkeys(depth, 2), **changes)


def variants(model) -> list:
  """The networks of a configuration: looped and stacked, with adapters wherever they can be."""
  adapters = {"lora_rank": 2, "lora_pattern": ".*"}
  return [
    registry.build(shallow(model, scan_layers=scan_layers, **more))
    for scan_layers in (False, True)
    for more in ({}, adapters)
  ]


@pytest.mark.parametrize("file", SHIPPED)
def test_every_parameter_we_ship_has_one_place(file):
  """`logical_axes` raises where no pattern or several match."""
  run, _ = gin_files.resolve(config.Run, ["experiments/quickstart.gin", file], ["VOCAB_SIZE=32128"])
  for network in variants(run.model):
    for name, leaf in optim.named_leaves(network.shapes):
      assert len(partition.logical_axes(name, network.axes)) == len(leaf.shape), name
  partition.logical_axes("decoder/layers_117/mlp/wo/kernel", network.axes)


@pytest.mark.parametrize("family", [t5.T5Config, palm.PaLMConfig])
def test_no_row_of_a_table_is_idle(family):
  networks = variants(family(**SIZES))
  names = [name for one in networks for name, _ in optim.named_leaves(one.shapes)]
  assert not [row for row, _ in networks[0].axes if not any(re.fullmatch(row, n) for n in names)]


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("mlp/bias", "no placement for parameter mlp/bias: none of 2"),
    ("mlp/wi/kernel", r"several placements for parameter mlp/wi/kernel: '.*' and '.*wi/.*'"),
  ],
)
def test_none_or_two_places_are_an_error(path, message):
  table = (*AXES, (r"mlp/wi/.*", ("mlp", "embed")))[: 3 if "wi" in path else 2]
  with pytest.raises(ValueError, match=message):
    partition.logical_axes(path, table)


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("family", [t5.T5Config, palm.PaLMConfig])
def test_what_adafactor_keeps_lies_like_what_is_left_of_the_parameter(
  mesh, family, scan_layers, momentum
):
  """Square matrices, too, whose shapes do not say which dimension is gone."""
  sizes = SIZES | {"mlp_dim": 16}
  network = registry.build(shallow(family(**sizes), scan_layers=scan_layers))
  tx = optim.adafactor(1e-3, axes=network.axes, min_dim_size_to_factor=8, beta1=momentum)
  create = lambda: step.create(network.init(jax.random.key(0)), tx, learning="decoder|scale")
  shapes = jax.eval_shape(create)
  placed = partition.shardings(shapes, network.axes, mesh)
  kept = dict(optim.named_leaves(placed.opt_state.param_states))
  sizes = dict(optim.named_leaves(shapes.opt_state.param_states))
  factored = 0
  for name, leaf in optim.named_leaves(shapes.params):
    whole = tuple(dict(optim.named_leaves(placed.params))[name].spec)
    plan = optim.factoring(name, leaf.shape, axes=network.axes, min_dim_size_to_factor=8)
    without = lambda gone, whole=whole: tuple(one for d, one in enumerate(whole) if d not in gone)
    expected = {"m": whole if momentum else ()}
    if plan.rows:
      factored += 1
      expected |= {"v_row": without(plan.columns), "v_col": without(plan.rows), "v": ()}
    else:
      expected |= {"v_row": (), "v_col": (), "v": whole}
    for field, spec in expected.items():
      assert tuple(kept[f"{name}/{field}"].spec) == spec, (name, field)
      assert (sizes[f"{name}/{field}"].shape == (1,)) == (spec == ()), (name, field)
  assert factored >= 5


def test_the_position_bias_is_whole_on_every_device(mesh):
  network = registry.build(shallow(t5.T5Config(**SIZES)))
  placed = partition.shardings(network.shapes, network.axes, mesh)
  spec = placed["encoder"]["relpos_bias"]["rel_embedding"].spec
  assert not any(spec)


@pytest.mark.parametrize(
  ("text", "changes", "message"),
  [
    (
      "fsdp=8",
      {"emb_dim": 12},
      "MESH: fsdp=8 does not divide EMB_DIM = 12 of .*can be 1 or 2 or 4",
    ),
    ("model=8", {"vocab_size": 50}, "model=8 does not divide VOCAB_SIZE = 50 of .* 1 or 2$"),
    ("model=4,data=2", {"mlp_dim": 18}, "model=4 does not divide MLP_DIM = 18 of .*1 or 2$"),
    ("model=8", {"num_heads": 3}, "does not divide NUM_HEADS x HEAD_DIM = 12 of"),
    ("model=8", {}, "model=8 does not divide NUM_HEADS = 4; .* 1 or 2 or 4"),
    ("model=4,fsdp=2", {"shard_length": True}, "SHARD_LENGTH.* inputs = 6; .* model can be 1 or 2"),
  ],
)
@pytest.mark.parametrize("family", [t5.T5Config, palm.PaLMConfig])
def test_a_dimension_that_does_not_divide_is_one_sentence(family, text, changes, message):
  fields = {**SIZES, **changes}
  network = registry.build(shallow(family(**fields)))
  dimensions = layout.dimensions(network.config, {"inputs": 6, "targets": 8})
  with pytest.raises(errors.UserError, match=message):
    partition.check(
      partition.make_mesh(text),
      network.shapes,
      network.axes,
      batch_size=8,
      dimensions=dimensions,
    )


@pytest.mark.parametrize(
  ("batch_size", "microbatches", "message"),
  [
    (12, 1, "BATCH_SIZE = 12 does not divide over data=2 x fsdp=4.*multiple of 8"),
    (4, 1, "BATCH_SIZE = 4 does not divide"),
    (16, 3, "MICROBATCHES = 3: BATCH_SIZE = 16 .*2 rows .*can be 1 or 2"),
    (16, 4, "MICROBATCHES = 4: BATCH_SIZE = 16 .*can be 1 or 2"),
    (16, 0, "MICROBATCHES = 0 is not a whole number"),
    (16, 2, None),
    (8, 1, None),
  ],
)
def test_each_microbatch_must_divide_over_the_mesh(batch_size, microbatches, message):
  mesh = partition.make_mesh("data=2,fsdp=4")
  told = pytest.raises(errors.UserError, match=message) if message else contextlib.nullcontext()
  with told:
    partition.check_batch(batch_size, mesh, microbatches=microbatches)


def test_activations_lie_by_their_names(mesh):
  x = np.zeros((4, 6, 8), np.float32)
  lie = jax.jit(lambda x: partition.constrain(x * 2, "batch", "length", "act_mlp"))
  with jax.set_mesh(mesh):
    assert lie(x).sharding.spec == PartitionSpec(("data", "fsdp"), None, "model")


def test_without_a_mesh_or_where_nothing_divides_activations_stay_as_they_are(mesh):
  x = jnp.ones((3, 5))
  assert partition.constrain(x, "batch", "act_mlp") is x
  with jax.set_mesh(mesh):  # three rows left of an evaluation
    np.testing.assert_array_equal(jax.jit(lambda x: layout.constrain(x, "batch", "act_mlp"))(x), x)
  with jax.set_mesh(partition.make_mesh("data=1", jax.devices()[:1])):
    assert partition.constrain(x, "batch", "act_mlp") is x


def test_one_process_needs_every_row_and_puts_them_where_they_belong(mesh):
  assert partition.rows_of(mesh, 8) == list(range(8))
  rows = np.arange(24).reshape(8, 3)
  placed = partition.put({"a": rows}, NamedSharding(mesh, partition.BATCH), batch_size=8)["a"]
  assert placed.sharding.spec == partition.BATCH
  np.testing.assert_array_equal(placed, rows)
