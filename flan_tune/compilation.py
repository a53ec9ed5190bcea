"""Programs compiled once: kept in a folder from process to process, or compiled ahead of a run.

JAX names an entry by program, versions, flags and devices, so a folder may serve several runs, and
whatever has changed is compiled anew.  Entries are machine code: a folder that others may write to
is one in which they may run code.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import shutil
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache

_ENTRIES = "*-cache"  # how JAX names what it keeps
_CHECKED = ".checked"  # older entries than this file are whole
_MOST_BYTES = 2 * 2**30  # a program's entry has a few MB; a run has a few dozen of them
_LEAST_FREE = 256 * 2**20
_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # where JAX finds that package; else it writes zlib's format
_REPEATED = 1  # a Zstandard block of one byte, said once
# Of JAX's own errors with entries: what can be done is done here, and said once.
_NOISE = r"Error (reading|writing) persistent compilation cache"


def keep(folder: pathlib.Path, *, say: Callable[[str], None] = print) -> pathlib.Path | None:
  """Keeps what this process compiles in `folder`, and takes from it what others compiled.

  Of a folder that cannot be written it takes all the same, saying so.  Torn entries, as killed
  processes leave them, are removed, and the oldest ones beyond 2 GiB.

  Args:
    folder: Made when absent.  A CPU's programs get a folder of their own in it, named after what
      the CPU can do: they would crash one that can do less.
    say: Told in a sentence why nothing is kept.

  Returns:
    The folder in use; None where the environment names one (JAX_COMPILATION_CACHE_DIR), which
    stays, or where there can be none.
  """
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return None
  if jax.default_backend() == "cpu":
    folder = folder / f"cpu-{_cpu()}"
  trouble = _prepared(folder)
  if trouble:
    say(f"{folder}: compiled programs are not kept: {trouble}; a restart will compile again.")
  if not folder.is_dir():
    return None
  warnings.filterwarnings("ignore", message=_NOISE)
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # A second is the least that JAX keeps by default; nothing is, where nothing can be written.
  seconds = float("inf") if trouble else 0.0
  jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  compilation_cache.reset_cache()  # it may have looked before and found no folder
  return folder


def of_user() -> pathlib.Path:
  """Where a user's programs are kept that belong to no run of his.

  What reads a model takes nothing from that model's folder: somebody else may have made it.
  """
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(cache) / "flan_tune" / "compiled"


def _prepared(folder: pathlib.Path) -> str | None:
  """Makes a folder fit for entries; gives what is in the way."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{os.getpid()}.tmp"
    probe.write_bytes(b"x")
    probe.unlink()
    _tidy(folder)
    if shutil.disk_usage(folder).free < _LEAST_FREE:
      return f"less than {_LEAST_FREE >> 20} MiB of disk space is left"
  except OSError as error:
    return error.strerror or str(error)
  return None


def _tidy(folder: pathlib.Path) -> None:
  """Removes torn entries, which JAX would meet and keep for ever, and the oldest of too many."""
  checked, began = folder / _CHECKED, time.time()
  since = checked.stat().st_mtime if checked.exists() else 0.0
  if since > began:  # the clock was set back, so times say nothing of what came after what
    since = 0.0
  entries = []
  for path in folder.glob(_ENTRIES):
    with contextlib.suppress(FileNotFoundError):  # another process tidies, too
      stat = path.stat()
      # An entry as old as the last check may have been half written then.
      if stat.st_mtime > since - 60 and not _whole(path):
        path.unlink()
        continue
      entries.append((max(stat.st_mtime, stat.st_atime), stat.st_size, path))
  total = sum(size for _, size, _ in entries)
  for _, size, path in sorted(entries):
    if total <= _MOST_BYTES:
      break
    path.unlink(missing_ok=True)
    total -= size
  checked.touch()
  os.utime(checked, (began, began))


def _whole(path: pathlib.Path) -> bool:
  """Whether an entry goes on to its end, as its own format (zlib or Zstandard) tells it."""
  data = path.read_bytes()
  return _whole_zstandard(data) if data[:4] == _ZSTANDARD else _whole_zlib(data)


def _whole_zlib(data: bytes) -> bool:
  unpacked = zlib.decompressobj()
  try:
    while data:
      unpacked.decompress(data, 1 << 20)  # a part at a time, as it may unpack to gigabytes
      data = unpacked.unconsumed_tail
  except zlib.error:
    return False
  return unpacked.eof


