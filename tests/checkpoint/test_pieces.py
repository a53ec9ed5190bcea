"""Arrays are cut where their shards are, each piece is stored by one process, and any cut reads."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from flan_tune.checkpoint import manifest, orbax_io, pieces

AXES = [None, "data", "model", ("data", "model")]


def sharding(*cut, shape=(2, 4)):
  devices = np.asarray(jax.devices()[: math.prod(shape)]).reshape(shape)
  mesh = jax.sharding.Mesh(devices, ("data", "model"))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*cut))


def cuts():
  for a, b in itertools.product(AXES, AXES):
    used = [axis for one in (a, b) for axis in ([one] if isinstance(one, str) else one or [])]
    if len(set(used)) == len(used):
      yield a, b


@pytest.mark.parametrize("cut", list(cuts()), ids=str)
def test_any_cut_is_stored_once_and_read_in_any_other(tmp_path, cut, monkeypatch):
  monkeypatch.setattr(pieces, "_CHUNK_BYTES", 100)
  whole = np.arange(16 * 24, dtype=np.float32).reshape(16, 24)
  array = jax.device_put(whole, sharding(*cut))
  (stored,) = pieces.copied({"w": array}).values()
  assert stored.own_bytes == stored.nbytes == whole.nbytes
  assert not any(
    np.shares_memory(piece.data, shard.data)
    for piece in stored.own
    for shard in array.addressable_shards
  )
  orbax_io.save(tmp_path, 1, {"w": array})
  for other in (sharding("model", "data"), sharding(None, "data", shape=(3, 1)), sharding(), None):
    found = orbax_io.restore(tmp_path, {"w": whole}, shardings=other).state["w"]
    assert (np.asarray(found) == whole).all() and (other is None or found.sharding == other)


def test_orbax_reads_with_the_handler_that_wrote(tmp_path):
  orbax_io.save(tmp_path, 1, {"a": {"w": np.arange(6.0, dtype=np.float32)}})
  state = tmp_path / "checkpoint_1" / "state"
  handler = pieces._handler()
  found = handler.restore(state)["a"]["w"]
  assert isinstance(found, np.ndarray) and found.tolist() == [0, 1, 2, 3, 4, 5]
  assert handler.metadata(state).tree["a"]["w"].shape == (6,)


def test_copies_are_spread_over_the_devices_that_hold_them():
  """So that each process has something to write also where all hold everything."""
  arrays = {str(i): jax.device_put(np.zeros(3), sharding()) for i in range(16)}
  for i, array in enumerate(arrays.values()):
    ((start, data),) = pieces._own_shards(i, array)
    assert start == (0,) and data.devices() == {jax.devices()[i % 8]}


def test_a_part_of_an_array_is_read_alone(tmp_path, monkeypatch):
  """One process of several needs few of the shards; here, a sharding that only pretends to."""
  read = []
  monkeypatch.setattr(pieces, "_CHUNK_BYTES", 64)
  orbax_io.save(tmp_path, 1, {"w": np.arange(64, dtype=np.float32)})
  state = tmp_path / "checkpoint_1" / "state"
  entry = manifest.ArrayEntry((64,), "float32")
  store = pieces.ts.open(pieces.spec(state, "w"), open=True, read=True).result()
  assert store.chunk_layout.read_chunk.shape == (16,) and entry.shape == store.shape
  reads = pieces._Reads(store, sharding("data", shape=(4, 2)))
  read += [np.asarray(part.result()) for part in reads._parts.values()]
  assert reads.num_bytes == 256 and [part.shape for part in read] == [(16,)] * 4


@hypothesis.given(
  st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), max_size=3), st.integers(4, 2000)
)
def test_chunks_never_cross_a_shard_and_are_about_as_large_as_told(axes, limit):
  shard = [size for size, _ in axes]
  shape = [size * count for size, count in axes]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pieces, "_CHUNK_BYTES", limit)
    chunk = pieces.chunk_shape(shape, shard, 4)
  assert len(chunk) == len(shape) and all(size >= 1 for size in chunk)
  for part, size, whole in zip(chunk, shard, shape, strict=True):
    assert part <= max(size, 1) and (size == whole or size % part == 0)
  assert sum(part < size for part, size in zip(chunk, shard, strict=True)) <= 1
  if max(shard, default=1) * limit >= 4 * math.prod(shard) + limit:  # one axis is long enough
    assert math.prod(chunk) * 4 <= 2 * limit
