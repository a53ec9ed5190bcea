"""One checkpoint, written by all processes: temporary folder, arrays, manifest, one rename.

The first process makes the folder, and when all have stored what they hold, seals and renames it.
Whatever goes wrong in one of them, all of them raise it, and nothing is left behind.
"""

import contextlib
import errno
import gc
import logging
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flan_tune import errors
from flan_tune.checkpoint import agreement, folders, manifest, pieces, unfinished

STATE_FOLDER = "state"

# Space asked for before writing: the arrays, and a tenth for metadata and the manifest.
_SPACE_FACTOR = 1.1
# What space has to do with.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How long another host may take to see a folder that has just been made.
_SEEN_WITHIN_SECONDS = 30.0
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")
# As Orbax names the handler that its own checkpoints name.
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"

Arrays = Mapping[str, pieces.Pieces]

# Notes of saves that have ended; some processes may not yet have read the last ones.
_ended: list[agreement.Talk] = []


def write(
  folder: pathlib.Path,
  arrays: Arrays,
  tree: Mapping[str, Any],
  *,
  step: int,
  documents: Mapping[str, Any],
) -> pathlib.Path:
  """Writes `folder`/checkpoint_<step>; every process calls it, in any thread, once a step.

  Args:
    folder: Absolute.
    arrays: What this process is to store, by name.
    tree: The same as a tree.
    documents: What JSON can hold, by name; those of the first process count.

  Raises:
    UserError: The system said no, in whichever process.
  """
  target = folders.path_of(folder, step)
  talk = agreement.Talk("save", f"{target} cannot be saved")
  with _silence():
    if talk.first:
      return _lead(talk, target, step, arrays, tree, documents)
    return _follow(talk, target, arrays, tree)


def _lead(
  talk: agreement.Talk,
  target: pathlib.Path,
  step: int,
  arrays: Arrays,
  tree: Mapping[str, Any],
  documents: Mapping[str, Any],
) -> pathlib.Path:
  temporary, begun = None, False
  try:
    temporary = folders.begin(target.parent, step)
    _check_space(target.parent, arrays)
    (temporary / STATE_FOLDER).mkdir()
    talk.leave("begun", {"temporary": temporary.name})
    begun = True
    known = _gathered(talk, arrays, _store(temporary, arrays, tree))
    _seal(temporary, arrays, documents, known)
    path = folders.commit(temporary, target.parent, step)
  except BaseException as error:
    failure = _failure(target, arrays, error)
    with contextlib.suppress(agreement.Unanswered):
      if begun and not isinstance(error, agreement.Unanswered):
        talk.reports()  # until nobody writes to the folder any more
    if temporary is not None:
      _discard(temporary)
    with contextlib.suppress(agreement.Unanswered):
      talk.leave("end" if begun else "begun", {"error": str(failure)})
    if failure is error:
      raise
    raise failure from error
  talk.leave("end", {})
  return path


def _follow(
  talk: agreement.Talk, target: pathlib.Path, arrays: Arrays, tree: Mapping[str, Any]
) -> pathlib.Path:
  begun = talk.find("begun")
  if "error" in begun:
    raise errors.UserError(begun["error"])
  temporary = target.parent / begun["temporary"]
  try:
    _await_folder(temporary / STATE_FOLDER)
    talk.report(_store(temporary, arrays, tree))
  except BaseException as error:
    told = error.strerror or error if isinstance(error, OSError) else repr(error)
    talk.report({"error": f"{agreement.here()}: {told}"})
    if not isinstance(error, OSError):
      raise
  # The first process may wait for another as long as that, and then says for which.
  if "error" in (end := talk.find("end", patience=3)):
    raise errors.UserError(end["error"])
  return target


def _store(temporary: pathlib.Path, arrays: Arrays, tree: Mapping[str, Any]) -> dict[str, Any]:
  """Stores what this process holds; its report: files with sizes and hashes, bytes of arrays."""
  state = temporary / STATE_FOLDER
  write_arrays(state, tree)
  files = manifest.entries(temporary, under=pieces.own_folder(state))
  return {"bytes": sum(one.own_bytes for one in arrays.values()), "files": files}


def _gathered(
  talk: agreement.Talk, arrays: Arrays, own: dict[str, Any]
) -> dict[str, manifest.FileEntry]:
  """The files of all processes, which have stored every byte of every array."""
  reports = [own, *talk.reports()]
  for talked in _ended:
    talked.forget()  # who takes part in this save has read what was left in those before
  _ended[:] = [talk]
  for report in reports:
    if "error" in report:
      raise _Told(report["error"])
  stored, expected = sum(report["bytes"] for report in reports), _num_bytes(arrays)
  if stored != expected:
    raise _Told(f"its arrays have {expected:,} bytes, and the processes stored {stored:,}")
  files = {name: entry for report in reports for name, entry in report["files"].items()}
  return {name: manifest.FileEntry(*entry) for name, entry in files.items()}


