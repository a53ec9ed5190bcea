"""Arrays in pieces: each process stores the pieces it holds, and reads the pieces it needs.

On the disk they are Orbax's: one OCDBT store of zarr arrays, which every process writes into a
folder of its own, `ocdbt.process_<k>`, and one merges at the end.  A piece is one chunk of its
array or several, so nobody writes where another does, and any other cut can be read.
"""

import collections
import contextlib
import dataclasses
import math
import pathlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from flan_tune import errors
from flan_tune.checkpoint import manifest

# Reading part of an array reads whole chunks: few bytes for nothing, and still few files' seeks.
_CHUNK_BYTES = 64 * 2**20
# Read ahead of what is being placed on the devices.
_READ_AHEAD_BYTES = 2**30
_PROCESS = "ocdbt.process_"  # Orbax's name for what one process wrote

Start = tuple[int, ...]


class Piece(NamedTuple):
  """Part of an array: where its first element is, and its numbers in host memory."""

  start: Start
  data: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
  """An array of any number of processes, of which this one is to store `own`.

  Attributes:
    chunk: The shape in which it is cut up in the store.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  chunk: tuple[int, ...]
  own: tuple[Piece, ...]

  @property
  def nbytes(self) -> int:
    """Of the whole array."""
    return math.prod(self.shape) * self.dtype.itemsize

  @property
  def own_bytes(self) -> int:
    """Of what this process is to store."""
    return sum(piece.data.nbytes for piece in self.own)


def copied(named: Mapping[str, Any]) -> dict[str, Pieces]:
  """The arrays by name, in memory of their own: what they were taken from may be overwritten."""
  return _taken(named, _copy)


def shared(named: Mapping[str, Any]) -> dict[str, Pieces]:
  """The same without a copy where there need be none, as on a CPU."""
  return _taken(named, lambda _, array: array)


def _taken(named: Mapping[str, Any], keep: Any) -> dict[str, Pieces]:
  # Saving is meant to copy from the device, whatever guard the training loop has set.
  with jax.transfer_guard("allow"):
    shards = {name: _own_shards(i, leaf) for i, (name, leaf) in enumerate(named.items())}
    for own in shards.values():
      for _, data in own:
        if isinstance(data, jax.Array):
          data.copy_to_host_async()  # all of them are under way before the first is waited for
    return {name: _pieces(leaf, shards[name], keep) for name, leaf in named.items()}


def _pieces(leaf: Any, shards: list[tuple[Start, Any]], keep: Any) -> Pieces:
  shape, dtype = tuple(np.shape(leaf)), np.dtype(leaf.dtype)
  cut = leaf.sharding.shard_shape(shape) if isinstance(leaf, jax.Array) else shape
  own = tuple(Piece(start, keep(data, np.asarray(data))) for start, data in shards)
  return Pieces(shape, dtype, chunk_shape(shape, cut, dtype.itemsize), own)


def _copy(source: Any, array: np.ndarray) -> np.ndarray:
  # Elsewhere than on a CPU, `array` is a copy of the device's memory already.
  on_host = not isinstance(source, jax.Array) or any(
    device.platform == "cpu" for device in source.devices()
  )
  pinned = "host" in str(getattr(getattr(source, "sharding", None), "memory_kind", ""))
  return np.array(array, copy=True, order="C") if on_host or pinned else array


def _own_shards(number: int, leaf: Any) -> list[tuple[Start, Any]]:
  """The shards of a leaf, by where they begin, that this process is to store.

  Of the copies of a shard, one is stored; array by array another one, so that every process has
  something to write also where all of them hold everything.
  """
  if not isinstance(leaf, jax.Array):
    return [((0,) * np.ndim(leaf), leaf)] if jax.process_index() == 0 else []
  if leaf.is_fully_addressable and jax.process_index() != 0:
    # Each process has one of its own, all alike, such as a counter that was never placed.
    return []
  copies = collections.defaultdict(list)
  for device, index in leaf.sharding.devices_indices_map(leaf.shape).items():
    copies[_start(index)].append(device)
  owners = {}
  for start, devices in copies.items():
    devices.sort(key=lambda device: device.id)
    owners[start] = devices[number % len(devices)]
  return [
    (_start(shard.index), shard.data)
    for shard in leaf.addressable_shards
    if owners[_start(shard.index)] == shard.device
  ]


def _start(index: Sequence[slice] | None) -> Start:
  return tuple(one.start or 0 for one in index or ())


def chunk_shape(shape: Sequence[int], shard: Sequence[int], itemsize: int) -> tuple[int, ...]:
  """How an array cut into shards is cut in the store: into shards, or equal parts of each."""
  wanted = -(-math.prod(shard) * itemsize // _CHUNK_BYTES)
  if wanted <= 1 or not shard:
    return tuple(max(1, size) for size in shard)

  def parts(axis: int) -> int:
    """Of this axis: as many as wanted, or the next number that divides a shard evenly."""
    size = shard[axis]
    if size <= wanted or size == shape[axis]:
      return min(size, wanted)
    return next(n for n in range(wanted, size + 1) if size % n == 0)

  # Enough parts, and as few as that takes.
  axis = min(range(len(shard)), key=lambda axis: (parts(axis) < wanted, parts(axis)))
  chunk = list(shard)
  chunk[axis] = -(-shard[axis] // parts(axis))
  return tuple(chunk)


class _Writes:
  """An Orbax future: all writes of this process.  Waits for each of them, also after an error."""

  def __init__(self, writes: list[Any]):
    self._writes = writes

  def result(self, timeout: float | None = None) -> None:
    failures = []
    for write in self._writes:
      try:
        write.result(timeout)
      except Exception as error:
        failures.append(error)
    if failures:
      raise failures[0]

  def cancel(self) -> None:
    """Not to be had: half an array is of no use to anybody."""


class _PiecesHandler(ocp.type_handlers.NumpyHandler):
  """Has Orbax store `Pieces`, and read them as what they then are, NumPy arrays."""

  async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
    folder = f"{_PROCESS}{jax.process_index()}"
    wanted = [(one, info) for one, info in zip(values, infos, strict=True) if one.own]
    opened = [
      ts.open(
        spec(pathlib.Path(info.parent_dir) / folder, info.name) | _layout(one),
        create=True,
        open=True,
        context=info.ts_context,
      )
      for one, info in wanted
    ]
    writes, failures = [], []
    for (one, _), future in zip(wanted, opened, strict=True):
      try:
        array = future.result()
      except Exception:
        failures.append(future)  # its error is told when all others have ended, too
      else:
        writes += [_write(array, piece) for piece in one.own]
    return [_Writes(failures + writes)]


def _write(array: ts.TensorStore, piece: Piece) -> Any:
  part = tuple(
    slice(start, start + size) for start, size in zip(piece.start, piece.data.shape, strict=True)
  )
  return array[part].write(piece.data, can_reference_source_data_indefinitely=True)


def _layout(array: Pieces) -> dict[str, Any]:
  return {
    "dtype": array.dtype.name,
    "store_data_equal_to_fill_value": True,  # zeros are stored, too: a missing piece is damage
    "metadata": {
      "shape": list(array.shape),
      "chunks": list(array.chunk),
      "compressor": None,  # zstd takes twice the time to make float32 weights 8 % smaller
      "dimension_separator": ".",
    },
  }


def spec(folder: pathlib.Path, name: str) -> dict[str, Any]:
  """Tensorstore's for one array, "a/b" or "a.b", of a folder that Orbax wrote."""
  # Synchronised with the disk once, with the manifest, and not array by array.
  base = {"driver": "file", "path": f"{folder.absolute()}/", "file_io_sync": False}
  store = {"driver": "ocdbt", "base": base, "path": name.replace("/", ".") + "/"}
  return {"driver": "zarr", "kvstore": store}


