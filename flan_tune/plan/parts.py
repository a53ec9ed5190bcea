"""The tasks of a run and their groups: shares, rows, and the sizes of sampled examples."""

import collections
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import cards
from flan_tune import config as config_lib
from flan_tune.data import mixing
from flan_tune.plan import sample


class Size(NamedTuple):
  """Tokens of one side of examples, EOS included, before anything is cut."""

  mean: float
  p95: int
  most: int


class Part(NamedTuple):
  """A task, or a group of tasks.

  Attributes:
    name: Of it.
    tasks: How many.
    present: How many of them have data.
    nominal: Share of the examples if all data were there.
    rate: Share of the examples now.
    counted: Rows by which it weighs, min(cap, size) of each task with data.
    rows: On disk of tasks that the sample met, as the cards say of others.
    passes: How often the run reads each of these rows; None without a sample.
    sampled: Examples of the sample.
    inputs: Sizes of those that are sound.
    targets: Likewise.
    too_long: Side to how many are dropped or cut, as LONG_EXAMPLES says.
    windows: Examples cut out of longer texts.
    faults: Why examples are left out -> how many.
    bare: Few-shot prompts without an exemplar, because none fits.
  """

  name: str
  tasks: int
  present: int
  nominal: float
  rate: float
  counted: int
  rows: int
  passes: float | None = None
  sampled: int = 0
  inputs: Size | None = None
  targets: Size | None = None
  too_long: Mapping[str, int] = {}
  windows: int = 0
  faults: Mapping[str, int] = {}
  bare: int = 0


class Shares:
  """Shares and rows of the tasks of a mixture, with all data and with those that are there."""

  def __init__(self, data: config_lib.Data, nominal: Iterable[mixing.Component], plan: mixing.Plan):
    self._nominal = mixing.task_rates(nominal)
    self._now = plan.task_rates()
    self._components = plan.components
    known = cards.load().tasks
    self._groups = {task: known[task].group for task in (*self._nominal, *self._now)}
    self._sizes = {task: mixing.size_of(known[task], 0) for task in self._now}
    self._counted = _counted(data.mixture, self._sizes)

  @property
  def counted(self) -> int:
    """Rows by which all tasks with data weigh."""
    return sum(self._counted.values())

  def parts(
    self, sampled: sample.Sampled | None = None, drawn: float | None = None
  ) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The mixture by group of cards, and by task with the largest shares first.

    Args:
      sampled: Examples of the plan.
      drawn: Examples that the whole run draws.
    """
    of_task: dict[str, list[sample.Sized]] = collections.defaultdict(list)
    for one in sampled.examples if sampled else ():
      of_task[self._components[one.component].task].append(one)
    groups: dict[str, list[str]] = {}
    for task, group in self._groups.items():
      groups.setdefault(group, []).append(task)

    def part(name: str, members: Sequence[str]) -> Part:
      made = self._bare(name, members, of_task)
      if sampled:
        examples = [one for task in members for one in of_task[task]]
        made = made._replace(**self._described(sampled, examples))
      if drawn and made.rows:
        made = made._replace(passes=drawn * made.rate / made.rows)
      return made

    tasks = [part(task, [task]) for task in self._groups]
    return (
      tuple(part(group, members) for group, members in groups.items()),
      tuple(sorted(tasks, key=lambda one: (-one.rate, -one.nominal, one.name))),
    )

  def _bare(
    self, name: str, members: Sequence[str], of_task: Mapping[str, Sequence[sample.Sized]]
  ) -> Part:
    present = [task for task in members if task in self._now]
    met = {task: max((one.rows for one in of_task[task]), default=0) for task in present}
    return Part(
      name,
      tasks=len(members),
      present=len(present),
      nominal=sum(self._nominal.get(task, 0.0) for task in members),
      rate=sum(self._now[task] for task in present),
      counted=sum(self._counted[task] for task in present),
      rows=sum(met[task] or self._sizes[task] for task in present),
    )

  def _described(self, sampled: sample.Sampled, examples: Sequence[sample.Sized]) -> dict[str, Any]:
    sound = [one for one in examples if not one.fault]
    long = collections.Counter(one.too_long(sampled.lengths) for one in sound)
    few_shot = (one for one in sound if self._components[one.component].setting.startswith("fs"))
    return {
      "sampled": len(examples),
      "inputs": _size([one.inputs for one in sound]),
      "targets": _size([one.targets for one in sound]),
      "too_long": {side.split()[0]: long[side] for side in sample.TOO_LONG if long[side]},
      "windows": sum(one.window for one in sound),
      "faults": dict(collections.Counter(one.fault for one in examples if one.fault)),
      "bare": sum(not one.shots for one in few_shot),
    }


def _counted(name: str, sizes: Mapping[str, int]) -> dict[str, int]:
  """Task with data -> min(cap, size), of the mixture where it counts most."""
  collection = cards.load()
  mixture, _ = collection.mixture(name)
  found: dict[str, int] = {}
  for member, _ in mixture.members:
    if member in collection.mixtures:
      inner = _counted(member, sizes)
    else:
      inner = {member: min(mixture.cap, sizes[member])} if member in sizes else {}
    for task, rows in inner.items():
      found[task] = max(rows, found.get(task, 0))
  return found


def _size(values: list[int]) -> Size | None:
  if not values:
    return None
  return Size(
    statistics.fmean(values), sorted(values)[math.ceil(0.95 * len(values)) - 1], max(values)
  )
