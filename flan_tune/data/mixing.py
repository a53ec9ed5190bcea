"""What a mixture is made of once its data are looked for: components with rates.

A missing data set never kills a mixture: it is named with how to get it, and its rate goes to
the others in proportion.  Planning looks for files and opens none, so 1,836 tasks start at once.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import cards, contamination, errors, sources


class Component(NamedTuple):
  """One stream of a mixture: a task in one setting, with its share of the examples."""

  task: str
  setting: str
  inverted: bool
  rate: float

  @property
  def kind(self) -> str:
    """As in `Example.kind`."""
    return self.setting + ("_inverted" if self.inverted else "")


class Missing(NamedTuple):
  """A task whose data are not there."""

  task: str
  path: str
  how: str


@dataclasses.dataclass(frozen=True)
class Plan:
  """The effective mixture: rates sum to 1 over the components that have data.

  Attributes:
    stand_ins: Task to what is read instead of its training split, where that is not on disk.
  """

  mixture: str
  components: tuple[Component, ...]
  missing: tuple[Missing, ...]
  stand_ins: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def task_rates(self) -> dict[str, float]:
    """Task to its share of the examples."""
    return task_rates(self.components)


def task_rates(components: Iterable[Component]) -> dict[str, float]:
  """Task to its share of the examples, over all its settings."""
  rates: dict[str, float] = {}
  for one in components:
    rates[one.task] = rates.get(one.task, 0.0) + one.rate
  return rates


def data_root() -> pathlib.Path | None:
  """$FLAN_TUNE_DATA, the folder of data sets in their upstream layouts.

  Raises:
    UserError: It names a folder that does not exist.
  """
  named = os.environ.get("FLAN_TUNE_DATA", "")
  if not named:
    return None
  if not pathlib.Path(named).is_dir():
    raise errors.UserError(f"FLAN_TUNE_DATA: {named!r} is not a folder")
  return pathlib.Path(named)


def by_variable(text: str) -> str:
  """`text` with the data folder by its variable: its place on one machine helps no reader."""
  root = data_root()
  return text.replace(str(root), "$FLAN_TUNE_DATA") if root is not None else text


@functools.lru_cache(maxsize=4096)
def open_rows(card: cards.TaskCard, split: str) -> sources.Source:
  """The rows of one of our splits, under $FLAN_TUNE_DATA where they are files."""
  return sources.open_split(card.source, _native(card, split), data_root(), where=card.file)


def locate(card: cards.TaskCard, split: str = "train") -> str:
  """Looks for the data of one of our splits; opens nothing.

  Returns:
    "", or which other split stands in for it.

  Raises:
    MissingData: They are not there.
  """
  return getattr(find(card, split), "stand_in", "")


def find(card: cards.TaskCard, split: str = "train") -> Any:
  """What the card's source finds of one of our splits (`sources.find_split`); as `locate`."""
  return sources.find_split(card.source, _native(card, split), data_root(), where=card.file)


def _native(card: cards.TaskCard, split: str) -> str:
  if split not in card.splits:
    raise errors.unknown(split, card.splits, where=f"{card.file}: splits")
  return card.splits[split]


def nominal(name: str, *, without: Sequence[str] = ()) -> tuple[Component, ...]:
  """What a mixture is made of when all its data are there; errors as `plan`, opens nothing.

  A task weighs min(cap, size) with the size that its card gives, and the cap without one.
  """
  collection = cards.load()
  out = left_out(without, collection)
  weights = _weights(collection, name, out, lambda card: True, sized=_cards_size)
  return _normalised(weights, name, without)


def plan(
  name: str,
  *,
  without: Sequence[str] = (),
  strict: bool = False,
  split: str = "train",
  allow_benchmarks: bool = False,
) -> Plan:
  """Looks for the data of a mixture and works out the rate of every component.

  Within a mixture of tasks a task weighs min(cap, rows); settings and inverted twins share it
  (Chung et al. 2022, Table 23; FLAN: flan/v2/mixtures.py).  The share of what is missing goes to
  the rest of its mixture, or to the other mixtures when nothing of it is there.

  Args:
    name: A mixture, a task, or either with a setting's suffix.
    without: Tasks, mixtures and groups to leave out.
    strict: Missing data, and splits that stand in for others, stop the run, all listed at once.
    allow_benchmarks: Let tasks in that belong to held-out benchmarks (see `contamination`).

  Raises:
    UserError: Unknown name, nothing left, a benchmark among the tasks, or data missing under
      `strict`.
  """
  collection = cards.load()
  out = left_out(without, collection)
  suspects: dict[str, str] = {}
  missing: dict[str, Missing] = {}
  stand_ins: dict[str, str] = {}

  @functools.cache
  def present(card: cards.TaskCard) -> bool:
    why = contamination.suspect(card)
    if why:
      suspects[card.name] = why
    found = look(card, split)
    if isinstance(found, Missing):
      missing[card.name] = found
    elif found:
      stand_ins[card.name] = found
    return not isinstance(found, Missing)

  weights = _weights(collection, name, out, present, sized=size_of)
  if suspects and not allow_benchmarks:
    raise errors.UserError(
      f"{name}: {len(suspects)} tasks are of benchmarks: {_listed(suspects)}; leave them out with"
      " WITHOUT, or set ALLOW_BENCHMARKS = True"
    )
  if missing and (strict or not weights):
    absent = {one.task: f"{one.path}: {one.how}" for one in missing.values()}
    raise errors.UserError(f"{name}: {len(missing)} data sets are missing: {_listed(absent)}")
  if stand_ins and strict:
    told = f"{len(stand_ins)} training splits are missing: {_listed(stand_ins)}"
    raise errors.UserError(f"{name}: {told}")
  return Plan(name, _normalised(weights, name, without), tuple(missing.values()), stand_ins)


