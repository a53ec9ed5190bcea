"""Meshes from one line of configuration, over one slice of devices or several."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import devices as all_devices
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from flan_tune import errors

AXES: tuple[str, ...] = ("data", "fsdp", "model")


def sizes_of(
  text: str, count: int, *, where: str = "MESH", things: str = "devices"
) -> dict[str, int]:
  """Size of each axis in `data=2,fsdp=-1`; axes left out are 1, one may be -1 for the rest.

  Args:
    text: The line.
    count: What the sizes multiply to.
    where: The line's name, for messages.
    things: What is counted, for messages.

  Raises:
    UserError: Unknown axis, one named twice, or sizes that do not multiply to `count`.
  """
  where = f"{where} = {text!r}"
  found: dict[str, int] = {}
  for part in filter(None, (piece.strip() for piece in text.split(","))):
    name, _, size = (piece.strip() for piece in part.partition("="))
    errors.one_of(name, AXES, where)
    if name in found:
      raise errors.UserError(f"{where}: {name} is named twice; give each axis one size")
    if not re.fullmatch(r"-1|[1-9]\d*", size):
      raise errors.UserError(f"{where}: size {size!r} of {name}: expected n or -1")
    found[name] = int(size)
  sizes = dict.fromkeys(AXES, 1) | found
  rest = [name for name, size in sizes.items() if size == -1]
  known = math.prod(size for size in sizes.values() if size > 0)
  if len(rest) == 1 and count % known == 0:
    sizes[rest[0]] = count // known
  if len(rest) > 1 or math.prod(sizes.values()) != count:
    raise errors.UserError(
      f"{where}: the sizes must multiply to the {count} {things} at hand; write one axis as -1 to"
      " give it what the others leave"
    )
  return sizes


def slice_of(device: Any) -> int:
  """The slice that a device belongs to; its process where the platform knows no slices."""
  number = getattr(device, "slice_index", None)
  return device.process_index if number is None else number


def make_mesh(
  text: str,
  devices: Sequence[Any] | None = None,
  *,
  dcn: str | None = None,
  slice_of: Callable[[Any], int] = slice_of,
) -> Mesh:
  """A mesh from `data=2,fsdp=2,model=2`; axes left out are 1, one may be -1 for the rest.

  Several slices are joined by a network that is far slower than the links within each: with `dcn`
  an axis of the whole mesh is so many slices times what `text` says of one, its neighbours within
  a slice next to each other.

  Args:
    text: Of all devices; with `dcn`, of those of one slice.
    devices: All of JAX's by default.
    dcn: How many slices along which axis, as in `data=2`; -1 for the rest here, too.
    slice_of: Says which slice a device belongs to.

  Raises:
    UserError: Unknown axis, or sizes that do not multiply to the number of devices or slices.
  """
  devices = list(all_devices() if devices is None else devices)
  if dcn is None:
    sizes = sizes_of(text, len(devices))
    return _mesh(_arrange(sizes, devices, near=len(set(map(slice_of, devices))) == 1))
  slices: dict[int, list[Any]] = {}
  for device in devices:
    slices.setdefault(slice_of(device), []).append(device)
  counts = {len(slices[number]) for number in slices}
  if len(counts) > 1:
    told = ", ".join(f"slice {number} has {len(slices[number])}" for number in sorted(slices))
    raise errors.UserError(
      f"DCN_MESH = {dcn!r}: needs slices of equally many devices, and {told}; leave out what is too"
      " many, or DCN_MESH"
    )
  outer = sizes_of(dcn, len(slices), where="DCN_MESH", things="slices")
  inner = sizes_of(text, counts.pop(), things="devices of a slice")
  grids = [_arrange(inner, slices[number], near=True) for number in sorted(slices)]
  # D F M d f m: the slice's place along each axis before the device's within the slice.
  grid = np.stack(grids).reshape(*outer.values(), *inner.values())
  whole = [outer[axis] * inner[axis] for axis in AXES]
  return _mesh(grid.transpose(0, 3, 1, 4, 2, 5).reshape(whole))


def _arrange(sizes: dict[str, int], devices: Sequence[Any], *, near: bool) -> np.ndarray:
  """The devices as an array of these sizes; `near`: all are of one slice."""
  shape = tuple(sizes[axis] for axis in AXES)
  if not near:  # in JAX's order processes follow each other, so the first axes lie across them
    return np.asarray(devices).reshape(shape)
  # Looks up which chips of a TPU are neighbours; elsewhere it keeps the order.
  return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)


def _mesh(grid: np.ndarray) -> Mesh:
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
