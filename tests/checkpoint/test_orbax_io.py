"""A state comes back bit for bit or not at all; a failed save costs nothing but itself."""

import json
import logging
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flan_tune import errors
from flan_tune.checkpoint import folders, manifest, orbax_io, pieces


def shapes_of(state):
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)


@pytest.fixture
def edit_manifest(two):
  """Rewrites the manifest of checkpoint 8."""

  def edit(change):
    path = two / "checkpoint_8" / manifest.FILE_NAME
    document = json.loads(path.read_text())
    del document["sha256"]
    change(document)
    path.write_text(json.dumps(document))

  return edit


def test_a_state_comes_back_bit_for_bit(two_saved, make_state, assert_bits_equal):
  for template in (make_state(0), shapes_of(make_state(0))):
    restored = orbax_io.restore(two_saved, template)
    assert_bits_equal(restored.state, make_state(8))
    assert (restored.step, restored.problems) == (8, [])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored.state))


def test_a_step_can_be_asked_for(two_saved, make_state, assert_bits_equal):
  for restored in (
    orbax_io.restore(two_saved, make_state(0), step=4),
    orbax_io.restore(two_saved / "checkpoint_4", make_state(0)),
  ):
    assert_bits_equal(restored.state, make_state(4))
    assert restored.documents["data"] == {"rows": 4}
  with pytest.raises(errors.UserError, match="no checkpoint of step 5; there are 4, 8"):
    orbax_io.restore(two_saved, make_state(0), step=5)


def test_parameters_come_back_without_a_template(two_saved, make_state, assert_bits_equal):
  params = orbax_io.restore_params(two_saved)
  assert_bits_equal(params, make_state(8).params)
  again = orbax_io.restore_params(two_saved, template=shapes_of(params))
  assert_bits_equal(again, params)


def test_a_run_folder_will_do(two, make_state):
  assert two.name == "checkpoints"
  assert orbax_io.restore(two.parent, make_state(0)).step == 8
  assert "encoder" in orbax_io.restore_params(str(two.parent))
  assert orbax_io.read_documents(two.parent)["data"] == {"rows": 8}


def test_documents_come_back_as_they_were(tmp_path):
  documents = {
    "data": {"seen": {"täsk": 2**60}, "list": [1, 2.5, None, True, "\n{}"]},
    "meta": {},
    "extra_3": [],
  }
  orbax_io.save(tmp_path, 1, {"a": np.zeros(2)}, documents=documents)
  assert orbax_io.read_documents(tmp_path) == documents
  assert orbax_io.restore(tmp_path, {"a": np.zeros(2)}).documents == documents


@pytest.mark.parametrize(
  "documents",
  [{"Data": {}}, {"../data": {}}, {"": {}}, {"data": float("nan")}, {"data": {"x": {1, 2}}}],
)
def test_what_is_no_document_is_refused_before_anything_is_written(tmp_path, documents):
  with pytest.raises((ValueError, TypeError)):
    orbax_io.save(tmp_path / "new", 1, {"a": np.zeros(2)}, documents=documents)
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("tree", [{"a/b": 1}, {"": 1}, {"é": 1}, {"a": {"..": 1}}, {"a.b": 1}])
def test_names_that_could_be_confused_are_refused(tmp_path, tree):
  with pytest.raises(ValueError, match="cannot name an array"):
    orbax_io.save(tmp_path, 1, jax.tree.map(np.float32, tree))


def test_every_dtype_of_a_run_comes_back(tmp_path, assert_bits_equal):
  state = {
    name: jnp.arange(6).reshape(2, 3).astype(name)
    for name in (
      "bfloat16",
      "float16",
      "float32",
      "int32",
      "int8",
      "uint32",
      "bool",
      "float8_e4m3fn",
    )
  }
  state |= {"scalar": jnp.bfloat16(0.1), "numpy": np.arange(3)}
  orbax_io.save(tmp_path, 0, state)
  template = state | {"numpy": jax.ShapeDtypeStruct((3,), np.int64)}
  with jax.enable_x64(True):
    assert_bits_equal(orbax_io.restore(tmp_path, template).state, state)


def test_a_damaged_newest_checkpoint_is_passed_over_loudly(
  two, make_state, assert_bits_equal, largest_file, flip_byte, caplog
):
  flip_byte(largest_file(two / "checkpoint_8"))
  with caplog.at_level(logging.WARNING):
    restored = orbax_io.restore(two, make_state(0))
  assert_bits_equal(restored.state, make_state(4))
  assert restored.step == 4 and restored.documents["data"] == {"rows": 4}
  assert [problem.folder for problem in restored.problems] == [two / "checkpoint_8"]
  assert re.search("checkpoint_8: state/.*: its contents changed", caplog.text)
  assert orbax_io.latest(two) == two / "checkpoint_4" and (two / "checkpoint_8").is_dir()
  assert_bits_equal(orbax_io.restore_params(two), make_state(4).params)


