"""The folder of checkpoints of one run: which are usable, which are kept, which is best.

    checkpoint_<step>/                     finished, verified against its manifest when it is used
    checkpoint_<step>.tmp-<host>-<pid>-*   a save under way, or what a killed one left: put in place
                                           by the next reader if it is complete, else ignored
    checkpoint_<step>.damaged-*            set aside when the same step was saved again
    best.json                              {"step": int, "score": float}

Nothing here knows what a checkpoint holds.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flan_tune import errors
from flan_tune.checkpoint import manifest

BEST_FILE = "best.json"
BEST = "best"  # stands for a step

_FINISHED = re.compile(r"checkpoint_(\d+)")
_TEMPORARY = re.compile(r"checkpoint_\d+\.tmp-([A-Za-z0-9_]+)-(\d+)-[0-9a-f]{8}")
_HOST = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname()) or "host"
_STARTED = time.time()  # of this process, near enough: imported before anything is saved

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
  matches = (_FINISHED.fullmatch(name) for name in _names(folder))
  # checkpoint_07 is not a name we write: two folders for one step would be ambiguous.
  return sorted(int(m[1]) for m in matches if m and m[0] == f"checkpoint_{int(m[1])}")


def survey(folder: pathlib.Path, *, hashes: bool = False) -> Listing:
  """What is in `folder`; a warning is logged for everything that cannot be used.

  Args:
    hashes: Also compare contents, not only names and sizes.
  """
  good, problems = [], _settle(folder)
  for step in present(folder):
    verified = manifest.verify(path_of(folder, step), hashes=hashes)
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
    verified = manifest.verify(path, hashes=hashes)
    problems += verified.problems
    if verified.manifest is not None:
      report(problems)
      return Usable(path, step, verified.manifest, problems)
  report(problems)
  first = next(p for p in problems if p.fatal and p.folder == path_of(folder, candidates[-1]))
  others = f" (nor any of the {len(candidates) - 1} older ones)" if len(candidates) > 1 else ""
  raise errors.UserError(f"this checkpoint cannot be used{others}: {first}")


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
  there = present(folder)
  if step is None or not there:
    return newest(folder, hashes=hashes)
  if step not in there:
    shown = ", ".join(str(s) for s in there[-8:])
    raise errors.UserError(f"{folder}: there is no checkpoint of step {step}; there are {shown}")
  return newest(folder, among=[step], hashes=hashes)


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
  """A new temporary folder to write checkpoint `step` into; leftovers of dead saves are removed."""
  folder.mkdir(parents=True, exist_ok=True)
  for problem in _settle(folder):
    _log.info("removing what an interrupted save left: %s", problem.folder)
    shutil.rmtree(problem.folder, ignore_errors=True)
  temporary = _temporary_path(folder, step)
  temporary.mkdir()
  return temporary


def commit(temporary: pathlib.Path, folder: pathlib.Path, step: int) -> pathlib.Path:
  """Turns a complete temporary folder into checkpoint `step` by one rename.

  A checkpoint already there gives way: removed if it was usable, set aside if it was damaged.
  """
  target = path_of(folder, step)
  replaced = None
  if os.path.lexists(target):
    if manifest.verify(target, hashes=False).manifest is not None:
      replaced = target.rename(_temporary_path(folder, step))
    else:
      aside = target.rename(folder / f"{target.name}.damaged-{secrets.token_hex(4)}")
      _log.warning("a damaged %s was there already and is now %s", target.name, aside)
  try:
    temporary.rename(target)
  except OSError:
    if replaced is not None:
      replaced.rename(target)
    raise
  manifest.sync(folder)
  if replaced is not None:
    shutil.rmtree(replaced, ignore_errors=True)
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
  usable = [
    step
    for step in present(folder)
    if manifest.verify(path_of(folder, step), hashes=False).manifest is not None
  ]
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
      doomed = path_of(folder, step).rename(_temporary_path(folder, step))
    except OSError as error:
      _log.warning("%s cannot be removed: %s", path_of(folder, step), error.strerror)
    else:
      shutil.rmtree(doomed, ignore_errors=True)
  return removed


def mark_best(folder: pathlib.Path, *, step: int, score: float) -> None:
  """Names checkpoint `step` the best, in one atomic replacement of best.json."""
  if step not in present(folder):
    raise ValueError(f"{folder}: no checkpoint_{step} to mark as the best")
  temporary = folder / f"{BEST_FILE}.tmp-{os.getpid()}"
  manifest.write_json(temporary, {"step": step, "score": float(score)})
  temporary.replace(folder / BEST_FILE)
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


def _names(folder: pathlib.Path) -> list[str]:
  try:
    return os.listdir(folder)
  except (FileNotFoundError, NotADirectoryError):
    return []


def _temporary_path(folder: pathlib.Path, step: int) -> pathlib.Path:
  return folder / f"checkpoint_{step}.tmp-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"


def leftovers(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Temporary folders of saves that are under way, or were interrupted."""
  for name in sorted(_names(folder)):
    path = folder / name
    if _TEMPORARY.fullmatch(name) and path.is_dir() and not path.is_symlink():
      yield path


def _settle(folder: pathlib.Path) -> list[manifest.Problem]:
  """Puts complete leftovers of killed saves in their place; returns what is to be ignored.

  A save killed between its manifest and its rename lost nothing.  Nor did one that was replacing
  a checkpoint of the same step, and had moved the old one away.
  """
  ignored = []
  abandoned = [path for path in leftovers(folder) if _abandoned(path)]
  # Of two complete ones for a step, the newer.
  for path in sorted(abandoned, key=_last_change, reverse=True):
    target = folder / path.name.partition(".tmp-")[0]
    if not os.path.lexists(target) and manifest.verify(path, hashes=True).manifest is not None:
      with contextlib.suppress(OSError):  # a folder that may only be read
        path.rename(target)
        _log.warning("an interrupted save was complete and is now %s", target)
        continue
    ignored.append(
      manifest.Problem(path, manifest.FILE_NAME, "an interrupted save; it is not used")
    )
  return ignored


def _abandoned(path: pathlib.Path) -> bool:
  """Whether a temporary folder is older than this process and nobody here still writes it."""
  match = _TEMPORARY.fullmatch(path.name)
  assert match, path
  host, process = match[1], int(match[2])
  if host == _HOST and process != os.getpid() and _is_running(process):
    return False
  return _last_change(path) < _STARTED


def _is_running(process: int) -> bool:
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except OSError:
    pass  # it runs, but as somebody else
  return True


def _last_change(path: pathlib.Path) -> float:
  """When anything in a folder was last written, in seconds since the epoch."""
  newest = 0.0
  for folder, _, files in os.walk(path):
    for name in (".", *files):
      with contextlib.suppress(FileNotFoundError):  # its owner finished in between
        newest = max(newest, os.lstat(os.path.join(folder, name)).st_mtime)
  return newest
