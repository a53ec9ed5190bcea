"""Checkpoints of T5X that are damaged, hostile or another model's are refused by name."""

import json
import pathlib
import shutil

import msgpack
import numpy as np
import pytest
import tensorstore as ts

from flan_tune import errors
from flan_tune.checkpoint import t5x
from tests.checkpoint import t5x_folders

NAME = "encoder/layers_1/mlp/wo/kernel"
ARRAY = "target.encoder.layers_1.mlp.wo.kernel"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("t5x") / "checkpoint_9"
  return t5x_folders.write(folder, t5x_folders.named(), step=9)


@pytest.fixture
def copy(saved, tmp_path) -> pathlib.Path:
  """A checkpoint to damage."""
  return pathlib.Path(shutil.copytree(saved, tmp_path / "checkpoint_9"))


@pytest.fixture
def database(tmp_path) -> pathlib.Path:
  """The same in Orbax's layout."""
  t5x_folders.write_with_orbax(tmp_path / "checkpoint_3" / "state", t5x_folders.named())
  return tmp_path / "checkpoint_3"


def refused(folder, message):
  with pytest.raises(errors.UserError, match=message):
    t5x_folders.read_all(t5x.open_store(folder))


def truncate(path: pathlib.Path, length: int) -> None:
  path.write_bytes(path.read_bytes()[:length])


def leaf(tree, name=NAME):
  """The parent of a parameter in an index, and its key."""
  node = tree["optimizer"]["target"]
  *parents, last = name.split("/")
  for part in parents:
    node = node[part]
  return node, last


def put(value, name=NAME):
  def change(tree):
    node, last = leaf(tree, name)
    node[last] = value

  return change


def located(path):
  def change(tree):
    node, last = leaf(tree)
    node[last]["kvstore"]["path"] = path

  return change


def array_type(code, data):
  return msgpack.ExtType(code, msgpack.packb(data) or b"")


def test_a_missing_part_of_an_array_is_not_read_as_zeros(copy):
  (copy / ARRAY / "0.0").unlink()
  refused(copy, rf"{ARRAY}: the file 0.0 is missing, as 1 of 1 parts")


def test_a_folder_in_the_place_of_a_part_is_not_read_as_zeros(copy):
  part = copy / ARRAY / "0.0"
  part.unlink()
  part.mkdir()
  refused(copy, "the file 0.0 is missing")


def test_metadata_that_asks_for_endless_parts_is_refused_at_once(copy):
  path = copy / ARRAY / ".zarray"
  metadata = json.loads(path.read_text())
  path.write_text(json.dumps({**metadata, "shape": [10**30, 10**9], "chunks": [1, 1]}))
  refused(copy, "the file 0.1 is missing")


@pytest.mark.parametrize("step", [-1, 2**31])
def test_a_step_beyond_what_t5x_counts_is_refused(copy, step):
  data = msgpack.packb(((), "int64", np.int64(step).tobytes()))
  assert data is not None
  change = lambda tree: tree["optimizer"]["state"].update(step=msgpack.ExtType(1, data))
  t5x_folders.change_index(copy, change)
  refused(copy, "state/step .*not a number of steps")


@pytest.mark.parametrize("length", [0, 40])
def test_a_cut_part_of_an_array_is_refused(copy, length):
  truncate(copy / ARRAY / "0.0", length)
  refused(copy, rf"{ARRAY}: the array cannot be read")


def test_a_changed_bit_is_refused(copy, flip_byte):
  flip_byte(copy / ARRAY / "0.0")
  refused(copy, rf"{ARRAY}: the array cannot be read")


@pytest.mark.parametrize("file", [".zarray", "."])
def test_a_missing_array_is_refused(copy, file):
  path = copy / ARRAY / file
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  refused(copy, rf"{ARRAY}.*missing")


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("shape", [11, 8], r"float32\[11, 8\] in its own folder, but float32\[12, 8\]"),
    ("shape", [24, 8], "the file 1.0 is missing"),
    ("dtype", "<f2", r"float16\[12, 8\] in its own folder, but float32"),
    ("dtype", "|O", "dtype: '|O' unknown"),
    ("dtype", "<u2", "uint16, as T5X stored bfloat16"),
    ("order", "F", "order 'F'"),
    ("chunks", [0, 8], r"chunks \[0, 8\]"),
    ("filters", [{"id": "pickle"}], "filters"),
    ("shape", None, "not Zarr's metadata"),
  ],
)
def test_metadata_that_t5x_does_not_write_is_refused(copy, key, value, message):
  path = copy / ARRAY / ".zarray"
  path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
  refused(copy, message)


@pytest.mark.parametrize("length", [0, 1, 500, -1])
def test_a_cut_index_is_refused(copy, length):
  truncate(copy / "checkpoint", length)
  refused(copy, "checkpoint: (no readable index|version)")


@pytest.mark.parametrize("path", ["/etc/", "../other", "a/../../b", "target..", "", ".", "a\\b"])
def test_an_index_that_names_a_path_outside_is_refused(copy, path):
  t5x_folders.change_index(copy, located(path))
  expected = "missing" if path == "target.." else "outside the checkpoint"
  refused(copy, expected)