@pytest.mark.parametrize(
  "damage", ["truncated", "flipped", "no manifest", "extra", "missing", "link"]
)
def test_a_damaged_checkpoint_asked_for_by_name_is_an_error(
  two, make_state, largest_file, flip_byte, damage
):
  checkpoint = two / "checkpoint_8"
  file = largest_file(checkpoint)
  match damage:
    case "truncated":
      os.truncate(file, 10)
    case "flipped":
      flip_byte(file)
    case "no manifest":
      (checkpoint / manifest.FILE_NAME).unlink()
    case "extra":
      (checkpoint / "state" / "extra").write_text("")
    case "missing":
      file.unlink()
    case _:
      file.rename(two / "moved")
      file.symlink_to(two / "moved")
  for read in (
    lambda: orbax_io.restore(checkpoint, make_state(0)),
    lambda: orbax_io.restore_params(checkpoint),
  ):
    with pytest.raises(errors.UserError, match=f"cannot be used: {checkpoint}: "):
      read()


def test_a_changed_document_is_not_believed(two, make_state):
  path = two / "checkpoint_8" / "data.json"
  path.write_text(path.read_text().replace("8", "9"))
  with pytest.raises(errors.UserError, match="data.json: its contents changed"):
    orbax_io.read_documents(two)
  assert orbax_io.restore(two, make_state(0)).step == 4


def test_a_checkpoint_passed_over_for_its_contents_neither_counts_as_kept_nor_is_removed(
  two, make_state, largest_file, flip_byte
):
  """Its names and sizes are right: comparing these alone, it would be the newest good one."""
  flip_byte(largest_file(two / "checkpoint_8"))
  assert orbax_io.restore(two, make_state(0)).step == 4
  assert orbax_io.steps(two) == [4]
  orbax_io.save(two, 6, make_state(6), keep=1)
  assert sorted(os.listdir(two)) == ["checkpoint_6", "checkpoint_8"]
  assert orbax_io.restore(two, make_state(0)).step == 6
  orbax_io.save(two, 8, make_state(8), keep=1)
  (aside,) = two.glob("checkpoint_8.damaged-*")
  assert sorted(os.listdir(two)) == ["checkpoint_8", aside.name]
  assert orbax_io.restore(two, make_state(0)).step == 8


@pytest.mark.parametrize("all_of_it", [True, False])
def test_arrays_that_vanish_while_they_are_read_are_an_error_in_a_sentence(
  two, make_state, monkeypatch, all_of_it
):
  original = pieces.read

  def read(folder, *args):
    shutil.rmtree(folder.parent if all_of_it else folder)
    return original(folder, *args)

  monkeypatch.setattr(pieces, "read", read)
  expected = "removed meanwhile" if all_of_it else "NOT_FOUND: "
  with pytest.raises(errors.UserError, match=f"checkpoint_8: cannot be read: .*{expected}") as told:
    orbax_io.restore(two, make_state(0))
  assert "tensorstore" not in str(told.value)


def test_no_checkpoint_is_an_error_of_its_own(tmp_path, make_state):
  with pytest.raises(folders.NoCheckpoint, match="no finished checkpoint"):
    orbax_io.restore(tmp_path / "absent", make_state(0))
  with pytest.raises(folders.NoCheckpoint):
    orbax_io.restore_params(tmp_path, step=3)


@pytest.mark.parametrize(
  ("other", "message"),
  [
    (
      {"width": 9},
      r"another model: params/decoder/scale is float32\[6\] in it, float32\[9\] expected",
    ),
    (
      {"layers": 3},
      r"another model: params/encoder/layers_2/mlp/kernel is absent in it, float32\[4, 6\] exp",
    ),
    (
      {"layers": 1},
      r"another model: params/encoder/layers_1/mlp/kernel is float32\[4, 6\] in it, absent exp",
    ),
    (
      {"beta1": 0.9},
      r"another optimiser: opt_state/1/.*/scale/m is float32\[1\] in it, float32\[6\] expected",
    ),
  ],
)
def test_a_checkpoint_of_another_model_is_refused_by_name_and_shape(
  two_saved, make_state, other, message
):
  with pytest.raises(errors.UserError, match="checkpoint_8 is a checkpoint of " + message):
    orbax_io.restore(two_saved, make_state(0, **other))
  if "beta1" not in other:
    with pytest.raises(errors.UserError, match="checkpoint_8 is a checkpoint of " + message):
      orbax_io.restore_params(two_saved, template=make_state(0, **other).params)


def test_another_dtype_is_another_model(two_saved, make_state):
  template = make_state(0)
  template.params["lora"]["a"] = template.params["lora"]["a"].astype(jnp.float32)
  with pytest.raises(errors.UserError, match=r"lora/a is bfloat16\[3, 2\] in it, float32\[3, 2\]"):
    orbax_io.restore(two_saved, template)


