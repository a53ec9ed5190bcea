"""What devices send each other in a compiled step, read from the text of its HLO.

The text is XLA's: computations in braces, of which loops (`while`) name a body and how often it
runs, fusions and calls name a computation, and collectives say who exchanges with whom.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flan_tune.plan.computation import Collective

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_OPENING = re.compile(r"(ENTRY )?%?(\S+) \(.*\{$")
_NAME = re.compile(r"\s*(?:ROOT )?%?(\S+) = ")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_COLLECTIVE = re.compile(rf" ({'|'.join(KINDS)})(?:-start)?\(")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations=\{)=?%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


class _Exchange(NamedTuple):
  """One collective instruction: what it is, along which axes, bytes sent each time."""

  kind: str
  axes: str
  bytes: float


def read(text: str, mesh: Mapping[str, int]) -> tuple[Collective, ...]:
  """The collectives of a step, the largest first.

  An all-reduce of which each device goes on with its own slice counts as the reduce-scatter that
  the compilers of TPUs and GPUs make of it, where that of CPUs does not.

  Args:
    text: `compiled.as_text()`, of all devices in the mesh's order.
    mesh: Size of each axis.
  """
  computations = dict(_computations(text))
  turns = _turns(computations)
  found: dict[tuple[str, str], list[float]] = {}
  for name, lines in computations.items():
    for line in lines if turns.get(name) else ():
      for one in _exchanges(line, lines, computations, mesh):
        sums = found.setdefault((one.kind, one.axes), [0, 0.0])
        sums[0] += turns[name]
        sums[1] += turns[name] * one.bytes
  rows = [Collective(*key, int(count), int(size)) for key, (count, size) in found.items()]
  return tuple(sorted((row for row in rows if row.bytes), key=lambda row: -row.bytes))


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
  """Name and instructions of each; that of the program is named ENTRY."""
  name, lines = "", []
  for line in text.splitlines():
    if not line.startswith((" ", "}")) and (opening := _OPENING.match(line)):
      name, lines = "ENTRY" if opening[1] else opening[2], []
    elif line.startswith("}") and name:
      yield name, lines
    else:
      lines.append(line)


def _turns(computations: Mapping[str, Sequence[str]]) -> dict[str, int]:
  """How often each computation runs in a step; a loop without a known count runs once."""
  turns: dict[str, int] = {}

  def visit(name: str, times: int) -> None:
    turns[name] = turns.get(name, 0) + times
    for line in computations[name]:
      trips = _TRIPS.search(line)
      for called in _CALLED.findall(line.partition("metadata=")[0] if not trips else line):
        # What a collective or a reduction applies to each number sends nothing.
        if called in computations and "reduce" not in line.partition("(")[0]:
          visit(called, times * (int(trips[1]) if trips else 1))

  visit("ENTRY", 1)
  return turns


def _exchanges(line, lines, computations, mesh) -> Iterator[_Exchange]:
  """What an instruction sends: nothing, if it is no collective; two kinds, if it is a sum."""
  match = _COLLECTIVE.search(line)
  if match is None:
    return
  kind, result = match[1], line[: match.start()].partition(" = ")[2]
  sizes = [_size(array) for array in _ARRAY.findall(result)]
  if kind == "collective-permute":
    yield _Exchange(kind, _axes_of(_pair(line), mesh), float(sum(sizes)))
    return
  group = _group(line, math.prod(mesh.values()))
  axes = "?" if group is None else _axes_of(group, mesh)
  ways = math.prod(mesh.values()) if group is None else len(group)
  share = (ways - 1) / ways
  if kind == "reduce-scatter":  # its result is a slice of what is sent
    yield _Exchange(kind, axes, share * ways * sum(sizes))
  elif kind != "all-reduce":
    yield _Exchange(kind, axes, share * sum(sizes))
  else:
    sliced = _sliced(line, len(sizes), lines, computations) if ways > 1 else set()
    cut = sum(size for i, size in enumerate(sizes) if i in sliced)
    if cut:
      yield _Exchange("reduce-scatter", axes, share * cut)
    if len(sliced) < len(sizes):
      yield _Exchange(kind, axes, 2 * share * (sum(sizes) - cut))


def _size(array: tuple[str, str]) -> int:
  dtype, dims = array
  return _BYTES.get(dtype, 4) * math.prod(int(dim) for dim in dims.split(",") if dim)


def _sliced(line: str, count: int, lines, computations) -> set[int]:
  """Which of the arrays that an all-reduce gives are only read by what takes a slice of them."""
  users = _users(line, lines)
  if count == 1:
    return {0} if users and all(_slices(user, computations) for user in users) else set()
  found = set()
  for part in users:
    index = re.search(r" get-tuple-element\(.*index=(\d+)", part)
    readers = _users(part, lines)
    if index and readers and all(_slices(reader, computations) for reader in readers):
      found.add(int(index[1]))
  return found


def _users(line: str, lines: Sequence[str]) -> list[str]:
  """The instructions that read the result of one."""
  name = _NAME.match(line)
  if name is None:
    return []
  reads = re.compile(rf"[(, ]%?{re.escape(name[1])}[,)]")
  return [one for one in lines if reads.search(one)]


def _slices(line: str, computations: Mapping[str, Sequence[str]]) -> bool:
  operation = line.partition(" = ")[2]
  called = _CALLED.search(operation) if " fusion(" in operation else None
  if called:
    return any(" dynamic-slice(" in one for one in computations[called[1]])
  return " dynamic-slice(" in operation


def _pair(line: str) -> list[int]:
  """A sender and its receiver that are two."""
  pairs = re.findall(r"\{(\d+),(\d+)\}", line.partition("source_target_pairs=")[2])
  return next(([int(a), int(b)] for a, b in pairs if a != b), [0])


def _group(line: str, num_devices: int) -> list[int] | None:
  """The first group of devices that exchange, in any of the ways in which XLA writes groups."""
  told = line.partition("replica_groups=")[2]
  if explicit := re.match(r"\{\{([\d,]+)\}", told):
    return [int(n) for n in explicit[1].split(",")]
  if told.startswith("{}"):
    return list(range(num_devices))
  if iota := re.match(r"\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", told):
    return _iota(iota[2]).reshape(_numbers(iota[1]))[0].tolist()
  named = re.match(r"mesh\[([^\]]*)\](?:, device_ids=\((\[[^)]*\)?)\))? \{([^}]*)\}", told)
  if not named:
    return None
  sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
  axes = re.findall(r"'(\w+)'", named[3])
  if re.search(r":\(", named[3]) or not set(axes) <= set(sizes):
    return None  # a part of an axis
  places = np.arange(num_devices) if named[2] is None else _iota(named[2])
  grid = places.reshape(list(sizes.values()))
  return grid[tuple(slice(None) if name in axes else 0 for name in sizes)].ravel().tolist()


def _iota(told: str) -> np.ndarray:
  """[4,2]T(1,0): 0 ... 7 as 4 x 2, turned over, flat."""
  shape, _, order = told.partition("T")
  grid = np.arange(math.prod(_numbers(shape))).reshape(_numbers(shape))
  return (grid.transpose(_numbers(order)) if order else grid).ravel()


def _numbers(told: str) -> list[int]:
  return [int(n) for n in re.findall(r"\d+", told)]


def _axes_of(group: Sequence[int], mesh: Mapping[str, int]) -> str:
  """The axes along which places of a group differ."""
  places = np.unravel_index(np.asarray(group), tuple(mesh.values()))
  return "+".join(
    name for name, place in zip(mesh, places, strict=True) if len(set(place.tolist())) > 1
  )
