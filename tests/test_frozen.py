"""A checkpoint of what learned and its base are the whole model again, or an error says why not."""

import functools
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from flan_tune import errors, frozen, optim, partition, pretrained, whole
from flan_tune.checkpoint import layout, native, orbax_io
from flan_tune.models import registry, t5
from flan_tune.train import step, trainable

# Few different shapes: each costs the draw a third of a second.
SIZES = dict(vocab_size=16, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=16)
PLAIN = t5.T5Config(**SIZES, num_encoder_layers=2, num_decoder_layers=2)
SEED = 3


def config(**changes):
  return t5.T5Config(
    **SIZES, num_encoder_layers=2, num_decoder_layers=2, **{"lora_rank": 2, **changes}
  )


def save(folder, step_number, made, state, **more):
  """A checkpoint as a run writes it, without what is frozen."""
  meta = native.describe(registry.name_of(made), made, None) | more
  return orbax_io.save(
    folder / native.CHECKPOINTS, step_number, state._replace(frozen={}), documents={"meta": meta}
  )


def numbers(network, seed):
  draw = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: draw.normal(0.0, 0.3, leaf.shape).astype(np.float32), network.shapes
  )


def read_with(path):
  """The `frozen.Read` of a path, as a run has it."""

  def read(shapes, shardings):
    return pretrained.read(whole.Merged.of(whole.open_store(path)), shapes, shardings)

  return read


def tune(folder, made, *, base=None, learning="lora"):
  """A small checkpoint, and all the parameters it stands for."""
  network = registry.build(made)
  params = frozen.initial(network, seed=SEED, read=base and read_with(base))
  state = step.create(params, optax.sgd(0.1), learning=learning)
  state = state._replace(params=jax.tree.map(lambda leaf: leaf + 0.1, state.params))
  told = frozen.describe(state.frozen, seed=SEED, path=base)
  return save(folder, 4, made, state, base=json.loads(json.dumps(told))), state.whole()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """A run that has trained all its parameters."""
  folder = tmp_path_factory.mktemp("base")
  save(folder, 2, PLAIN, step.create(numbers(t5.T5(PLAIN), 0), optax.sgd(0.1)))
  return folder


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
  """A stacked LoRA run on it: folder, parameters."""
  folder = tmp_path_factory.mktemp("tuned")
  return folder, tune(folder, config(scan_layers=True), base=base)[1]


def looped(params):
  return layout.unstack_layers(params) if layout.is_stacked(params) else params


def assert_is(store, params):
  expected = dict(optim.named_leaves(looped(params)))
  assert store.tensors.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(store.read(name), array, err_msg=name)


def test_a_small_checkpoint_and_its_base_are_the_whole_model(tuned, base):
  folder, params = tuned
  assert_is(whole.open_store(folder), params)
  assert all("lora" in name for name in native.open_store(folder).tensors)
  # The base went in unchanged, and is still where it was.
  plain = dict(optim.named_leaves(numbers(t5.T5(PLAIN), 0)))
  for name, array in optim.named_leaves(looped(params)):
    assert name in plain and np.array_equal(plain[name], array) or "lora" in name


@pytest.mark.slow
def test_a_base_drawn_from_the_seed_is_drawn_again(tmp_path):
  """Here with frozen adapters, too: they belong to the base."""
  _, params = tune(tmp_path, config(), learning="decoder/.*(mlp|lora_b)")
  assert_is(whole.open_store(tmp_path), params)


def test_a_model_tuned_twice_is_merged_on_the_way(tuned, tmp_path):
  folder, before = tuned
  _, params = tune(tmp_path, config(lora_rank=1), base=folder)
  store = whole.open_store(tmp_path)
  assert_is(store, params)
  name = "encoder/layers_1/attention/value"
  layer = looped(before)["encoder"]["layers_1"]["attention"]["value"]
  merged = layer["kernel"] + 8.0 * layer["lora_a"] @ layer["lora_b"]
  np.testing.assert_allclose(store.read(f"{name}/kernel"), merged, rtol=1e-5, atol=1e-5)
  assert not any("lora" in name for name in whole.Merged.of(store).tensors)


def test_the_checkpoint_that_was_read_is_meant_when_its_run_goes_on(base, tmp_path):
  own = tmp_path / "base"
  shutil.copytree(base, own)
  _, params = tune(tmp_path / "tuned", config(), base=own)
  save(own, 9, PLAIN, step.create(numbers(t5.T5(PLAIN), 1), optax.sgd(0.1)))
  assert_is(whole.open_store(tmp_path / "tuned"), params)


def test_another_base_is_noticed_and_a_missing_one_named(base, tmp_path):
  own = tmp_path / "base"
  shutil.copytree(base, own)
  tune(tmp_path / "tuned", config(), base=own)
  params = numbers(t5.T5(PLAIN), 0)
  params["encoder"]["layers_1"]["mlp"]["wo"]["kernel"][0, 0] += 1e-6
  save(own, 2, PLAIN, step.create(params, optax.sgd(0.1)))
  store = whole.open_store(tmp_path / "tuned")
  store.read("encoder/layers_0/mlp/wo/kernel")
  with pytest.raises(errors.UserError, match="encoder/layers_1/mlp/wo/kernel is not as it was"):
    store.read("encoder/layers_1/mlp/wo/kernel")
  shutil.rmtree(own)
  with pytest.raises(errors.UserError, match="checkpoint_2, which is not there"):
    whole.open_store(tmp_path / "tuned")


def test_frozen_parameters_are_compared_before_a_run_goes_on(tuned):
  network = t5.T5(config(scan_layers=True))
  _, rest = trainable.split(numbers(network, 0), "lora")
  told = frozen.describe(rest, seed=SEED, path=None)
  frozen.check(rest, told, where="run")
  one_by_one = looped(rest)
  frozen.check(one_by_one, told, where="run")  # stacked or not is all the same
  del one_by_one["token_embedder"]
  with pytest.raises(errors.UserError, match=r"run: .*token_embedder/embedding.*seed 3"):
    frozen.check(one_by_one, told, where="run")


def test_checksums_leave_no_copy_of_the_parameters_on_the_host():
  """JAX keeps one with an array, for a whole run, once the array itself is looked at."""
  mesh = partition.make_mesh("data=2,fsdp=2,model=2")
  cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
  params = {"scale": jax.device_put(np.ones(8, np.float32), cut)}
  assert frozen.describe(params, seed=SEED, path=None)["sha256"].keys() == {"scale"}
  assert params["scale"]._npy_value is None


@pytest.mark.slow
def test_a_mesh_changes_no_number_of_the_draw():
  network = t5.T5(config())
  mesh = partition.make_mesh("data=2,fsdp=2,model=2")
  placed = partition.shardings(network.shapes, network.axes, mesh)
  draw = functools.partial(frozen.initial, network, seed=SEED)
  jax.tree.map(np.testing.assert_array_equal, draw(), draw(shardings=placed))
