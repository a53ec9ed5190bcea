"""Our own checkpoints, tensor by tensor: what Orbax saved, and what Orbax restores."""

import dataclasses
import functools
import itertools
import json
import os
import re

import jax
import ml_dtypes
import numpy as np
import pytest

from flan_tune import errors, optim
from flan_tune.checkpoint import layout, manifest, native, orbax_io, stores
from flan_tune.models import registry, t5
from flan_tune.train import step as step_lib

CONFIG = t5.T5Config(
  vocab_size=32,
  emb_dim=4,
  num_heads=2,
  head_dim=2,
  mlp_dim=6,
  num_encoder_layers=2,
  num_decoder_layers=3,
)
STACKED = dataclasses.replace(CONFIG, scan_layers=True)


def documents(config):
  return {"meta": native.describe("t5", config, None)}


@functools.cache
def state_of(config):
  network = registry.build(config)
  tx = optim.adafactor(1e-3, axes=network.axes)
  shapes = jax.eval_shape(lambda: step_lib.create(network.init(jax.random.key(0)), tx))
  rng = np.random.default_rng(0)
  # No zeros: they would hide an array that was never written.  Whole numbers that bfloat16 lacks.
  drawn = lambda leaf: rng.integers(1, 2000, leaf.shape).astype(leaf.dtype)
  state = jax.tree.map(drawn, shapes)
  number = np.full((), 7, np.int32)
  return state._replace(step=number, opt_state=state.opt_state._replace(step=number))


def named(tree):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(k, simple=True, separator="/"): np.asarray(v) for k, v in leaves}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """The run folders of a state layer by layer, and of one with stacked layers."""
  folders = {}
  for config in (CONFIG, STACKED):
    folders[config.scan_layers] = tmp_path_factory.mktemp("saved")
    inside = folders[config.scan_layers] / "checkpoints"
    orbax_io.save(inside, 7, state_of(config), documents=documents(config))
  return folders


def copy(store, folder, *, optimizer=False, scan=False, **more):
  description = store.description
  config = description.config | {"scan_layers": scan}
  kept = (store.optimizer, store.read_optimizer) if optimizer else None
  return native.write(
    folder,
    store.tensors,
    store.read,
    description=description._replace(config=config),
    optimizer=kept,
    step=store.step,
    **more,
  )


def test_what_orbax_saved_is_read_one_by_one(saved):
  store = native.open_store(saved[False])
  expected = named(state_of(CONFIG).params)
  assert store.tensors.keys() == expected.keys()
  for name, array in expected.items():
    assert store.tensors[name] == manifest.ArrayEntry(array.shape, "float32")
    np.testing.assert_array_equal(store.read(name), array)
  moments = named(state_of(CONFIG).opt_state.param_states)
  assert store.optimizer.keys() == moments.keys()
  for name, array in moments.items():
    np.testing.assert_array_equal(store.read_optimizer(name), array)
  assert (store.step, store.description.architecture) == (7, "t5")


def test_stacked_layers_appear_one_by_one(saved):
  store = native.open_store(saved[True])
  expected = named(layout.unstack_layers(state_of(STACKED).params))
  assert store.tensors.keys() == expected.keys()
  for name, array in expected.items():
    assert store.tensors[name].shape == array.shape
    np.testing.assert_array_equal(store.read(name), array)
  assert set(store.optimizer) == {
    f"{n}/{s}" for n in expected for s in ("v_row", "v_col", "v", "m")
  }


def test_layers_of_a_stack_follow_each_other(saved):
  """Orbax stores a stack as one piece; asked in this order it is read once."""
  names = native.open_store(saved[True]).tensors
  stacks = (re.sub(r"layers_\d+", "layers", name) for name in names)
  runs = [name for name, _ in itertools.groupby(stacks)]
  assert len(runs) == len(set(runs))


def test_a_written_checkpoint_is_restored_like_a_saved_one(saved, tmp_path, assert_bits_equal):
  written = copy(native.open_store(saved[False]), tmp_path / "copy", optimizer=True)
  state = state_of(CONFIG)
  restored = orbax_io.restore(written, jax.eval_shape(lambda: state))
  assert restored.step == 7
  assert not restored.problems
  assert_bits_equal(restored.state, state)
  assert orbax_io.read_documents(written)["meta"] == json.loads(
    json.dumps(documents(CONFIG)["meta"])
  )


def test_layers_are_stacked_while_they_are_written(saved, tmp_path, assert_bits_equal):
  written = copy(native.open_store(saved[False]), tmp_path / "copy", scan=True)
  shapes = registry.build(STACKED).shapes
  expected = layout.stack_layers(state_of(CONFIG).params)
  assert_bits_equal(orbax_io.restore_params(written, template=shapes), expected)
  again = native.open_store(written)
  for name, array in named(state_of(CONFIG).params).items():
    np.testing.assert_array_equal(again.read(name), array)


