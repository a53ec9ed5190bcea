"""Our own checkpoints as a `stores.Store`, and a writer of them that holds one tensor at a time.

`orbax_io` saves and restores whole states.  Here the same folders are read and written through
tensorstore, tensor by tensor, so that a model may be larger than memory.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

import ml_dtypes
import numpy as np
import tensorstore as ts

from flan_tune import errors, vocab
from flan_tune.checkpoint import (
  folders,
  manifest,
  orbax_io,
  pieces,
  stacking,
  staging,
  stores,
  unfinished,
)
from flan_tune.models import registry

CHECKPOINTS = "checkpoints"
VOCABULARY = "vocabulary.model"
META = "meta"

_PARAMS = "params/"
_STATES = "opt_state/param_states/"
_DTYPES = ("float32", "bfloat16")  # of parameters
_UNUSED = manifest.ArrayEntry(stacking.UNUSED, "float32")
# An array is stored in pieces of about this size: reading one then needs little beyond the array.
_CHUNK_BYTES = 64 * 2**20
# As Orbax names its handlers and kinds of keys; `tests/checkpoint/test_native.py` has it read them.
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
_KEY_OF_DICTIONARY = 2

Entries = Mapping[str, manifest.ArrayEntry]
Read = Callable[[str], np.ndarray]


def recognises(path: str | os.PathLike[str]) -> bool:
  """Whether a folder is a run, its checkpoints or one checkpoint of ours, damaged or not."""
  path = pathlib.Path(path)
  if (path / manifest.FILE_NAME).exists():
    return True
  if (path / orbax_io.STATE_FOLDER).is_dir() and (path / f"{META}.json").exists():
    return True
  # Others' folders may hold one of this name, too.
  if (path / CHECKPOINTS).is_dir() and not (path / "config.json").exists():
    return True
  named = (path / f"checkpoint_{step}" / manifest.FILE_NAME for step in folders.present(path))
  return any(one.exists() for one in named) or any(True for _ in unfinished.leftovers(path))


def describe(architecture: str, config: Any, vocabulary: vocab.Vocabulary | None) -> dict[str, Any]:
  """The document "meta" of a checkpoint: what its arrays need to be used again."""
  return {
    "flan_tune": metadata.version("flan_tune"),
    "architecture": architecture,
    "config": dataclasses.asdict(config),
    "vocabulary": vocabulary.fingerprint if vocabulary else None,
    "escape": vocabulary.escape if vocabulary else False,
    "extra_ids": vocabulary.extra_ids if vocabulary else None,
  }


def read_meta(found: folders.Usable) -> dict[str, Any]:
  """The document "meta" of a verified checkpoint.

  Raises:
    UserError: It has none, or one of another form.
  """
  meta = orbax_io.documents_of(found).get(META)
  told = isinstance(meta, dict) and "architecture" in meta and isinstance(meta.get("config"), dict)
  if not isinstance(meta, dict) or not told:
    raise errors.UserError(f"{found.path}: {META}.json does not say which model this is")
  return meta


def open_store(
  path: str | os.PathLike[str], *, step: int | str | None = None, hashes: bool = True
) -> "Checkpoint":
  """A checkpoint of ours, verified against its manifest.

  Args:
    path: A run folder, its folder of checkpoints, or one checkpoint.
    step: Which checkpoint; the newest good one by default.
    hashes: Compare contents, too, not only names and sizes.

  Raises:
    UserError: None can be used.
  """
  return Checkpoint(folders.find(path, step, hashes=hashes))


class Checkpoint:
  """One of our checkpoints as a `stores.Store`; layers stacked for `lax.scan` appear one by one."""

  format = "flan_tune"

  def __init__(self, found: folders.Usable):
    self.path = found.path
    self._arrays = found.contents.arrays
    self._state = found.path / orbax_io.STATE_FOLDER
    self._places = _places(self._arrays, str(self.path))
    self._kept: dict[str, np.ndarray] = {}
    if not self._places:
      raise errors.UserError(f"{self.path}: the checkpoint holds no arrays under {_PARAMS!r}")
    self._state_places, notes = _state_places(self._arrays, str(self.path))
    self.tensors = _entries(self._places, self._arrays)
    for name, entry in self.tensors.items():
      errors.one_of(entry.dtype, _DTYPES, f"{self.path}: {manifest.FILE_NAME}: {name}: dtype")
    self.optimizer = _entries(self._state_places, self._arrays)
    meta = read_meta(found)
    kept = ("vocabulary", "escape", "extra_ids", "base")
    facts = {key: meta[key] for key in kept if meta.get(key) is not None}
    where = f"{self.path}: {META}.json"
    config = registry.configuration(meta["architecture"], meta["config"], where=where)
    whole = dataclasses.asdict(config)  # with the defaults of fields that an older version lacks
    self.description = stores.Description(meta["architecture"], whole, notes, facts)
    stored = found.path.parent.parent / VOCABULARY
    self.vocabulary: pathlib.Path | None = stored if stored.is_file() else None
    self.step: int | None = int(self._read("step")) if "step" in self._arrays else found.step

  def read(self, name: str) -> np.ndarray:
    """One parameter."""
    return self._read_at(self._places[name])

  def read_optimizer(self, name: str) -> np.ndarray:
    """One array of Adafactor's state."""
    return self._read_at(self._state_places[name])

  def _read_at(self, place: stacking.Place) -> np.ndarray:
    with pieces.plain_errors(self.path):
      return self._layer(place)

  def _layer(self, place: stacking.Place) -> np.ndarray:
    if place.layer is None:
      return self._read(place.stored)
    one = (*[slice(None)] * place.axis, place.layer)
    opened = self._open(place.stored)
    if (opened.chunk_layout.read_chunk.shape or ())[place.axis] == 1:
      return opened[one].read().result()
    # Orbax stores a stack as one piece: it is kept while its layers are asked for in turn.
    if place.stored not in self._kept:
      self._kept.clear()  # gives its memory back first
      self._kept[place.stored] = self._read(place.stored)
    return np.ascontiguousarray(self._kept[place.stored][one])

  def _read(self, stored: str) -> np.ndarray:
    array = np.asarray(self._open(stored).read().result())
    entry = manifest.ArrayEntry(tuple(array.shape), array.dtype.name)
    if entry != self._arrays[stored]:
      raise errors.UserError(
        f"{self.path}: {stored} is {entry.dtype}{list(entry.shape)}, not what the manifest says"
      )
    return array

  def _open(self, stored: str) -> ts.TensorStore:
    return ts.open(pieces.spec(self._state, stored), open=True, read=True).result()


