"""The ways to lay a run over devices: meshes that divide it, and what to change where none fits."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from flan_tune import assembly, errors, partition
from flan_tune import config as config_lib
from flan_tune.plan import request, step

REMATS = ("none", "dots", "full")  # from the most memory to the least


class Layout(NamedTuple):
  """A mesh, in how many parts a batch is worked off, and what layers compute again."""

  mesh: str
  microbatches: int
  remat: str

  def of(self, run: config_lib.Run) -> config_lib.Run:
    """The run laid out so, its layers scanned."""
    return request.with_settings(run, **self._asdict())

  def sizes(self, devices: int) -> dict[str, int]:
    """Size of each axis."""
    return partition.sizes_of(self.mesh, devices)


class Subject(NamedTuple):
  """What is laid out: a run with its layers scanned, its network and state as shapes.

  Attributes:
    run: Its MESH, MICROBATCHES and REMAT are a layout of their own.
    devices: How many.
    parts: Of the run, as `step.parts` makes them.
  """

  run: config_lib.Run
  devices: int
  parts: step.Parts

  def mesh(self, layout: Layout) -> Any:
    """The layout's mesh, of devices that are not there."""
    sizes = layout.sizes(self.devices)
    auto = (jax.sharding.AxisType.Auto,) * len(sizes)
    return jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=auto)

  def checked(self, sizes: dict[str, int]) -> Layout:
    """The run on a mesh; raises UserError unless it divides the batch and all dimensions."""
    run = self.run
    layout = Layout(named(sizes), run.train.microbatches, run.model.remat)
    assembly.check_mesh(run, self.parts.network, self.mesh(layout))
    return layout


def subject(run: config_lib.Run, devices: int) -> Subject:
  """The run, ready to be laid out."""
  scanned = Layout(run.train.mesh, run.train.microbatches, run.model.remat).of(run)
  return Subject(scanned, devices, step.parts(scanned))


def configured(subject: Subject, dcn_mesh: str | None) -> Layout:
  """What the configuration asks for, its slices put together into one mesh.

  Raises:
    UserError: It does not fit the devices, the batch or a dimension.
  """
  text, devices = subject.run.train.mesh, subject.devices
  if dcn_mesh is None:
    return subject.checked(partition.sizes_of(text, devices))
  count = math.prod(int(n) for n in re.findall(r"=\s*(-?\d+)", dcn_mesh))
  if count < 1:
    raise errors.UserError(
      f"DCN_MESH = {dcn_mesh!r}: a plan does not know how many slices -1 stands for; write the"
      " number"
    )
  slices = partition.sizes_of(dcn_mesh, count, where="DCN_MESH", things="slices")
  if devices % count:
    raise errors.UserError(f"DCN_MESH = {dcn_mesh!r}: {devices} devices are not {count} slices")
  inner = partition.sizes_of(text, devices // count, things="devices of a slice")
  return subject.checked({axis: inner[axis] * slices[axis] for axis in inner})


def given(subject: Subject, mesh: str) -> Layout:
  """The run on a mesh of the user's; errors as `configured`."""
  return subject.checked(partition.sizes_of(mesh, subject.devices))


def all_of(subject: Subject) -> Iterator[Layout]:
  """Every mesh of so many devices that divides batch and dimensions, else as configured."""
  devices = subject.devices
  divisors = [n for n in range(1, devices + 1) if devices % n == 0]
  for data, fsdp in itertools.product(divisors, divisors):
    if devices % (data * fsdp):
      continue
    try:
      yield subject.checked({"data": data, "fsdp": fsdp, "model": devices // data // fsdp})
    except errors.UserError:
      continue


def smaller(subject: Subject, layout: Layout) -> Iterator[Layout]:
  """The same mesh with less and less memory for activations, after what is configured."""
  sizes = layout.sizes(subject.devices)
  rows = subject.run.data.batch_size // sizes["data"] // sizes["fsdp"]
  remats = REMATS[REMATS.index(layout.remat) :]
  parts = [n for n in range(layout.microbatches, rows + 1) if rows % n == 0]
  # Computing again costs a third; smaller matrices may cost more.
  for microbatches, remat in itertools.product(parts, remats):
    if (microbatches, remat) != (layout.microbatches, layout.remat):
      yield layout._replace(microbatches=microbatches, remat=remat)


def named(sizes: dict[str, int]) -> str:
  """A mesh as MESH takes it."""
  return ",".join(f"{axis}={size}" for axis, size in sizes.items())