def test_a_stack_comes_back_after_it_was_taken_apart(saved, tmp_path, assert_bits_equal):
  """Parameters and Adafactor's state, whose rows and columns change places on the way."""
  apart = copy(native.open_store(saved[True]), tmp_path / "apart", optimizer=True)
  again = copy(native.open_store(apart), tmp_path / "again", optimizer=True, scan=True)
  state = state_of(STACKED)
  assert_bits_equal(orbax_io.restore(again, jax.eval_shape(lambda: state)).state, state)


def test_parameters_become_bfloat16_and_the_configuration_says_so(saved, tmp_path):
  store = native.open_store(saved[False])
  written = native.open_store(copy(store, tmp_path / "copy", dtype="bfloat16"))
  for name in store.tensors:
    expected = store.read(name).astype(ml_dtypes.bfloat16)
    found = written.read(name)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
  assert written.description.config["param_dtype"] == "bfloat16"


def test_large_arrays_are_stored_in_pieces(tmp_path, monkeypatch):
  monkeypatch.setattr(native, "_CHUNK_BYTES", 40)
  array = np.arange(77, dtype=np.float32).reshape(11, 7)
  entries = {"token_embedder/embedding": manifest.ArrayEntry((11, 7), "float32")}
  description = stores.Description("t5", {"vocab_size": 11})
  native.write(tmp_path / "x", entries, lambda name: array, description=description)
  found = orbax_io.restore_params(tmp_path / "x")["token_embedder"]["embedding"]
  np.testing.assert_array_equal(found, array)


def test_a_slot_that_the_source_lacks_is_zero(tmp_path):
  """T5X's folders need not name the arrays that Adafactor does not use."""
  entries = {"a/scale": manifest.ArrayEntry((3,), "float32")}
  moments = {"a/scale/v": manifest.ArrayEntry((3,), "float32")}
  ones = lambda name: np.ones(3, np.float32)
  description = stores.Description("t5", {})
  native.write(
    tmp_path / "x", entries, ones, description=description, optimizer=(moments, ones), step=4
  )
  store = native.open_store(tmp_path / "x")
  assert {name: entry.shape for name, entry in store.optimizer.items()} == {
    "a/scale/v_row": (1,),
    "a/scale/v_col": (1,),
    "a/scale/v": (3,),
    "a/scale/m": (1,),
  }
  assert not store.read_optimizer("a/scale/m").any()


@pytest.mark.parametrize(
  ("failure", "raised"),
  [
    (KeyboardInterrupt(), KeyboardInterrupt),
    (errors.UserError("a cut file"), errors.UserError),
    (ValueError("... os_error_code='28' ..."), errors.UserError),
  ],
)
def test_nothing_is_left_of_a_write_that_failed(saved, tmp_path, failure, raised):
  store = native.open_store(saved[False])
  left = iter(range(5))

  def read(name):
    if next(left, None) is None:
      raise failure
    return store.read(name)

  with pytest.raises(raised):
    native.write(tmp_path / "x", store.tensors, read, description=store.description)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "unfinished"])
def test_a_damaged_checkpoint_is_refused(saved, tmp_path, damage, flip_byte, largest_file):
  written = copy(native.open_store(saved[False]), tmp_path / "copy")
  checkpoint = written / "checkpoints" / "checkpoint_7"
  if damage == "flipped":
    flip_byte(largest_file(checkpoint))
  elif damage == "cut":
    os.truncate(largest_file(checkpoint), 5)
  else:
    (checkpoint / manifest.FILE_NAME).unlink()
  assert native.recognises(written)
  assert native.recognises(checkpoint)
  with pytest.raises(errors.UserError, match="checkpoint_7"):
    native.open_store(written)


def test_a_checkpoint_that_does_not_say_its_model_is_refused(tmp_path):
  orbax_io.save(tmp_path, 1, state_of(CONFIG), documents={"meta": {"config": {}}})
  with pytest.raises(errors.UserError, match="meta.json does not say which model"):
    native.open_store(tmp_path)


@pytest.mark.parametrize("config", [None, ["vocab_size"], "t5"])
def test_a_configuration_that_is_no_object_is_refused(tmp_path, config):
  meta = {"architecture": "t5", "config": config}
  orbax_io.save(tmp_path, 1, state_of(CONFIG), documents={"meta": meta})
  with pytest.raises(errors.UserError, match="meta.json does not say which model"):
    native.open_store(tmp_path)


def test_a_parameter_of_another_type_is_refused(saved, tmp_path):
  written = copy(native.open_store(saved[False]), tmp_path / "copy")
  path = written / "checkpoints" / "checkpoint_7" / manifest.FILE_NAME
  document = json.loads(path.read_text().replace('"float32"', '"float31"'))
  del document["sha256"]
  path.write_text(json.dumps(document))
  with pytest.raises(errors.UserError, match="MANIFEST.json: .*dtype: 'float31' unknown"):
    native.open_store(written)


def test_files_of_others_are_not_ours(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
  for name in ("checkpoint_5", "checkpoint_6.tmp-1700000000", "checkpoints"):
    (tmp_path / name).mkdir()
  (tmp_path / "checkpoint_5" / "checkpoint").write_bytes(b"")
  assert not native.recognises(tmp_path)
  assert not native.recognises(tmp_path / "checkpoint_5")