def _places(arrays: Entries, where: str) -> dict[str, stacking.Place]:
  shapes = _shapes(arrays, _PARAMS)
  places = stacking.parameter_places(shapes, where=where)
  return {name: place._replace(stored=_PARAMS + place.stored) for name, place in places.items()}


def _state_places(arrays: Entries, where: str) -> tuple[dict[str, stacking.Place], tuple[str, ...]]:
  """Where Adafactor's arrays are, and what to say of an optimiser's state that is left out."""
  states = _shapes(arrays, _STATES)
  if states:
    places = stacking.state_places(_shapes(arrays, _PARAMS), states, where=where)
    return {n: place._replace(stored=_STATES + place.stored) for n, place in places.items()}, ()
  if any(stored.startswith("opt_state/") for stored in arrays):
    return {}, ("the optimiser's state is of some parameters only, and is left out",)
  return {}, ()


def _shapes(arrays: Entries, prefix: str) -> dict[str, tuple[int, ...]]:
  return {
    stored.removeprefix(prefix): entry.shape
    for stored, entry in arrays.items()
    if stored.startswith(prefix)
  }


def _entries(places: Mapping[str, stacking.Place], arrays: Entries) -> Entries:
  def entry(place: stacking.Place) -> manifest.ArrayEntry:
    shape = list(arrays[place.stored].shape)
    if place.layer is not None:
      del shape[place.axis]
    return arrays[place.stored]._replace(shape=tuple(shape))

  return {name: entry(place) for name, place in places.items()}


def write(
  folder: pathlib.Path,
  tensors: Entries,
  read: Read,
  *,
  description: stores.Description,
  optimizer: tuple[Entries, Read] | None = None,
  step: int | None = None,
  vocabulary: vocab.Vocabulary | None = None,
  dtype: str | None = None,
) -> pathlib.Path:
  """Writes `folder`: checkpoints/checkpoint_<step>/ and the vocabulary, as a run leaves them.

  Args:
    tensors: Canonical names, layer by layer; stacked here if the configuration scans layers.
    optimizer: Adafactor's arrays, "<parameter>/v_row" and so on, and how to read one; those not
      there are not used.
    step: Updates done; 0 where it is unknown.
    dtype: Of the parameters, "float32" or "bfloat16"; None leaves each as it is.

  Returns:
    `folder`.

  Raises:
    UserError: `folder` exists, or writing failed; nothing is left behind.
  """
  step = step or 0
  stacked = bool(description.config.get("scan_layers"))
  with staging.new_folder(folder) as temporary, _plain_errors():
    checkpoint = temporary / CHECKPOINTS / f"checkpoint_{step}"
    (checkpoint / orbax_io.STATE_FOLDER).mkdir(parents=True)
    arrays = _Arrays(checkpoint / orbax_io.STATE_FOLDER)
    arrays.add_number("step", step)
    _add_params(arrays, tensors, read, dtype=dtype, stacked=stacked)
    if optimizer and optimizer[0]:
      _add_optimizer(arrays, tensors, *optimizer, step=step, stacked=stacked)
    arrays.finish()
    config = _configuration(description, arrays.entries, str(folder))
    meta = describe(description.architecture, config, vocabulary)
    manifest.write_json(checkpoint / f"{META}.json", meta)
    if vocabulary:
      (temporary / VOCABULARY).write_bytes(vocabulary.model)
    manifest.write(checkpoint, arrays=arrays.entries)
  return folder


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
  """What the system said, as an OSError also where tensorstore puts it into words of its own."""
  try:
    yield
  except Exception as error:
    found = orbax_io.system_error(error)
    if found is None or found is error:
      raise
    raise found from error


