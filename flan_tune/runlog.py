"""What a run writes about itself: metrics.jsonl, TensorBoard events, environment.json.

Every line of `metrics.jsonl` is one JSON object with `kind`, `step` and `time` (Unix seconds); kind
is "train", "eval" or "event".  Values that are not finite are written as null, because JSON has no
NaN and a reader in another language would stop at one.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

METRICS = "metrics.jsonl"
ENVIRONMENT = "environment.json"

_FLUSH_SECONDS = 5.0

_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "sentencepiece",
  "gin-config",
  "numpy",
  "safetensors",
)


class Lines(NamedTuple):
  """The objects of a JSON-lines file, and how many lines could not be read."""

  records: list[dict[str, Any]]
  damaged: int


def read_lines(path: pathlib.Path) -> Lines:
  """Reads a JSON-lines file; a torn last line, or any other damage, is counted and skipped."""
  records, damaged = [], 0
  with path.open(encoding="utf-8", errors="replace") as file:
    for line in file:
      record = _parse(line)
      if record is not None:
        records.append(record)
      elif line.strip():
        damaged += 1
  return Lines(records, damaged)


class Kept(NamedTuple):
  """The objects that a truncated file has left, and how many lines went, damaged ones included."""

  records: list[dict[str, Any]]
  dropped: int


def truncate(path: pathlib.Path, step: int | None) -> Kept:
  """Drops what was logged after `step`, so that a resumed run logs every step once.

  Args:
    step: The restored step; None empties the file, for a run that begins again from nothing.
  """
  if not path.exists():
    return Kept([], 0)
  text = path.read_text(encoding="utf-8", errors="replace")
  lines = text.removesuffix("\n").split("\n") if text else []
  found = [(line, _parse(line)) for line in lines]
  kept = [(line, one) for line, one in found if one and _logged_by(one, step)]
  # Compared as text: a killed writer can leave the last object whole but without its line end.
  if (rest := "".join(f"{line}\n" for line, _ in kept)) != text:
    write_text(path, rest)
  return Kept([one for _, one in kept], len(lines) - len(kept))


def write_text(path: pathlib.Path, text: str) -> None:
  """As `write_bytes`, in UTF-8."""
  write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Replaces a file in one go: a reader sees the old content or the new one, never a part.

  Raises:
    OSError: The system said no; it names `path`, and nothing has changed.
  """
  draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    draft.write_bytes(content)
    os.replace(draft, path)
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from None
  finally:
    with contextlib.suppress(OSError):  # a folder that may only be read
      draft.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes `value` as indented JSON, atomically; array scalars become numbers, NaN null."""
  text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
  write_text(path, text + "\n")


def write_lines(path: pathlib.Path, records: Iterable[Mapping[str, Any]]) -> None:
  """Writes one JSON object a line, atomically: for files written once, such as samples.jsonl."""
  write_text(path, "".join(_line(record) for record in records))


def plain(value: Any) -> Any:
  """`value` in JSON's own types; anything with `item()` (array scalars) gives its number."""
  if isinstance(value, bool | int | str) or value is None:
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple | set | frozenset):
    return [plain(item) for item in value]
  if hasattr(value, "item"):
    return plain(value.item())
  return str(value)


