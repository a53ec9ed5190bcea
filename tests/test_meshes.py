"""Meshes from one line, over one slice of devices or several; sentences for what does not fit."""

import dataclasses

import jax
import numpy as np
import pytest

from flan_tune import errors, partition


@dataclasses.dataclass(frozen=True)
class Device:
  """What placement asks of a device; `slice_index` is None on platforms without slices."""

  id: int
  slice_index: int | None
  process_index: int
  platform: str = "cpu"
  device_kind: str = "cpu"


def _devices(slices, *, count: int = 8) -> list[Device]:
  """Devices in turn of these slices, which are one process each."""
  return [Device(n, slices[n % len(slices)], n % len(slices)) for n in range(count)]


def _sizes(text: str, count: int = 8) -> tuple[int, ...]:
  return tuple(partition.make_mesh(text, jax.devices()[:count]).shape.values())


@pytest.mark.parametrize(
  ("text", "sizes"),
  [
    ("data=-1", (8, 1, 1)),
    ("data=2,fsdp=2,model=2", (2, 2, 2)),
    (" fsdp = 4 , model=-1", (1, 4, 2)),
    ("model=8", (1, 1, 8)),
  ],
)
def test_a_mesh_is_one_line(text, sizes):
  assert _sizes(text) == sizes


def test_one_device_is_the_mesh_of_ones():
  assert _sizes("data=-1", 1) == _sizes("", 1) == (1, 1, 1)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("data=3", "MESH = 'data=3': .* must multiply to the 8 devices .* -1"),
    ("data=-1,fsdp=-1", "must multiply to the 8 devices"),
    ("data=-1,fsdp=3", "must multiply to the 8 devices"),
    ("date=8", "'date' unknown.*did you mean 'data'"),
    ("data=two", "size 'two' of data"),
    ("data", "size '' of data"),
    ("data=0", "size '0' of data"),
    ("data=2,data=4", "data is named twice"),
  ],
)
def test_a_wrong_mesh_is_one_sentence(text, message):
  with pytest.raises(errors.UserError, match=message):
    partition.make_mesh(text, jax.devices())


@pytest.mark.parametrize(
  ("text", "dcn", "sizes"),
  [
    ("data=2,model=2", "data=2", (4, 1, 2)),
    ("fsdp=-1,model=2", "data=-1", (2, 2, 2)),
    ("model=4", "fsdp=2", (1, 2, 4)),
    ("fsdp=4", "fsdp=2", (1, 8, 1)),
  ],
)
@pytest.mark.parametrize("known", [True, False])
def test_only_the_axis_between_slices_leaves_a_slice(text, dcn, sizes, known):
  """Whatever order the devices come in, and where processes stand for unknown slices."""
  devices = _devices([7, 3] if known else [None, None])
  mesh = partition.make_mesh(text, devices, dcn=dcn)
  assert tuple(mesh.shape.values()) == sizes
  place = partition.AXES.index(dcn.partition("=")[0])
  slices = np.vectorize(lambda device: device.process_index)(mesh.devices)
  halves = np.split(slices, 2, axis=place)
  assert [len(set(half.ravel())) for half in halves] == [1, 1]
  assert len(set(mesh.devices.ravel())) == 8


def test_slices_of_real_devices_compute_the_same():
  """Eight processor devices, told to be two slices."""
  mesh = partition.make_mesh("fsdp=2,model=2", dcn="data=2", slice_of=lambda one: one.id % 2)
  assert [one.id % 2 for one in mesh.devices.ravel()] == [0] * 4 + [1] * 4
  rows = jax.device_put(np.arange(8.0), jax.sharding.NamedSharding(mesh, partition.BATCH))
  assert float(jax.numpy.sum(rows)) == 28.0


@pytest.mark.parametrize(
  ("text", "dcn", "slices", "message"),
  [
    ("data=4", "data=3", [0, 1], "DCN_MESH = 'data=3': .* multiply to the 2 slices"),
    ("data=8", "data=2", [0, 1], "MESH = 'data=8': .* the 4 devices of a slice"),
    ("data=4", "slices=2", [0, 1], "DCN_MESH = 'slices=2': 'slices' unknown"),
    ("data=4", "data=2", [0, 0, 1], "slice 0 has 6, slice 1 has 2"),
    ("data=4", "data=2", [0], "the 1 slices"),
  ],
)
def test_slices_that_do_not_fit_are_one_sentence(text, dcn, slices, message):
  with pytest.raises(errors.UserError, match=message):
    partition.make_mesh(text, _devices(slices), dcn=dcn)