def _whole_zstandard(data: bytes) -> bool:
  """Walks the blocks of a frame (RFC 8878, section 3.1.1); nothing needs to be unpacked."""
  if len(data) < 6:
    return False
  about = data[4]
  single = about >> 5 & 1
  sizes = (single, 2, 4, 8)[about >> 6]
  place = 5 + (1 - single) + (0, 1, 2, 4)[about & 3] + sizes
  last = False
  while not last:
    if place + 3 > len(data):
      return False
    header = int.from_bytes(data[place : place + 3], "little")
    last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
    place += 3 + (1 if kind == _REPEATED else size)
  return place + 4 * (about >> 2 & 1) <= len(data)


def _cpu() -> str:
  """A short name of what this CPU can do."""
  told = platform.machine() + platform.system()
  with contextlib.suppress(OSError):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    told += next((line for line in lines if line.startswith(("flags", "Features"))), "")
  return hashlib.sha256(told.encode()).hexdigest()[:12]


class Tally:
  """Counts programs compiled and programs taken from the folder while it is open.

  Attributes:
    taken: Programs that had been compiled before.
  """

  def __init__(self):
    self._wanted = self.taken = 0

  @property
  def compiled(self) -> int:
    """Programs that had to be compiled."""
    return self._wanted - self.taken

  def told(self) -> str:
    """In words."""
    programs = "1 program" if self.compiled == 1 else f"{self.compiled} programs"
    return f"{programs} compiled, {self.taken} taken from the folder"

  def __enter__(self) -> "Tally":
    monitoring.register_event_listener(self._event)
    return self

  def __exit__(self, *_: object) -> None:
    monitoring.unregister_event_listener(self._event)

  def _event(self, event: str, **_: Any) -> None:
    self._wanted += event == "/jax/compilation_cache/compile_requests_use_cache"
    self.taken += event == "/jax/compilation_cache/cache_hits"


class Program(NamedTuple):
  """A program that was compiled ahead.

  Attributes:
    seconds: It took, tracing included.
    taken: It had been compiled before.
    arguments: Bytes a device holds before a step: parameters, optimiser's state and batch.
    temporary: Bytes more that it needs within a step.
    peak: Bytes in all, at most, what is reused counted once.  The three are None where the
      compiler does not say.
  """

  seconds: float
  taken: bool
  arguments: int | None
  temporary: int | None
  peak: int | None

  def told(self) -> str:
    """In a line."""
    what = f"{'Taken from the folder' if self.taken else 'Compiled'} in {self.seconds:.1f} s"
    if self.arguments is None or self.temporary is None or self.peak is None:
      return f"{what}; its memory is not known on this kind of device."
    return (
      f"{what}; on each device: {_size(self.arguments)} of state and batch,"
      f" {_size(self.temporary)} more within a step, {_size(self.peak)} at most."
    )


def _size(count: int) -> str:
  return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def precompile(
  step_fn: Any, state: Any, arrays: Any, *, mesh: jax.sharding.Mesh, batch_sharding: Any
) -> Program:
  """Compiles a step into the folder in use; no array is made and no step is run.

  Args:
    step_fn: From `train.loop.compiled_step`, with the settings of the run.
    state: Shapes and dtypes, with their shardings.
    arrays: A batch: shapes and dtypes are taken, numbers are not.
    mesh: Of the run.
    batch_sharding: Of the batch.
  """
  begun = time.monotonic()
  shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding)
  # Within the mesh, as in the loop: a program made without it would be another one.
  with Tally() as tally, jax.set_mesh(mesh):
    compiled = step_fn.lower(state, jax.tree.map(shape, arrays)).compile()
  seconds, stats = time.monotonic() - begun, compiled.memory_analysis()
  taken = tally.taken > 0 and tally.compiled == 0
  if stats is None:
    return Program(seconds, taken, None, None, None)
  # Results that take the place of arguments need no room of their own.
  results = stats.output_size_in_bytes - stats.alias_size_in_bytes
  arguments, temporary = stats.argument_size_in_bytes, stats.temp_size_in_bytes
  return Program(seconds, taken, arguments, temporary, arguments + results + temporary)