class _Told(Exception):
  """Why another process could not store its part."""


def _seal(
  temporary: pathlib.Path,
  arrays: Arrays,
  documents: Mapping[str, Any],
  known: Mapping[str, manifest.FileEntry],
) -> None:
  state = temporary / STATE_FOLDER
  _in_plain_words(lambda: pieces.merge(state))
  handlers = {"item_handlers": _HANDLER, "metrics": {}, "performance_metrics": {}}
  manifest.write_json(state / "_CHECKPOINT_METADATA", handlers)
  for name, document in documents.items():
    manifest.write_json(temporary / f"{name}.json", document)
  entries = {
    name: manifest.ArrayEntry(one.shape, np.dtype(one.dtype).name) for name, one in arrays.items()
  }
  manifest.write(temporary, arrays=entries, known=known)


def _check_space(folder: pathlib.Path, arrays: Arrays) -> None:
  # Older checkpoints are removed only when this one is whole, so there must be room for it, too.
  if _num_bytes(arrays) * _SPACE_FACTOR > free_bytes(folder):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _num_bytes(arrays: Arrays) -> int:
  return sum(one.nbytes for one in arrays.values())


def _await_folder(path: pathlib.Path) -> None:
  end = time.monotonic() + _SEEN_WITHIN_SECONDS
  while not path.is_dir():
    if time.monotonic() > end:
      what = "the first process made it, and it is not here: all hosts must share MODEL_DIR"
      raise OSError(errno.ENOENT, f"{path}: {what}")
    time.sleep(0.1)


def _discard(temporary: pathlib.Path) -> None:
  """Removes a temporary folder, again and again while threads of tensorstore still write there.

  Orbax's tasks, whose errors nobody asked for, complain when they are collected: now, in silence.
  """
  absent = 0
  for _ in range(100):
    absent = 0 if temporary.exists() else absent + 1
    if absent == 3:
      break
    shutil.rmtree(temporary, ignore_errors=True)
    time.sleep(0.02)
  unfinished.remove(temporary)
  gc.collect()


def free_bytes(folder: pathlib.Path) -> int:
  """Bytes an ordinary user can still write to the disk of `folder`."""
  return shutil.disk_usage(folder).free


def write_arrays(path: pathlib.Path, tree: Mapping[str, Any]) -> None:
  """Stores this process's pieces in the folder `path`; not atomic.

  Raises:
    OSError: Whatever the system said, also where tensorstore reports it as another exception.
  """
  _in_plain_words(lambda: pieces.write(path, tree))


def _in_plain_words(act: Any) -> None:
  try:
    act()
  except Exception as error:
    failure = system_error(error)
    if failure is None or failure is error:
      raise
  else:
    return
  # Out here the first error is forgotten, and with it Orbax's tasks: see `_discard`.
  raise failure


def system_error(error: BaseException) -> OSError | None:
  """What the system said, also where tensorstore, written in C++, passes it on as text."""
  if isinstance(error, OSError):
    return error
  told = _SYSTEM_ERROR.search(str(error))
  return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


def _failure(target: pathlib.Path, arrays: Arrays, error: BaseException) -> BaseException:
  """The sentence for what the system said, here or elsewhere; other errors stay what they are."""
  if not isinstance(error, OSError | _Told):
    return error
  reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
  if isinstance(error, OSError) and error.errno in _NO_SPACE:
    try:
      free = f"{free_bytes(target.parent) / 1e6:,.1f} MB"
    except OSError:
      free = "an unknown number of bytes"
    needed = _num_bytes(arrays) * _SPACE_FACTOR
    reason += f"; it needs {needed / 1e6:,.1f} MB and {free} are free"
  return errors.UserError(
    f"{target} cannot be saved: {reason}; nothing of it was kept, and earlier checkpoints are"
    " untouched"
  )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  """Keeps Orbax's remarks off the console: what it says that matters, it also raises.

  After a failed write, tensorstore's threads report to an event loop that Orbax closed already.
  """
  loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
  hook = sys.unraisablehook

  def others(record: logging.LogRecord) -> bool:
    ours = record.name == "asyncio" or "orbax" in record.pathname
    return not ours or record.levelno >= logging.CRITICAL

  def unraisable(args) -> None:
    if not (args.exc_type is RuntimeError and "Event loop is closed" in str(args.exc_value)):
      hook(args)

  for logger in loggers:
    logger.addFilter(others)
  sys.unraisablehook = unraisable
  try:
    yield
  finally:
    for logger in loggers:
      logger.removeFilter(others)
    sys.unraisablehook = hook