@pytest.mark.parametrize("inner", ["", "0.0", ".zarray"])
def test_a_symbolic_link_is_not_followed(copy, saved, inner):
  path = copy / ARRAY / inner
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  path.symlink_to(saved / ARRAY / inner)
  refused(copy, "symbolic link")


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (array_type(2, [1.0, 2.0]), "extension type 2"),
    (array_type(1, [[1], "object", b"\x80\x04N."]), "dtype: 'object' unknown"),
    (array_type(1, [[3], "float32", b"1234"]), r"1 numbers for the shape \[3\]"),
    (array_type(1, [[-1], "float32", b"12345678"]), "cannot be read"),
    (array_type(1, 7), "cannot be read"),
    ("text", f"{NAME} is str instead of an array"),
    ({"driver": "zarr", "kvstore": "file:///etc/"}, "does not say where"),
    ({"driver": "zarr", "kvstore": {"driver": "http", "path": "a"}}, "'http' unknown"),
    ({"driver": "json", "kvstore": {"driver": "file", "path": "a"}}, "'json' unknown"),
    (None, rf"{NAME} of shape \[12, 8\] is missing"),
  ],
)
def test_an_index_with_something_else_than_arrays_is_refused(copy, value, message):
  t5x_folders.change_index(copy, put(value))
  refused(copy, message)


def test_an_index_nested_without_end_is_refused(copy):
  (copy / "checkpoint").write_bytes(b"\x81\xa1a" * 5000)
  refused(copy, "no readable index")


@pytest.mark.parametrize("version", [None, 1, 4])
def test_another_version_is_refused(copy, version):
  t5x_folders.change_index(copy, lambda tree: tree.update(version=version))
  refused(copy, f"version {version} of T5X's format; one of 2, 3")


def test_a_small_array_inside_the_index_is_read(copy):
  array = np.arange(96, dtype=np.float32).reshape(12, 8)
  small = array_type(1, [array.shape, "float32", array.tobytes()])
  t5x_folders.change_index(copy, put(small))
  np.testing.assert_array_equal(t5x.open_store(copy).read(NAME), array)


def test_a_tensor_too_many_is_refused(copy):
  scale = array_type(1, [[8], "float32", bytes(32)])
  t5x_folders.change_index(copy, put(scale, "encoder/layers_1/mlp/bias"))
  refused(copy, r"mlp/bias of shape \[8\] is not a tensor of the network")


def test_another_family_is_refused(copy):
  t5x_folders.change_index(
    copy, lambda tree: tree["optimizer"].update(target={"h": leaf(tree)[0]["kernel"]})
  )
  refused(copy, "no T5 and no PaLM; it holds h")


def test_a_network_with_more_than_parameters_is_refused(copy):
  small = array_type(1, [[], "float32", bytes(4)])
  t5x_folders.change_index(
    copy, lambda tree: tree["optimizer"].update(flax_mutables={"mean": small})
  )
  refused(copy, "flax_mutables/mean is neither")


def test_a_missing_state_is_refused(copy):
  def change(tree):
    del tree["optimizer"]["state"]["param_states"]["encoder"]["encoder_norm"]["scale"]["m"]

  t5x_folders.change_index(copy, change)
  refused(copy, r"encoder/encoder_norm/scale/m is missing \(1 missing")


def test_the_state_of_another_optimiser_is_left_out_with_a_note(copy):
  small = array_type(1, [[], "float32", bytes(4)])
  t5x_folders.change_index(
    copy, lambda tree: tree["optimizer"]["state"].update(param_states={"0": {"mu": small}})
  )
  store = t5x.open_store(copy)
  assert not store.optimizer and store.step == 9
  assert store.description.notes[-1].endswith("left out; it has 0/mu.")


def test_a_tensorflow_checkpoint_is_named(copy):
  (copy / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000000"\n')
  refused(copy, "a TensorFlow checkpoint")


@pytest.mark.parametrize(
  ("path", "message"),
  [("gs://bucket/a", "only local"), ("none", "no such folder"), (".", "no checkpoint of T5X")],
)
def test_a_path_without_a_checkpoint_is_refused(tmp_path, path, message):
  refused(path if ":" in path else tmp_path / path, message)


def test_a_missing_part_in_a_database_is_refused(database):
  state = database / "state"
  base = {"driver": "file", "path": f"{state}/"}
  store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
  store.write(f"{ARRAY}/0.0", None).result()
  refused(database, rf"{ARRAY}: the file 0.0 is missing")


def test_a_cut_database_is_refused(database):
  for part in (database / "state").rglob("d/*"):
    truncate(part, part.stat().st_size // 2)
  refused(database, "cannot be read")


def test_a_database_without_its_root_is_refused(database):
  truncate(database / "state" / "manifest.ocdbt", 20)
  refused(database, "the database of arrays cannot be read")


def test_a_link_in_a_database_is_refused(database, tmp_path):
  (database / "state" / "d" / "link").symlink_to(tmp_path)
  refused(database, "symbolic link")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda one: one.update(use_zarr3=True), "Zarr's version 3"),
    (lambda one: one.clear(), "not Orbax's metadata"),
    (lambda one: one.update(tree_metadata=[]), "not Orbax's metadata"),
    (lambda one: one.update(tree_metadata={}), "no T5 and no PaLM; it holds nothing"),
    (
      lambda one: one["tree_metadata"].update(a={"key_metadata": [], "value_metadata": {}}),
      "not Orbax's metadata",
    ),
  ],
)
def test_metadata_of_another_kind_is_refused(database, change, message):
  path = database / "state" / "_METADATA"
  document = json.loads(path.read_text())
  change(document)
  path.write_text(json.dumps(document))
  refused(database, message)