def look(card: cards.TaskCard, split: str = "train") -> Missing | str:
  """What is missing, or as `locate`.  A damaged folder is no reason to stop the other tasks."""
  try:
    return locate(card, split)
  except sources.MissingData as error:
    return Missing(card.name, error.path, error.how)
  except errors.UserError as error:
    return Missing(card.name, "", f"cannot be used: {error}")


def _listed(why: Mapping[str, str]) -> str:
  return "; ".join(f"{task} ({told})" for task, told in why.items())


def left_out(without: Sequence[str], collection: cards.Collection) -> frozenset[str]:
  """The tasks that `without` names: tasks, all of a mixture's, all of a group's.

  Raises:
    UserError: No task, mixture or group of that name.
  """
  found: set[str] = set()
  for one in without:
    errors.one_of(one, [*collection.names(), *cards.GROUPS], "without")
    if one in cards.GROUPS:
      found |= {card.name for card in collection.tasks.values() if card.group == one}
    else:
      found |= {card.name for card in collection.members(one)}
  return frozenset(found)


def _cards_size(card: cards.TaskCard, cap: int) -> int:
  return cap if card.size is None else card.size


def size_of(card: cards.TaskCard, cap: int) -> int:
  """The card's size; only a card without one has its rows counted, which opens them."""
  if card.size is not None:
    return card.size
  try:
    return len(open_rows(card, "train"))
  except errors.UserError:
    return cap  # what is wrong is told where the task is opened


_Weighted = list[tuple[Component, float]]
_Present = Callable[[cards.TaskCard], bool]
_Sized = Callable[[cards.TaskCard, int], int]


def _normalised(weights: _Weighted, name: str, without: Sequence[str]) -> tuple[Component, ...]:
  """Rates that sum to 1.  What several members share is one component: two would draw alike."""
  if not weights:
    why = f" after leaving out {', '.join(without)}" if without else " that has this setting"
    raise errors.UserError(f"{name}: no task is left{why}")
  total = sum(weight for _, weight in weights)
  rates: dict[Component, float] = {}
  for one, weight in weights:
    rates[one] = rates.get(one, 0.0) + weight / total
  return tuple(one._replace(rate=rate) for one, rate in rates.items())


def _weights(
  collection: cards.Collection,
  name: str,
  out: frozenset[str],
  present: _Present,
  *,
  sized: _Sized,
) -> _Weighted:
  """Components with weights that sum to 1, or nothing at all when no data are there."""
  mixture, suffix = collection.mixture(name)
  found: _Weighted = []
  for member, rate in mixture.members:
    if member in collection.mixtures:
      inner = f"{member}_{suffix}" if suffix else member
      weights = _weights(collection, inner, out, present, sized=sized)
      found += [(one, weight * (1.0 if rate is None else rate)) for one, weight in weights]
      continue
    card = collection.tasks[member]
    if member not in out and present(card):
      settings = {suffix: 1.0} if suffix else mixture.settings
      weight = min(mixture.cap, sized(card, mixture.cap)) if rate is None else rate
      found += _task_weights(card, mixture, settings, weight)
  total = sum(weight for _, weight in found)
  return [(one, weight / total) for one, weight in found] if total else []


def _task_weights(
  card: cards.TaskCard, mixture: cards.Mixture, settings: Mapping[str, float], weight: float
) -> _Weighted:
  usable = {key: value for key, value in settings.items() if value and key in card.settings}
  if not usable:
    return []
  shares = [(key, False, value / sum(usable.values())) for key, value in usable.items()]
  zero_shot = {key: value for key, value in usable.items() if key.startswith("zs")}
  if mixture.inverted and zero_shot and cards.family(card.templates).inverted:
    each = mixture.inverted / sum(zero_shot.values())
    shares += [(key, True, value * each) for key, value in zero_shot.items()]
  total = sum(share for _, _, share in shares)
  return [
    (Component(card.name, setting, inverted, 0.0), weight * share / total)
    for setting, inverted, share in shares
  ]
