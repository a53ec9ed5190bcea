"""Which process a name belongs to, and whether it still lives; no clock is asked.

A process number is reused, after a restart of a container even at once.  So a process is known by
its number and its life: a digest of when it began, which the kernel counts since it was started.
"""

import hashlib
import os
import pathlib
import re
import socket
from typing import NamedTuple


class Owner(NamedTuple):
  """A process: its machine, its number there, and its life ("" where it is not known)."""

  machine: str
  process: int
  life: str


def _digest(*parts: str) -> str:
  return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _machine() -> str:
  """The host, and within it the space in which process numbers count: a container has its own."""
  host = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname()) or "host"
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{host}_{_digest(boot, os.readlink('/proc/self/ns/pid'))}"
  except OSError:
    return host


def _life(process: int) -> str | None:
  """Of a running process; "" where the system does not say; None when there is none."""
  try:
    # What follows the name, which may hold anything, a bracket, too.
    stat = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2]
    state, began = (fields := stat.split())[0], fields[19]
  except (OSError, IndexError):
    return _asked(process)
  return None if state in "ZX" else _digest(began)


def _asked(process: int) -> str | None:
  try:
    os.kill(process, 0)
  except (ProcessLookupError, OverflowError):
    return None
  except OSError:
    pass  # it runs, but as somebody else
  return ""


MACHINE = _machine()


def this() -> Owner:
  """This process."""
  return Owner(MACHINE, os.getpid(), _life(os.getpid()) or "")


def is_alive(owner: Owner) -> bool | None:
  """Whether it runs; None for one on another machine, where this one cannot look."""
  if owner.machine != MACHINE:
    return None
  life = _life(owner.process)
  return life is not None and (not life or not owner.life or life == owner.life)
