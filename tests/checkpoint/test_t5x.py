"""T5X's checkpoints are read to the bit, and what is written is what T5X would write."""

import json
import pathlib
import shutil
import weakref

import ml_dtypes
import numpy as np
import pytest

from flan_tune import errors
from flan_tune.checkpoint import stacking, t5x, zarr_files
from tests.checkpoint import t5x_folders

MODELS = ("t5_1_1", "t5_1_0")


@pytest.fixture(scope="module")
def arrays():
  return t5x_folders.named()


@pytest.fixture(scope="module")
def saved(arrays, tmp_path_factory) -> pathlib.Path:
  """A checkpoint of step 9 without an optimiser; not to be changed."""
  return t5x_folders.write(tmp_path_factory.mktemp("t5x") / "checkpoint_9", arrays, step=9)


def states_of(store) -> dict[str, np.ndarray]:
  return {name: store.read_optimizer(name) for name in store.optimizer}


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
    assert found[name].tobytes() == array.tobytes(), name


def below(prefix, arrays):
  return {n.removeprefix(prefix): arrays[n] for n in arrays if n.startswith(prefix)}


@pytest.mark.parametrize("layout", ["checkpointer", "orbax_manager"])
@pytest.mark.parametrize("model", MODELS)
def test_what_t5x_wrote_is_read_to_the_bit(golden_dir, model, layout):
  """Parameters and optimiser after five steps, from both of T5X's layouts."""
  expected = np.load(golden_dir / "t5x" / model / "adafactor_default.npz", allow_pickle=False)
  store = t5x.open_store(golden_dir / "t5x" / model / f"checkpoint_{layout}")
  assert store.step == 5
  same(t5x_folders.read_all(store), below("params_after/5/", expected))
  same(states_of(store), below("final_state/", expected))


@pytest.mark.parametrize("model", MODELS)
def test_the_architecture_is_inferred(golden_dir, model):
  document = json.loads((golden_dir / "t5x" / "manifest.json").read_text())
  config = document[model]["config"] | {"mlp_activations": ("gelu", "linear")}
  if model == "t5_1_0":
    config["mlp_activations"] = ("relu",)
  del config["dropout_rate"]
  store = t5x.open_store(golden_dir / "t5x" / model / "checkpoint_checkpointer" / "checkpoint_5")
  assert (store.description.architecture, store.description.config) == ("t5", config)


@pytest.mark.parametrize("model", MODELS)
def test_writing_reproduces_t5x_s_own_files(golden_dir, tmp_path, model):
  """The same files; the index and what describes the arrays to the byte."""
  original = golden_dir / "t5x" / model / "checkpoint_checkpointer" / "checkpoint_5"
  store = t5x.open_store(original)
  optimizer = (store.optimizer, store.read_optimizer)
  written = t5x.write(
    tmp_path / "checkpoint_5",
    store.tensors,
    store.read,
    description=store.description,
    optimizer=optimizer,
    step=store.step,
  )
  files = lambda folder: sorted(path.relative_to(folder) for path in folder.rglob("*"))
  assert files(written) == files(original)
  for path in files(written):
    if path.name in (".zarray", "checkpoint"):
      assert (written / path).read_bytes() == (original / path).read_bytes(), path
  again = t5x.open_store(written)
  same(t5x_folders.read_all(again), t5x_folders.read_all(store))
  same(states_of(again), states_of(store))


def test_a_state_of_zeros_is_written_where_there_is_none(saved, arrays):
  """T5X restores a training state only with all of its optimiser."""
  store = t5x.open_store(saved)
  assert store.step == 9
  same(t5x_folders.read_all(store), arrays)
  states = states_of(store)
  assert len(states) == 4 * len(arrays)
  assert not any(array.any() for array in states.values())
  assert states["encoder/encoder_norm/scale/v"].shape == (8,)


def test_stacked_layers_come_back_one_by_one(tmp_path, arrays):
  folder = t5x_folders.write(tmp_path / "stacked", arrays, scan_layers=True)
  zarray = folder / "target.encoder.encoder.mlp.wi_0.kernel" / ".zarray"
  assert json.loads(zarray.read_text())["shape"] == [8, 2, 12]
  assert not list(folder.glob("target.encoder.layers_0*"))
  store = t5x.open_store(folder)
  same(t5x_folders.read_all(store), arrays)
  assert "stacked" in store.description.notes[-1]


def test_a_stacked_array_is_read_once_for_all_its_layers(tmp_path, arrays, monkeypatch):
  store = t5x.open_store(t5x_folders.write(tmp_path / "stacked", arrays, scan_layers=True))
  read, reads = zarr_files.Arrays.read, []
  count = lambda self, name, **options: reads.append(name) or read(self, name, **options)
  monkeypatch.setattr(zarr_files.Arrays, "read", count)
  t5x_folders.read_all(store)
  assert len(reads) == len(set(reads)) < len(arrays)


def test_the_optimiser_survives_stacking(golden_dir, tmp_path):
  store = t5x.open_store(golden_dir / "t5x" / "t5_1_0" / "checkpoint_checkpointer")
  stacked = t5x.write(
    tmp_path / "stacked",
    store.tensors,
    store.read,
    description=store.description,
    optimizer=(store.optimizer, store.read_optimizer),
    scan_layers=True,
  )
  same(states_of(t5x.open_store(stacked)), states_of(store))


