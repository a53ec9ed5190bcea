"""What a mixture is made of once its data are looked for: components with rates.

A missing data set never kills a mixture: it is named with how to get it, and its rate goes to
the others in proportion.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flan_tune import cards, errors, render, sources


class Component(NamedTuple):
  """One stream of a mixture.  `rows` is the number of rows it draws from."""

  task: str
  setting: str
  inverted: bool
  rate: float
  rows: int

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
  """The effective mixture: rates sum to 1 over the components that have data."""

  mixture: str
  components: tuple[Component, ...]
  missing: tuple[Missing, ...]

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


@functools.lru_cache(maxsize=4096)
def open_rows(card: cards.TaskCard, split: str) -> sources.Source:
  """The rows of one of our splits, under $FLAN_TUNE_DATA where they are files."""
  if split not in card.splits:
    raise errors.unknown(split, card.splits, where=f"{card.file}: splits")
  return sources.open_split(card.source, card.splits[split], data_root(), where=card.file)


def plan(
  name: str, *, without: tuple[str, ...] = (), strict: bool = False, split: str = "train"
) -> Plan:
  """Finds the data of a mixture and works out the rate of every component.

  Within a mixture of tasks a task weighs min(cap, rows); settings and inverted twins share it
  (Chung et al. 2022, Table 23; FLAN: flan/v2/mixtures.py).

  Args:
    name: A mixture, a task, or either with a setting's suffix.
    without: Tasks and mixtures to leave out.
    strict: Missing data stop the run, all of them listed at once.

  Raises:
    UserError: Unknown name, nothing left, or data missing under `strict`.
  """
  collection = cards.load()
  for one in without:
    errors.one_of(one, collection.names(), "without")
  missing: dict[str, Missing] = {}
  weights = _weights(collection, name, frozenset(without), split, missing)
  if missing and (strict or not weights):
    listed = "; ".join(f"{one.task} ({one.path}: {one.how})" for one in missing.values())
    raise errors.UserError(f"{name}: {len(missing)} data sets are missing: {listed}")
  if not weights:
    raise errors.UserError(f"{name}: no task is left after leaving out {', '.join(without)}")
  total = sum(weight for _, weight in weights)
  components = tuple(one._replace(rate=weight / total) for one, weight in weights)
  return Plan(name, components, tuple(missing.values()))


def _weights(
  collection: cards.Collection,
  name: str,
  without: frozenset[str],
  split: str,
  missing: dict[str, Missing],
) -> list[tuple[Component, float]]:
  """Components with weights that sum to 1, or nothing at all when no data are there."""
  mixture, suffix = collection.mixture(name)
  found: list[tuple[Component, float]] = []
  for member, rate in mixture.members:
    if member in without or mixture.name in without:
      continue
    if member in collection.mixtures:
      inner = f"{member}_{suffix}" if suffix else member
      weights = _weights(collection, inner, without, split, missing)
      found += [(one, weight * (1.0 if rate is None else rate)) for one, weight in weights]
    else:
      settings = {suffix: 1.0} if suffix else mixture.settings
      card = collection.tasks[member]
      found += _task_weights(card, mixture, settings, split, missing, rate)
  total = sum(weight for _, weight in found)
  return [(one, weight / total) for one, weight in found] if total else []


def _task_weights(
  card: cards.TaskCard,
  mixture: cards.Mixture,
  settings: Mapping[str, float],
  split: str,
  missing: dict[str, Missing],
  rate: float | None,
) -> list[tuple[Component, float]]:
  try:
    rows = len(open_rows(card, split))
  except sources.MissingData as error:
    missing[card.name] = Missing(card.name, error.path, error.how)
    return []
  weight = float(min(mixture.cap, rows)) if rate is None else rate
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
    (Component(card.name, setting, inverted, 0.0, rows), weight * share / total)
    for setting, inverted, share in shares
  ]


def open_renderer(task: str, **settings) -> render.Renderer:
  """A renderer for a task by name; `settings` as in `render.open_renderer`."""
  return render.open_renderer(cards.load().tasks[task], open_rows=open_rows, **settings)