def test_a_checkpoint_without_parameters_says_so(tmp_path):
  orbax_io.save(tmp_path, 1, {"weights": np.zeros(2)})
  with pytest.raises(errors.UserError, match="holds no arrays under 'params/'"):
    orbax_io.restore_params(tmp_path)


def test_a_manifest_that_lies_about_an_array_is_refused(two, edit_manifest):
  edit_manifest(lambda d: d["arrays"]["params/decoder/scale"].update(shape=[2, 3]))
  with pytest.raises(errors.UserError, match=r"scale is float32\[6\], not what the manifest says"):
    orbax_io.restore_params(two)


def test_arrays_go_where_they_are_told(two_saved, make_state, assert_bits_equal):
  devices = jax.devices()
  if len(devices) < 2:
    pytest.skip("one device only")
  mesh = jax.sharding.Mesh(np.asarray(devices[:2]), ("data",))
  cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  tree = jax.tree.map(lambda leaf: cut if leaf.shape == (6,) else whole, make_state(0))
  template = jax.device_put(make_state(0), tree)
  for restored in (
    orbax_io.restore(two_saved, shapes_of(make_state(0)), shardings=tree),
    orbax_io.restore(two_saved, template),
  ):
    assert_bits_equal(restored.state, make_state(8))
    assert restored.state.params["decoder"]["scale"].sharding == cut
    assert restored.state.step.sharding == whole
  params = orbax_io.restore_params(two_saved, shardings=whole)
  assert params["decoder"]["scale"].sharding == whole
  default = orbax_io.restore(two_saved, shapes_of(make_state(0))).state.step
  assert default.devices() == {devices[0]}


def test_cut_up_arrays_are_saved_whole(tmp_path, assert_bits_equal):
  devices = jax.devices()[:2]
  mesh = jax.sharding.Mesh(np.asarray(devices), ("data",))
  cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  state = {"w": jnp.arange(8.0)}
  orbax_io.save(tmp_path, 1, jax.device_put(state, cut))
  assert_bits_equal(orbax_io.restore(tmp_path, state).state, state)


def test_saving_and_restoring_work_under_a_transfer_guard(tmp_path, make_state, assert_bits_equal):
  state = make_state(3)
  with jax.transfer_guard("disallow"):
    orbax_io.save(tmp_path, 3, state)
    restored = orbax_io.restore(tmp_path, state)
  assert_bits_equal(restored.state, state)


def test_a_restored_state_can_be_donated(two_saved, make_state, assert_bits_equal):
  double = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)
  restored = orbax_io.restore(two_saved, make_state(0)).state
  assert_bits_equal(double(restored), double(make_state(8)))


def test_orbax_alone_reads_a_checkpoint(two_saved, make_state, assert_bits_equal):
  state = two_saved / "checkpoint_8" / "state"
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    found = checkpointer.restore(state)
  assert_bits_equal(found["params"], make_state(8).params)
  assert ocp.PyTreeCheckpointer().restore(state)["step"] == 8


def test_a_checkpoint_written_by_orbax_alone_is_read(tmp_path, make_state, assert_bits_equal):
  """As all were, before several processes could write one."""
  state = make_state(5)
  temporary = folders.begin(tmp_path, 5)
  arrays = jax.tree.map(np.asarray, {"step": state.step, "params": state.params})
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False)) as checkpointer:
    checkpointer.save(temporary / "state", arrays)
  named = {name: orbax_io._entry_of(leaf) for name, leaf in orbax_io._named_leaves(arrays)}
  manifest.write(temporary, arrays=named)
  folders.commit(temporary, tmp_path, 5)
  assert_bits_equal(orbax_io.restore(tmp_path, arrays).state, jax.tree.map(jnp.asarray, arrays))
  assert_bits_equal(orbax_io.restore_params(tmp_path), state.params)


def test_old_checkpoints_make_room_and_the_best_stays(tmp_path):
  for step, score in ((1, None), (2, 0.5), (3, None), (4, None)):
    orbax_io.save(tmp_path, step, {"w": np.float32(step)}, keep=1, score=score)
  assert orbax_io.steps(tmp_path) == [2, 4] and orbax_io.best(tmp_path) == (0.5, 2)
  with pytest.raises(errors.UserError, match="keep is 0; it must be at least 1"):
    orbax_io.save(tmp_path, 5, {"w": np.float32(5)}, keep=0)


def test_the_console_stays_silent(tmp_path, make_state, capfd):
  orbax_io.save(tmp_path, 1, make_state(1), keep=1)
  orbax_io.restore(tmp_path, make_state(0))
  assert capfd.readouterr() == ("", "")


def test_no_temporary_files_are_left_behind(two_saved):
  assert sorted(os.listdir(two_saved)) == ["checkpoint_4", "checkpoint_8"]
  names = {"MANIFEST.json", "data.json", "meta.json", "state"}
  assert set(os.listdir(two_saved / "checkpoint_8")) == names