def test_bfloat16_is_rounded_once_and_read_back(tmp_path, arrays):
  folder = t5x_folders.write(tmp_path / "half", arrays, dtype="bfloat16")
  name = "encoder/layers_1/mlp/wo/kernel"
  zarray = json.loads((folder / f"target.{name.replace('/', '.')}" / ".zarray").read_text())
  assert zarray["dtype"] == "bfloat16"
  store = t5x.open_store(folder)
  assert store.tensors[name].dtype == "bfloat16"
  same(t5x_folders.read_all(store), {n: a.astype(ml_dtypes.bfloat16) for n, a in arrays.items()})
  assert store.optimizer[f"{name}/v"].dtype == "float32"


@pytest.mark.parametrize("database", [True, False])
def test_orbax_s_layout_is_read_as_a_database_or_as_folders(tmp_path, saved, arrays, database):
  state = tmp_path / "checkpoint_3" / "state"
  t5x_folders.write_with_orbax(state, arrays)
  if not database:
    for path in state.iterdir():
      if path.name != "_METADATA":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in saved.glob("target.*"):
      shutil.copytree(path, state / path.name)
  store = t5x.open_store(tmp_path)
  same(t5x_folders.read_all(store), arrays)
  assert store.step is None and not store.optimizer


def test_public_checkpoints_name_a_bucket_and_keep_the_path_beside_it(tmp_path, saved, arrays):
  """As tensorstore before 0.1.14 wrote them: t5x: t5x/checkpoints.py, `_update_ts_path...`."""
  folder = pathlib.Path(shutil.copytree(saved, tmp_path / "old"))

  def age(node):
    if "kvstore" in node:
      node["path"] = node["kvstore"].pop("path").removesuffix("/")
      node["kvstore"] |= {"driver": "gcs", "bucket": "t5x-dummy-bucket"}
    else:
      for inner in node.values():
        age(inner) if isinstance(inner, dict) else None

  t5x_folders.change_index(folder, lambda tree: age(tree["optimizer"]["target"]))
  same(t5x_folders.read_all(t5x.open_store(folder)), arrays)


def test_the_newest_complete_checkpoint_of_a_folder_is_taken(tmp_path, saved):
  for step in (9, 10):
    shutil.copytree(saved, tmp_path / f"checkpoint_{step}")
  (tmp_path / "checkpoint_11").mkdir()
  shutil.copytree(saved, tmp_path / "checkpoint_12.tmp-1700000000")
  assert t5x.recognises(tmp_path)
  assert t5x.open_store(tmp_path).path.name == "checkpoint_10"


def test_our_own_checkpoints_are_not_taken_for_t5x_s(two_saved, tmp_path):
  assert not t5x.recognises(two_saved)
  assert not t5x.recognises(two_saved / "checkpoint_4")
  assert not t5x.recognises(tmp_path)


def test_one_tensor_is_held_at_a_time(tmp_path, arrays):
  class Tracked(np.ndarray):
    pass

  given = []

  def read(name):
    assert sum(one() is not None for one in given) <= 1
    array = arrays[name].copy().view(Tracked)
    given.append(weakref.ref(array))
    return array

  shapes = t5x_folders.entries(arrays)
  description = t5x.infer.describe(shapes, where="test")
  t5x.write(tmp_path / "checkpoint_1", shapes, read, description=description)
  assert len(given) == len(arrays)


@pytest.mark.parametrize("error", [KeyError("no"), OSError(28, "No space left on device")])
def test_a_failed_write_leaves_nothing(tmp_path, arrays, error):
  def read(name):
    if name.startswith("encoder/layers_1"):
      raise error
    return arrays[name]

  shapes = t5x_folders.entries(arrays)
  description = t5x.infer.describe(shapes, where="test")
  with pytest.raises((KeyError, errors.UserError), match="no"):
    t5x.write(tmp_path / "checkpoint_1", shapes, read, description=description)
  assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path, arrays):
  (tmp_path / "checkpoint_1").mkdir()
  with pytest.raises(errors.UserError, match="exists already"):
    t5x_folders.write(tmp_path / "checkpoint_1", arrays)


def test_a_vocabulary_travels_beside_the_arrays(tmp_path, saved, arrays):
  assert t5x.open_store(saved).vocabulary is None

  class Vocabulary:
    model = b"pieces"

  folder = t5x_folders.write(tmp_path / "checkpoint_1", arrays, vocabulary=Vocabulary())
  path = t5x.open_store(folder).vocabulary
  assert path is not None and path.read_bytes() == b"pieces"


@pytest.mark.parametrize("shape", [(), (1,), (5, 6), (4, 3, 2)])
def test_an_array_of_many_chunks_is_whole_and_sliced(tmp_path, monkeypatch, shape):
  """Chunks divide the sides and are no larger than asked for."""
  monkeypatch.setattr(zarr_files, "CHUNK_BYTES", 8)
  array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
  zarr_files.write(tmp_path / "a", array)
  arrays = zarr_files.Arrays(tmp_path, database=False)
  chunks = arrays.check("a").chunks
  assert np.prod(chunks) * 4 <= 8
  assert all(n % c == 0 for n, c in zip(shape, chunks, strict=True))
  np.testing.assert_array_equal(arrays.read("a"), array)
  if len(shape) == 3:
    np.testing.assert_array_equal(arrays.read("a", layer=2, axis=1), array[:, 2])


def test_stacks_are_factored_as_their_shapes_say():
  """T5X's state of a stack of `out` kernels: rows are the model's width, the last axis."""
  assert stacking.fresh_state("decoder/decoder/mlp/wo/kernel", (200, 3, 50), stacked=True) == {
    "m": (1,),
    "v": (1,),
    "v_row": (3, 50),
    "v_col": (200, 3),
  }
