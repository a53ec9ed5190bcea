"""All benchmarks of the search path, and the names by which they are asked for.

`tasks/benchmarks/*.yaml` hold cards; `suites.yaml` among them holds lists of names such as
`flan_eval`.  A user's card, in a folder of FLAN_TUNE_PATH, shadows ours.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flan_tune import assets, checked, documents, errors
from flan_tune.benchmarks import card
from flan_tune.benchmarks.card import SETTINGS, Benchmark

_log = logging.getLogger(__name__)

EVERYTHING = "everything"
LISTS = "suites.yaml"


class Suite(NamedTuple):
  """Benchmarks that are averaged.

  Attributes:
    tasks: Names of its benchmarks.
    settings: Those that any of them has.
    default: Those that the suite's name alone stands for.
  """

  name: str
  tasks: tuple[str, ...]
  settings: tuple[str, ...]
  default: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Library:
  """Benchmarks by name.

  Attributes:
    lists: Names that stand for others, such as `flan_eval`.
  """

  tasks: Mapping[str, Benchmark]
  suites: Mapping[str, Suite]
  lists: Mapping[str, tuple[str, ...]]

  def names(self) -> list[str]:
    """All that `select` knows, the shorter names first."""
    suites = [f"{one.name}_{s}" for one in self.suites.values() for s in one.settings]
    tasks = [f"{one.name}_{s}" for one in self.tasks.values() for s in one.settings]
    return [EVERYTHING, *self.lists, *self.suites, *suites, *self.tasks, *tasks]

  def select(self, names: Sequence[str] | str) -> list[tuple[Benchmark, str]]:
    """Tasks with settings, in the order named and each once.

    Args:
      names: Lists, suites and tasks; `bbh` and `bbh_snarks` stand for their usual settings,
        `bbh_cot` and `bbh_snarks_cot_zs` for one.

    Raises:
      UserError: One is unknown, or lacks the setting named.
    """
    wanted = [names] if isinstance(names, str) else names
    pairs = [pair for name in wanted for pair in self._meant(name)]
    return [(self.tasks[task], setting) for task, setting in dict.fromkeys(pairs)]

  def _meant(self, name: str) -> Iterable[tuple[str, str]]:
    if name == EVERYTHING:
      return [pair for suite in self.suites for pair in self._meant(suite)]
    if name in self.lists:
      return [pair for member in self.lists[name] for pair in self._meant(member)]
    if name in self.suites or name in self.tasks:
      return [(task, s) for s in SETTINGS for task in self._tasks(name) if s in self._usual(task)]
    stem, setting = self._split(name)
    found = [(t, setting) for t in self._tasks(stem) if setting in self.tasks[t].settings]
    if not found:
      known = [s for s in SETTINGS if any(s in self.tasks[t].settings for t in self._tasks(stem))]
      raise errors.UserError(
        f"benchmark {name!r}: {stem!r} has no setting {setting!r}; it has {', '.join(known)}"
      )
    return found

  def _usual(self, task: str) -> tuple[str, ...]:
    return self.tasks[task].default

  def _tasks(self, name: str) -> tuple[str, ...]:
    return self.suites[name].tasks if name in self.suites else (name,)

  def _split(self, name: str) -> tuple[str, str]:
    """A name as suite or task, and setting."""
    for setting in SETTINGS:
      stem = name.removesuffix(f"_{setting}")
      if stem != name and (stem in self.suites or stem in self.tasks):
        return stem, setting
    raise errors.unknown(name, self.names(), where="benchmark")


@functools.cache
def load() -> Library:
  """Reads all benchmark cards on the search path; opens no data.

  Raises:
    UserError: A card is wrong, or two things share a name.
  """
  tasks: dict[str, Benchmark] = {}
  lists: dict[str, tuple[str, ...]] = {}
  for folder in (one / "benchmarks" for one in assets.search_path("tasks")):
    found = _read_folder(folder)
    for name in found.keys() & tasks.keys():
      _log.warning("%s shadows the benchmark of %s", tasks[name].file, found[name].file)
    tasks = found | tasks
    if (folder / LISTS).is_file():
      lists = _read_lists(folder / LISTS) | lists
  library = Library(dict(sorted(tasks.items())), _suites(tasks.values()), lists)
  _check_names(library)
  return library


def _read_folder(folder: pathlib.Path) -> dict[str, Benchmark]:
  found: dict[str, Benchmark] = {}
  for path in sorted(folder.glob("*.yaml")):
    if path.name == LISTS:
      continue
    for one in card.read(path):
      if one.name in found:
        taken = found[one.name].file
        raise errors.UserError(f"{documents.shown(path)}: name: {one.name!r} is taken by {taken}")
      found[one.name] = one
  return found


def _read_lists(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
  where = documents.shown(path)
  found = checked.mapping(documents.read(path), where, of="names to lists of names")
  return {name: checked.texts(value, f"{where}: {name}") for name, value in found.items()}


def _suites(tasks: Iterable[Benchmark]) -> dict[str, Suite]:
  members: dict[str, list[Benchmark]] = {}
  for task in sorted(tasks, key=lambda one: (one.suite, one.name)):
    members.setdefault(task.suite, []).append(task)
  return {name: _suite(name, its) for name, its in members.items()}


def _suite(name: str, tasks: Sequence[Benchmark]) -> Suite:
  settings = tuple(s for s in SETTINGS if any(s in task.settings for task in tasks))
  default = tuple(s for s in SETTINGS if any(s in task.default for task in tasks))
  return Suite(name, tuple(task.name for task in tasks), settings, default)


def _check_names(library: Library) -> None:
  """Every name means one thing, and what lists name is there."""
  seen: set[str] = set()
  for name in library.names():
    if name in seen:
      raise errors.UserError(f"benchmarks: {name!r} stands for two of lists, suites and tasks")
    seen.add(name)
  allowed = seen - library.lists.keys() - {EVERYTHING}
  for name, members in library.lists.items():
    for member in members:
      checked.one_of(member, f"benchmarks/{LISTS}: {name}", allowed=allowed)