def own_folder(folder: pathlib.Path) -> pathlib.Path:
  """Where `write` puts what this process stores."""
  return folder / f"{_PROCESS}{jax.process_index()}"


def _handler() -> ocp.PyTreeCheckpointHandler:
  registry = ocp.type_handlers.create_type_handler_registry((Pieces, _PiecesHandler()))
  return ocp.PyTreeCheckpointHandler(
    use_ocdbt=True, use_compression=False, type_handler_registry=registry
  )


def write(folder: pathlib.Path, tree: Mapping[str, Any]) -> None:
  """Stores what this process holds of a tree of `Pieces`; every process calls it, then one `merge`.

  Raises:
    Exception: Tensorstore's or the system's, when no write is under way any more.
  """
  _handler().save(typing.cast(Any, folder), args=ocp.args.PyTreeSave(dict(tree)))


def merge(folder: pathlib.Path) -> None:
  """Makes one store of what all processes have stored."""
  _handler().finalize(typing.cast(Any, folder))


def read(
  folder: pathlib.Path,
  entries: Mapping[str, manifest.ArrayEntry],
  shardings: Sequence[jax.sharding.Sharding | None],
) -> list[jax.Array]:
  """The named arrays on their devices, in that order; of each, only what this process needs.

  Args:
    folder: What `write` and `merge`, or Orbax, left.
    entries: Which arrays, and what they must be.
    shardings: One for each; None for the default device.

  Raises:
    UserError: An array is not what its entry says, or cannot be read.
  """
  # A deliberate copy to the devices, whatever guard the training loop has set.
  with plain_errors(folder.parent), jax.transfer_guard("allow"):
    stores = _opened(folder, entries)
    return list(_placed(list(zip(stores, shardings, strict=True))))


