"""The folder of checkpoints of one run: which are usable, which are kept, which is best.

    checkpoint_<step>/                     finished, verified against its manifest when it is used
    checkpoint_<step>.tmp-<owner>-*        a save under way, or what a killed one left: put in place
                                           by the next reader if it is complete, else ignored
    checkpoint_<step>.damaged-*            set aside when the same step was saved again
    best.json                              {"step": int, "score": float}

Nothing here knows what a checkpoint holds, and nothing compares times of clocks, which jump.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from flan_tune import errors
from flan_tune.checkpoint import manifest, unfinished

BEST_FILE = "best.json"
BEST = "best"  # stands for a step

_FINISHED = re.compile(r"checkpoint_(\d+)")
# What comparing contents has shown, of manifests by what they are to the file system: comparing
# only names and sizes would then take a damaged checkpoint for a good one.
_DAMAGED: dict[tuple[int, int, int], manifest.Verified] = {}

_log = logging.getLogger(__name__)


class NoCheckpoint(errors.UserError):
  """There is no finished checkpoint at all, damaged or not: a run may start from its beginning."""


class Listing(NamedTuple):
  """Steps of the usable checkpoints, ascending, and what was wrong with the others."""

  steps: list[int]
  problems: list[manifest.Problem]


class Best(NamedTuple):
  """The best score so far and the step that reached it."""

  score: float
  step: int


class Location(NamedTuple):
  """A folder of checkpoints, and a step when a path named one checkpoint of it."""

  folder: pathlib.Path
  step: int | None


def locate(path: str | os.PathLike[str]) -> Location:
  """Where the checkpoints are, given a run's folder, its `checkpoints` folder or one checkpoint."""
  path = pathlib.Path(path)
  if match := _FINISHED.fullmatch(path.name):
    return Location(path.parent, int(match[1]))
  inner = path / "checkpoints"
  return Location(inner if inner.is_dir() else path, None)


def path_of(folder: pathlib.Path, step: int) -> pathlib.Path:
  """The folder of one checkpoint."""
  return folder / f"checkpoint_{step}"


def present(folder: pathlib.Path) -> list[int]:
  """Steps of all finished saves, ascending, whatever state they are in."""
  matches = (_FINISHED.fullmatch(name) for name in unfinished.names(folder))
  # checkpoint_07 is not a name we write: two folders for one step would be ambiguous.
  return sorted(int(m[1]) for m in matches if m and m[0] == f"checkpoint_{int(m[1])}")


def survey(folder: pathlib.Path, *, hashes: bool = False) -> Listing:
  """What is in `folder`; a warning is logged for everything that cannot be used.

  Args:
    hashes: Also compare contents, not only names and sizes.
  """
  good, problems = [], _settle(folder)
  for step in present(folder):
    verified = _verify(path_of(folder, step), hashes=hashes)
    problems += verified.problems
    if verified.manifest is not None:
      good.append(step)
  report(problems)
  return Listing(good, problems)


def steps(folder: pathlib.Path) -> list[int]:
  """Steps of the usable checkpoints, ascending, by names and sizes; see `survey`."""
  return survey(folder).steps


def latest(folder: pathlib.Path, *, hashes: bool = True) -> pathlib.Path | None:
  """The newest usable checkpoint; None when there is none, and nothing damaged either.

  A warning is logged for each newer one that cannot be used.

  Raises:
    UserError: There are checkpoints, and all are damaged: starting over must be a decision.
  """
  report(_settle(folder))
  if not present(folder):
    return None
  return newest(folder, among=present(folder), hashes=hashes).path


class Usable(NamedTuple):
  """A checkpoint, its manifest, and what was wrong with it and those passed over for it."""

  path: pathlib.Path
  step: int
  contents: manifest.Manifest
  problems: list[manifest.Problem]