def _configuration(description: stores.Description, entries: Entries, where: str) -> Any:
  """The whole configuration; it says in which type the parameters are, if it can."""
  config = registry.configuration(description.architecture, description.config, where=where)
  types = {entry.dtype for name, entry in entries.items() if name.startswith(_PARAMS)}
  if len(types) == 1 and hasattr(config, "param_dtype"):
    return dataclasses.replace(config, param_dtype=types.pop())
  return config


def _add_params(
  arrays: "_Arrays", tensors: Entries, read: Read, *, dtype: str | None, stacked: bool
) -> None:
  wanted = {name: _typed(entry, dtype) for name, entry in tensors.items()}
  for stored, stack in stacking.stack_parameters(tensors, scan_layers=stacked).items():
    arrays.add(_PARAMS + stored, stack, wanted, read)


def _add_optimizer(
  arrays: "_Arrays", tensors: Entries, entries: Entries, read: Read, *, step: int, stacked: bool
) -> None:
  arrays.add_number("opt_state/step", step)
  names = [f"{name}/{field}" for name in tensors for field in stacking.STATE_FIELDS]
  wanted = {name: entries.get(name, _UNUSED) for name in names}
  shapes = {name: entry.shape for name, entry in tensors.items()}
  states = {name: entry.shape for name, entry in wanted.items()}
  given = lambda name: read(name) if name in entries else np.zeros(stacking.UNUSED, np.float32)
  for stored, stack in stacking.stack_states(shapes, states, scan_layers=stacked).items():
    arrays.add(_STATES + stored, stack, wanted, given)


def _typed(entry: manifest.ArrayEntry, dtype: str | None) -> manifest.ArrayEntry:
  return entry._replace(dtype=dtype) if dtype else entry


class _Arrays:
  """The folder of arrays that Orbax would write, one array at a time."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self.entries: dict[str, manifest.ArrayEntry] = {}

  def add(self, name: str, stack: stacking.Stack, entries: Entries, read: Read) -> None:
    """One array; of a stack, each layer is stored by itself, and only one is in memory."""
    entry = entries[stack.sources[0]]
    if stack.axis is None:
      self._create(name, entry, _chunks(entry)).write(_as(read(stack.sources[0]), entry)).result()
      return
    if any(entries[source] != entry for source in stack.sources):
      raise errors.UserError(
        f"{name}: its layers differ in shape or type, so they cannot be stacked"
      )
    before = [slice(None)] * stack.axis
    insert = lambda shape, n: (*shape[: stack.axis], n, *shape[stack.axis :])
    whole = entry._replace(shape=insert(entry.shape, len(stack.sources)))
    opened = self._create(name, whole, insert(_chunks(entry), 1))
    for layer, source in enumerate(stack.sources):
      opened[(*before, layer)].write(_as(read(source), entry)).result()

  def add_number(self, name: str, number: int) -> None:
    entry = manifest.ArrayEntry((), "int32")
    self._create(name, entry, ()).write(np.int32(number)).result()

  def _create(
    self, name: str, entry: manifest.ArrayEntry, chunks: tuple[int, ...]
  ) -> ts.TensorStore:
    self.entries[name] = entry
    code = np.dtype(_numpy_dtype(entry.dtype))
    stored = entry.dtype if code.kind == "V" else code.str
    spec = pieces.spec(self._folder, name) | {
      "store_data_equal_to_fill_value": True,  # zeros are stored, too: a missing piece is damage
      "metadata": {
        "shape": list(entry.shape),
        "chunks": list(chunks),
        "dtype": stored,
        "compressor": None,
        "fill_value": None,
        "dimension_separator": ".",
      },
    }
    return ts.open(spec, create=True).result()

  def finish(self) -> None:
    """Writes what Orbax wants to know of the tree."""
    tree = {}
    for name in self.entries:
      parts = name.split("/")
      tree[str(tuple(parts))] = {
        "key_metadata": [{"key": part, "key_type": _KEY_OF_DICTIONARY} for part in parts],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
      }
    document = {
      "tree_metadata": tree,
      "use_ocdbt": True,
      "use_zarr3": False,
      "store_array_data_equal_to_fill_value": True,
      "custom_metadata": None,
    }
    (self._folder / "_METADATA").write_text(json.dumps(document), encoding="utf-8")
    handlers = {"item_handlers": _HANDLER, "metrics": {}, "performance_metrics": {}}
    (self._folder / "_CHECKPOINT_METADATA").write_text(json.dumps(handlers), encoding="utf-8")


def _chunks(entry: manifest.ArrayEntry) -> tuple[int, ...]:
  if not entry.shape:
    return ()
  size = math.prod(entry.shape) * np.dtype(_numpy_dtype(entry.dtype)).itemsize
  pieces = min(entry.shape[0], -(-size // _CHUNK_BYTES))
  return (-(-entry.shape[0] // max(1, pieces)), *entry.shape[1:])


def _numpy_dtype(name: str) -> Any:
  return ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)


def _as(array: np.ndarray, entry: manifest.ArrayEntry) -> np.ndarray:
  return array.astype(_numpy_dtype(entry.dtype), copy=False)