def _opened(folder: pathlib.Path, entries: Mapping[str, manifest.ArrayEntry]) -> list[Any]:
  context = ts.Context()
  opened = [ts.open(spec(folder, n), open=True, read=True, context=context) for n in entries]
  stores = [future.result() for future in opened]
  for (name, entry), store in zip(entries.items(), stores, strict=True):
    found = manifest.ArrayEntry(tuple(store.shape), store.dtype.numpy_dtype.name)
    if found != entry:
      raise errors.UserError(
        f"{folder.parent}: {name} is {found.dtype}{list(found.shape)}, not what the manifest says"
      )
  return stores


@contextlib.contextmanager
def plain_errors(checkpoint: pathlib.Path) -> Iterator[None]:
  """Says in a sentence why tensorstore cannot read a checkpoint that was found usable."""
  try:
    yield
  except ValueError as error:
    if "tensorstore" not in str(error):
      raise
    # Behind the bracket are its settings and places in its source.
    why = str(error).partition(" [")[0]
    if not checkpoint.is_dir():
      why = "it was removed meanwhile, as a run does that keeps few checkpoints; start again"
    raise errors.UserError(f"{checkpoint}: cannot be read: {why}") from error


def _placed(wanted: list[tuple[Any, Any]]) -> Iterator[jax.Array]:
  waiting, ahead = collections.deque(), 0
  for store, sharding in wanted:
    reads = _Reads(store, sharding)
    waiting.append(reads)
    ahead += reads.num_bytes
    while ahead > _READ_AHEAD_BYTES and waiting:
      ahead -= waiting[0].num_bytes
      yield waiting.popleft().array()
  while waiting:
    yield waiting.popleft().array()


class _Reads:
  """The parts of one array that this process needs, each read once for all devices it goes to."""

  def __init__(self, store: Any, sharding: jax.sharding.Sharding | None):
    self._shape, self._sharding = tuple(store.shape), sharding
    if sharding is None:
      self._indices, parts = {}, {None: store}
    else:
      self._indices = sharding.addressable_devices_indices_map(self._shape)
      parts = {_start(index): store[index] for index in self._indices.values()}
    item = store.dtype.numpy_dtype.itemsize
    self.num_bytes = sum(math.prod(part.shape) * item for part in parts.values())
    self._parts = {key: part.read() for key, part in parts.items()}

  def array(self) -> jax.Array:
    parts = {key: np.asarray(future.result()) for key, future in self._parts.items()}
    if self._sharding is None:
      return jax.device_put(parts[None])
    placed = [
      jax.device_put(parts[_start(index)], device) for device, index in self._indices.items()
    ]
    return jax.make_array_from_single_device_arrays(self._shape, self._sharding, placed)