def newest(
  folder: pathlib.Path, *, among: Iterable[int] | None = None, hashes: bool = True
) -> Usable:
  """The newest usable checkpoint among the given steps, or of all; logs what is wrong with others.

  Raises:
    NoCheckpoint: There is none at all.
    UserError: All are damaged.
  """
  problems = []
  if among is None:
    problems = _settle(folder)
  candidates = present(folder) if among is None else sorted(among)
  if not candidates:
    report(problems)
    raise NoCheckpoint(f"{folder}: there is no finished checkpoint in this folder")
  for step in reversed(candidates):
    path = path_of(folder, step)
    verified = _verify(path, hashes=hashes)
    problems += verified.problems
    if verified.manifest is not None:
      report(problems)
      return Usable(path, step, verified.manifest, problems)
  report(problems)
  first = next(p for p in problems if p.fatal and p.folder == path_of(folder, candidates[-1]))
  others = f" (nor any of the {len(candidates) - 1} older ones)" if len(candidates) > 1 else ""
  raise errors.UserError(f"this checkpoint cannot be used{others}: {first}")


def _verify(path: pathlib.Path, *, hashes: bool = False) -> manifest.Verified:
  """As `manifest.verify`; without `hashes`, what they have shown before still counts."""
  try:
    found = (path / manifest.FILE_NAME).stat()
  except OSError:
    return manifest.verify(path, hashes=hashes)
  # With the time: the number of a file that was removed is given to another.
  identity = found.st_dev, found.st_ino, found.st_mtime_ns
  if not hashes:
    return _DAMAGED.get(identity) or manifest.verify(path, hashes=False)
  verified = manifest.verify(path, hashes=True)
  if verified.manifest is None:
    _DAMAGED[identity] = verified
  else:
    _DAMAGED.pop(identity, None)
  return verified


def find(path: str | os.PathLike[str], step: int | str | None, *, hashes: bool = True) -> Usable:
  """The checkpoint asked for, or the newest usable one, with its verified manifest.

  Args:
    path: As `locate` takes it.
    step: None for the one that `path` names, or the newest; "best" for the one with the best score.

  Raises:
    NoCheckpoint: There is none.
    UserError: It is not there, or cannot be used.
  """
  folder, named = locate(path)
  folder = folder.absolute()
  step = named if step is None else _numbered(folder, step)
  if step is None:
    return newest(folder, hashes=hashes)
  report(_settle(folder))
  there = present(folder)
  if there and step not in there:
    shown = ", ".join(str(s) for s in there[-8:])
    raise errors.UserError(f"{folder}: there is no checkpoint of step {step}; there are {shown}")
  return newest(folder, among=[step] if there else [], hashes=hashes)


def _numbered(folder: pathlib.Path, step: int | str) -> int:
  if isinstance(step, int):
    return step
  if step != BEST:
    raise errors.UserError(f"step: {step!r} is neither a number nor {BEST!r}")
  marked = best(folder)
  if marked is None:
    raise errors.UserError(f"{folder}: no checkpoint in it was scored, so none is the best")
  return marked.step


def report(problems: list[manifest.Problem]) -> None:
  """Logs each problem as a warning."""
  for problem in problems:
    _log.warning("%s%s", "checkpoint skipped: " if problem.fatal else "", problem)


