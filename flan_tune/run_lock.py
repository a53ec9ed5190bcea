"""One run at a time in a folder.

The lock is the kernel's, on a file that names its owner: when the owner dies in whatever way, the
lock is free.  Nothing is ever deleted, so nobody can lock a file that another has just replaced.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from flan_tune import errors
from flan_tune.checkpoint import agreement, owner

FILE_NAME = "run.lock"

_log = logging.getLogger(__name__)
# The kernel's lock is between processes; between the threads of this one, this is.
_HELD: set[pathlib.Path] = set()
# What a file system answers that has no locks at all.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def hold(folder: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other runs out of a run's folder, which is made if need be.

  In a run of several processes the first one does it for all.

  Raises:
    UserError: Another run that lives has the folder, or nothing can be written there.
  """
  if not agreement.is_first():
    yield
    return
  folder = pathlib.Path(folder).absolute()
  path = folder.resolve() / FILE_NAME
  if path in _HELD:
    raise _in_use(folder, {"host": socket.gethostname(), "process": os.getpid()})
  descriptor = _open(folder, path)
  try:
    _lock(folder, path, descriptor)
    _HELD.add(path)
    try:
      _write(descriptor, _ourselves())
      yield
    finally:
      _HELD.discard(path)
      with contextlib.suppress(OSError):  # a full disk: a dead owner's lock is taken over, too
        os.ftruncate(descriptor, 0)
  finally:
    os.close(descriptor)  # and with it the lock


def _open(folder: pathlib.Path, path: pathlib.Path) -> int:
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # No link is followed, which could lead to a file of somebody else's.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
  except OSError as error:
    raise errors.UserError(
      f"{folder} cannot be used for a run: {error.strerror}; name a folder that can be written"
    ) from error


def _lock(folder: pathlib.Path, path: pathlib.Path, descriptor: int) -> None:
  try:
    # Not flock: children of a killed run, such as workers of the feed, would inherit that.
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    named = _read(descriptor)
    if error.errno not in _NO_LOCKS:
      raise _in_use(folder, named) from None
    if _may_be_alive(named):
      raise _in_use(folder, named, unsure=True) from None
  named = _read(descriptor)
  if named:
    _log.warning(
      "%s was in use by %s, which ended without saying so; the folder is taken over",
      folder,
      _told(named),
    )


def _may_be_alive(named: dict[str, Any]) -> bool:
  """Where the file system has no locks: whether the process named in the file could still run."""
  if not named:
    return False
  found = owner.Owner(str(named.get("machine")), int(named["process"]), str(named.get("life", "")))
  return owner.is_alive(found) is not False


def _ourselves() -> dict[str, Any]:
  machine, process, life = owner.this()
  since = time.strftime("%Y-%m-%dT%H:%M:%S%z")  # told, and never compared with another clock
  return {
    "host": socket.gethostname(),
    "process": process,
    "since": since,
    "machine": machine,
    "life": life,
  }


def _write(descriptor: int, document: dict[str, Any]) -> None:
  os.ftruncate(descriptor, 0)
  with contextlib.suppress(OSError):  # a full disk: the lock holds without a name, too
    os.pwrite(descriptor, (json.dumps(document) + "\n").encode(), 0)
    os.fsync(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
  """Who is named in the file; {} if nobody is, or half a name."""
  try:
    document = json.loads(os.pread(descriptor, 4096, 0))
    return {**document, "process": int(document["process"]), "host": str(document["host"])}
  except (OSError, ValueError, KeyError, TypeError):
    return {}


def _told(named: dict[str, Any]) -> str:
  if not named:
    return "a process that has not yet written its name"
  since = f" since {named['since']}" if named.get("since") else ""
  return f"process {named['process']} on {named['host']}{since}"


def _in_use(
  folder: pathlib.Path, named: dict[str, Any], *, unsure: bool = False
) -> errors.UserError:
  doubt = (
    f", and its file system has no locks that would tell whether it still runs: if it does not,"
    f" empty {folder / FILE_NAME}"
    if unsure
    else ""
  )
  return errors.UserError(
    f"{folder} is in use by another run, {_told(named)}; wait for it or stop it, or use another"
    f" MODEL_DIR{doubt}"
  )
