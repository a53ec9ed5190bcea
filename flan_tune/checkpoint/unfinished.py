"""Temporary folders of saves, each under the name of the process that writes it.

    checkpoint_<step>.tmp-<machine>-<process>-<life><unique>

A machine cannot see the processes of another: there, a folder in which nothing changes any more is
one of a save that has ended.
"""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator

from flan_tune.checkpoint import manifest
from flan_tune.checkpoint import owner as owner_lib

# Machine, process, and its life where that is known; then what makes the name unique.
_TEMPORARY = re.compile(
  r"checkpoint_\d+\.tmp-([A-Za-z0-9_]+)-(\d+)-([0-9a-f]{8}(?=[0-9a-f]{8}))?[0-9a-f]{8}"
)
# Temporary folders that this process has made and is not yet done with: by name, what they are to
# the file system, under whatever name.
_OURS: dict[str, tuple[int, int] | None] = {}
# What another machine's save has written, and when this process saw that first, by its own clock
# that never jumps: once nothing has changed for so long, nobody writes there any more.
_PATIENCE_SECONDS = 600.0
_SEEN: dict[pathlib.Path, tuple[int, float]] = {}


def names(folder: pathlib.Path) -> list[str]:
  """What is in a folder: nothing if it is not there."""
  try:
    return os.listdir(folder)
  except (FileNotFoundError, NotADirectoryError):
    return []


def path_of(folder: pathlib.Path, step: int) -> pathlib.Path:
  """A name that nobody else has, of this process."""
  machine, process, life = owner_lib.this()
  name = f"checkpoint_{step}.tmp-{machine}-{process}-{life}{secrets.token_hex(4)}"
  _OURS[name] = None
  return folder / name


def make(folder: pathlib.Path, step: int) -> pathlib.Path:
  """A new, empty one for checkpoint `step`."""
  temporary = path_of(folder, step)
  temporary.mkdir()
  _OURS[temporary.name] = _identity(temporary)
  return temporary


def leftovers(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Those of saves that are under way, or were interrupted."""
  for name in sorted(names(folder)):
    path = folder / name
    if _TEMPORARY.fullmatch(name) and path.is_dir() and not path.is_symlink():
      yield path


def was_put(temporary: pathlib.Path, target: pathlib.Path) -> bool:
  """Whether a reader on another machine found the save complete, and did the last step itself."""
  ours = _OURS.get(temporary.name)
  return ours is not None and ours == _identity(target)


def _identity(path: pathlib.Path) -> tuple[int, int] | None:
  try:
    found = path.stat()
  except OSError:
    return None
  return found.st_dev, found.st_ino


def remove(temporary: pathlib.Path) -> None:
  """Removes a temporary folder; what is left of it, by whatever failure, is not complete."""
  with contextlib.suppress(OSError):
    (temporary / manifest.FILE_NAME).unlink()
  shutil.rmtree(temporary, ignore_errors=True)
  forget(temporary)


def forget(temporary: pathlib.Path) -> None:
  """This process is done with it."""
  _OURS.pop(temporary.name, None)


def is_alive(path: pathlib.Path) -> bool | None:
  """Whether who writes a temporary folder lives; None on another machine, where nobody can tell."""
  match = _TEMPORARY.fullmatch(path.name)
  assert match, path
  found = owner_lib.Owner(match[1], int(match[2]), match[3] or "")
  if found.machine == owner_lib.MACHINE and found.process == os.getpid():
    return path.name in _OURS
  return owner_lib.is_alive(found)


def is_still(path: pathlib.Path) -> bool:
  """Whether nothing in a folder has changed since this process saw it first, long enough ago."""
  state = hash(tuple(_stamps(path)))
  before, since = _SEEN.get(path, (None, 0.0))
  if before != state:
    _SEEN[path] = (state, since := time.monotonic())
  return time.monotonic() - since >= _PATIENCE_SECONDS


def _stamps(path: pathlib.Path) -> Iterator[tuple[str, int, int]]:
  """(name, bytes, time of the last change) of everything in a folder."""
  for folder, _, files in os.walk(path):
    for name in (".", *files):
      full = os.path.join(folder, name)
      with contextlib.suppress(FileNotFoundError):  # its owner finished in between
        found = os.lstat(full)
        yield full, found.st_size, found.st_mtime_ns


def last_change(path: pathlib.Path) -> int:
  """When anything in a folder was changed last, in nanoseconds of the file system's clock."""
  return max((changed for _, _, changed in _stamps(path)), default=0)