def begin(folder: pathlib.Path, step: int) -> pathlib.Path:
  """A new temporary folder to write checkpoint `step` into; leftovers of dead saves are removed.

  These are temporary folders of processes that have ended; nothing else is ever removed.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for problem in _settle(folder):
    _log.warning("removing what an interrupted save left: %s", problem.folder)
    unfinished.remove(problem.folder)
  return unfinished.make(folder, step)


def commit(temporary: pathlib.Path, folder: pathlib.Path, step: int) -> pathlib.Path:
  """Turns a complete temporary folder into checkpoint `step` by one rename.

  A checkpoint already there gives way: removed if it was usable, set aside if it was damaged.
  """
  target = path_of(folder, step)
  replaced = None
  if os.path.lexists(target) and not unfinished.was_put(temporary, target):
    if _verify(target).manifest is not None:
      replaced = target.rename(unfinished.path_of(folder, step))
    else:
      aside = target.rename(folder / f"{target.name}.damaged-{secrets.token_hex(4)}")
      _log.warning("a damaged %s was there already and is now %s", target.name, aside)
  try:
    temporary.rename(target)
  except OSError as error:
    if not (isinstance(error, FileNotFoundError) and unfinished.was_put(temporary, target)):
      if replaced is not None:
        replaced.rename(target)
      raise
  manifest.sync(folder)
  unfinished.forget(temporary)
  if replaced is not None:
    unfinished.remove(replaced)
  return target


def prune(folder: pathlib.Path, *, keep: int, keep_every: int | None = None) -> list[int]:
  """Removes all usable checkpoints but the newest, multiples of a step, and the best.

  Damaged ones are left for the user to look at, and never count as kept.

  Args:
    keep: How many of the newest stay.
    keep_every: Checkpoints whose step is a multiple of this stay, too.

  Returns:
    The steps removed.
  """
  usable = [step for step in present(folder) if _verify(path_of(folder, step)).manifest is not None]
  try:
    best_so_far = _read_best(folder)
  except ValueError as error:
    _log.warning("%s; no checkpoint is removed, as one of them may be the best", error)
    return []
  kept = {*usable[-keep:], best_so_far.step if best_so_far else None}
  removed = [s for s in usable if s not in kept and not (keep_every and s % keep_every == 0)]
  for step in removed:
    # Renamed first: a removal cut short must not look like a damaged checkpoint.
    try:
      doomed = path_of(folder, step).rename(unfinished.path_of(folder, step))
    except OSError as error:
      _log.warning("%s cannot be removed: %s", path_of(folder, step), error.strerror)
    else:
      unfinished.remove(doomed)
  return removed


def mark_best(folder: pathlib.Path, *, step: int, score: float) -> None:
  """Names checkpoint `step` the best, in one atomic replacement of best.json."""
  if step not in present(folder):
    raise ValueError(f"{folder}: no checkpoint_{step} to mark as the best")
  temporary = folder / f"{BEST_FILE}.tmp"  # one run at a time has the folder
  try:
    manifest.write_json(temporary, {"step": step, "score": float(score)})
    temporary.replace(folder / BEST_FILE)
  except OSError:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise
  manifest.sync(folder)


def best(folder: pathlib.Path) -> Best | None:
  """What `mark_best` last named; None, with a logged warning, when best.json cannot be read."""
  try:
    return _read_best(folder)
  except ValueError as error:
    _log.warning("%s", error)
    return None


def _read_best(folder: pathlib.Path) -> Best | None:
  path = folder / BEST_FILE
  try:
    document = json.loads(path.read_text(encoding="utf-8"))
    return Best(float(document["score"]), int(document["step"]))
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise ValueError(f"{path}: not readable as a step and a score: {error}") from error


def _settle(folder: pathlib.Path) -> list[manifest.Problem]:
  """Puts complete leftovers of killed saves in their place; returns what is to be ignored.

  A save killed between its manifest and its rename lost nothing.  Nor did one that was replacing
  a checkpoint of the same step, and had moved the old one away.
  """
  ignored = []
  # Of two complete ones for a step, the newer by the files' times; were they wrong, the other would
  # be as good: both were whole.
  for path in sorted(unfinished.leftovers(folder), key=unfinished.last_change, reverse=True):
    alive = unfinished.is_alive(path)
    if alive:
      continue
    target = folder / path.name.partition(".tmp-")[0]
    if _is_usable(path) and not _is_usable(target):
      _use(path, target)
      continue
    if alive is None and not unfinished.is_still(path):
      _log.info("%s may be under way on another machine, and is left alone", path)
      continue
    ignored.append(
      manifest.Problem(path, manifest.FILE_NAME, "an interrupted save; it is not used")
    )
  return ignored


def _use(complete: pathlib.Path, target: pathlib.Path) -> None:
  if os.path.lexists(target):
    _log.warning("%s is damaged; %s is complete: rename it to use it", target, complete)
    return
  try:
    complete.rename(target)
  except OSError as error:  # a folder that may only be read
    _log.warning("%s is complete, but cannot be renamed to be used: %s", complete, error.strerror)
  else:
    _log.warning("an interrupted save was complete and is now %s", target)


def _is_usable(path: pathlib.Path) -> bool:
  try:
    return manifest.verify(path, hashes=True).manifest is not None
  except OSError:  # its owner finished in between
    return False