class RunLog:
  """Appends to a run's `metrics.jsonl` and TensorBoard files, from the restored step on.

  Opening writes the event "start" or "resume", closing "end" (or "stopped", after an exception), so
  that a reader can tell training time from the pauses between sessions.  Each record is one write
  of one line: a kill at any moment leaves at most the last line torn.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    restored: int | None = None,
    tensorboard: bool = True,
    clock: Callable[[], float] | None = None,
  ):
    """Opens the log of the run in `folder`, which is made when absent.

    Args:
      restored: The step of the checkpoint the run goes on from; what was logged later is dropped.
        None: the run begins anew, and an earlier log of this folder is emptied.
      tensorboard: Write event files too, when tensorboardX is installed.
      clock: Unix seconds; by default `steady_clock` from the last line of the log on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self._step = restored or 0
    self._path = folder / METRICS
    kept, dropped = truncate(self._path, restored)
    self._clock = clock or steady_clock(after=_last_time(kept))
    # No buffer, in which a line that a full disk refused would wait to be refused again.
    self._file = self._path.open("ab", buffering=0)
    wanted = tensorboard and tensorboard_available()
    self._board = _Board(folder / "tensorboard", restored, self._clock) if wanted else None
    note = f"{dropped} later lines of the log dropped" if dropped else ""
    self.event(self._step, "start" if restored is None else "resume", note)

  def train(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Logs what was measured up to and including `step`."""
    self._write({"kind": "train", "step": step, "time": self._clock(), **metrics})

  def evaluation(
    self, step: int, *, task: str, group: str, held_out: bool, setting: str, **metrics: Any
  ) -> None:
    """Logs the scores of one task: exact_match (0..1), loss (nats per token), n."""
    names = {"task": task, "group": group, "held_out": held_out, "setting": setting}
    self._write({"kind": "eval", "step": step, "time": self._clock(), **names, **metrics})

  def event(self, step: int, what: str, text: str = "", **facts: Any) -> None:
    """Logs something that happened: a checkpoint saved, a damaged one passed over, a stop."""
    head = {"kind": "event", "step": step, "time": self._clock(), "what": what, "text": text}
    self._write(head | facts)

  def spent(self, seconds: Mapping[str, float]) -> None:
    """Logs what the time since the last line of training went to, by kind."""
    facts: dict[str, Any] = {f"seconds_{kind}": value for kind, value in seconds.items()}
    self.event(self._step, "time", **facts)

  def close(self, what: str = "end", text: str = "") -> None:
    """Logs how the session ended and closes the files; a second call does nothing."""
    if self._file.closed:
      return
    try:
      self.event(self._step, what, text, peak_memory_bytes=peak_memory_bytes())
    finally:
      self._close()

  def _write(self, record: dict[str, Any]) -> None:
    record = plain(record)
    self._step = max(self._step, record["step"])
    try:
      rest = _line(record).encode("utf-8", errors="replace")
      while rest:  # a disk that fills up takes part of it, and then says no
        rest = rest[self._file.write(rest) :]
      if self._board:
        self._board.write(record)
    except OSError as error:  # a full disk: which names no file
      raise OSError(error.errno, error.strerror or str(error), str(self._path)) from None

  def _close(self) -> None:
    self._file.close()
    if self._board:
      with contextlib.suppress(OSError):  # metrics.jsonl has told of a full disk, and has it all
        self._board.close()

  def __enter__(self) -> Self:
    """Returns itself."""
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    """Closes, naming the exception that ended the session if one did."""
    if kind is None:
      self.close()
      return
    with contextlib.suppress(OSError):  # must not hide why the session ends
      self.close("stopped", f"{kind.__name__}: {error}")


def steady_clock(*, after: float = 0.0) -> Callable[[], float]:
  """A clock of Unix seconds that never goes back, whatever is done to the machine's.

  Args:
    after: Where the machine's clock stands before this time, it starts here.
  """
  offset = max(time.time(), after) - time.monotonic()
  return lambda: offset + time.monotonic()


def _last_time(records: Iterable[Mapping[str, Any]]) -> float:
  times = [one["time"] for one in records if isinstance(one.get("time"), int | float)]
  return max(times, default=0.0)


class Unwritten(RunLog):
  """A log that writes nothing: of all processes of a run but the first."""

  def __init__(self):
    """Opens no file."""
    self._clock, self._step = time.time, 0

  def close(self, what: str = "end", text: str = "") -> None:
    """Does nothing."""

  def _write(self, record: dict[str, Any]) -> None:
    pass


def tensorboard_available() -> bool:
  """Whether the optional event writer is installed."""
  return importlib.util.find_spec("tensorboardX") is not None


class _Board:
  """TensorBoard scalars.

  Without tensorboardX's SummaryWriter, which puts a queue and a thread between us and the file:
  threads do not mix with the feed's forked workers.  A kill loses the last seconds of these files;
  metrics.jsonl has them.
  """

  def __init__(self, folder: pathlib.Path, restored: int | None, clock: Callable[[], float]):
    from tensorboardX import event_file_writer

    folder.mkdir(parents=True, exist_ok=True)
    # By name, because no type checker can see these generated classes.
    events = importlib.import_module("tensorboardX.proto.event_pb2")
    summaries = importlib.import_module("tensorboardX.proto.summary_pb2")
    self._event, self._summary = events.Event, summaries.Summary
    # File names carry whole seconds only; a quick restart must not overwrite its predecessor.
    suffix = f".{os.getpid()}.{time.monotonic_ns()}"
    self._writer = event_file_writer.EventsWriter(str(folder / "events"), suffix)
    # TensorBoard forgets what earlier files say about this step and later ones.
    start = events.SessionLog(status=events.SessionLog.START)
    first = 0 if restored is None else restored + 1
    self._writer.write_event(self._event(step=first, wall_time=clock(), session_log=start))
    self._writer.flush()
    self._flushed = time.monotonic()

  def write(self, record: Mapping[str, Any]) -> None:
    value = self._summary.Value
    values = [value(tag=tag, simple_value=number) for tag, number in _scalars(record)]
    if values:
      summary = self._summary(value=values)
      event = self._event(step=record["step"], wall_time=record["time"], summary=summary)
      self._writer.write_event(event)
    # The writer's flush waits for the disk, 4 ms here: too long for every step.
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self._writer.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    self._writer.close()


def _scalars(record: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
  if record["kind"] == "train":
    prefix = "train"
  elif record["kind"] == "eval":
    prefix = "/".join(["eval", *(str(record[key]) for key in ("group", "task", "setting"))])
  else:
    return
  for key, value in record.items():
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and key not in ("step", "time"):
      yield f"{prefix}/{key}", float(value)


@dataclasses.dataclass(frozen=True)
class Machine:
  """The computer a run is on: processor's name, cores, memory in bytes (None: unknown)."""

  processor: str
  cpu_count: int
  memory_bytes: int | None


def machine() -> Machine:
  """Describes this computer, without its name: reports are passed on."""
  return Machine(_processor(), os.cpu_count() or 1, _memory_bytes())


def environment(*, devices: Sequence[str] = (), **facts: Any) -> dict[str, Any]:
  """Everything that may explain a difference between two runs of one configuration.

  Args:
    devices: The kind of every accelerator, as in `[d.device_kind for d in jax.devices()]`.
    **facts: What only the caller knows; the report shows `model` (a name) and `parameters`.
  """
  return {
    "flan_tune": _version("flan_tune") or _version("flan-tune"),
    "commit": _commit(),
    "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
    "python": platform.python_version(),
    "platform": platform.platform(),
    **dataclasses.asdict(machine()),
    "devices": list(devices),
    "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    **facts,
  }


def write_environment(folder: pathlib.Path, *, devices: Sequence[str] = (), **facts: Any) -> None:
  """Writes `environment.json` into a run folder; arguments as for `environment`."""
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / ENVIRONMENT, environment(devices=devices, **facts))


def peak_memory_bytes() -> int | None:
  """The most memory this process has held, in bytes; None where the system does not say."""
  try:
    import resource
  except ImportError:  # not on Windows
    return None
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _parse(line: str) -> dict[str, Any] | None:
  try:
    record = json.loads(line)
  except ValueError:
    return None
  return record if isinstance(record, dict) else None


def _logged_by(record: Mapping[str, Any], step: int | None) -> bool:
  at = record.get("step")
  return step is not None and isinstance(at, int) and at <= step


def _line(record: Mapping[str, Any]) -> str:
  return json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  root = pathlib.Path(__file__).resolve().parents[1]
  # Installed inside another project's checkout, git would answer with that project's commit.
  if not (root / ".git").exists():
    return None
  try:
    described = subprocess.run(
      ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
      capture_output=True,
      text=True,
      timeout=5,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return described.stdout.strip() or None


def _processor() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
  except OSError:
    lines = []
  names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  return names[0] if names else platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
  try:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (AttributeError, OSError, ValueError):
    return None
