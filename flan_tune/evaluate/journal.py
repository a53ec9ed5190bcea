"""Answers on disk: one JSON line a question, appended as they come, one file for each shard.

A kill leaves at most the last line torn; it is cut off, and its question asked again.
"""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from flan_tune import errors
from flan_tune.evaluate.asking import Name

try:
  import fcntl
except ImportError:  # not on Windows, where nothing keeps two processes off one shard
  fcntl = None

ANSWERS = "answers-*.jsonl"
# How long each part took, so that a continued evaluation knows its whole time.
_SECONDS = "seconds-*.jsonl"
_SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})\.jsonl")

# Line ends to some readers, though not to JSON.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}

Record = dict[str, Any]


class Seconds(NamedTuple):
  """Time spent: in all, and in the model.  Of several processes the sum."""

  total: float = 0.0
  model: float = 0.0


class Memory:
  """Keeps answers for the caller only.

  Attributes:
    records: By question.
  """

  def __init__(self):
    self.records: dict[Name, Record] = {}
    self._seconds = Seconds()

  def append(self, records: Sequence[Record], spent: Seconds) -> None:
    """Keeps the answers to one batch, in JSON's own types, and how long it took."""
    for record in records:
      self.records[name_of(record)] = record
    self._seconds = Seconds(*map(sum, zip(self._seconds, spent, strict=True)))

  def refresh(self) -> None:
    """Reads what other processes have answered meanwhile."""

  def seconds(self) -> Seconds:
    """Of all batches."""
    return self._seconds

  def told(self) -> list[str]:
    """What a user should know of the files, in sentences."""
    return []


class Journal(Memory):
  """Keeps answers in a folder, whose other shards it reads.

  Close it, or use it in a `with` statement: it holds its file locked.
  """

  def __init__(self, folder: pathlib.Path, shard: tuple[int, int]):
    """Opens the shard's file and reads all that the folder holds.

    Raises:
      UserError: Another process is answering this shard, or other numbers of shards.
    """
    super().__init__()
    self._folder = folder
    self._read: dict[str, int] = {}  # bytes of each file
    self._torn: list[str] = []
    self._repeated = self._damaged = 0
    number, count = shard
    name = f"{number:05}-of-{count:05}.jsonl"
    self._path = folder / f"answers-{name}"
    self._answers = _claimed(self._path)
    self._times = (folder / f"seconds-{name}").open("ab+")
    try:
      for path in self.others():
        if _count(path) != count:
          raise errors.UserError(
            f"{path}: another process is answering this of {_count(path)} shards and this one was "
            f"told {count}; give all the same number, or wait until it is done"
          )
      for file in (self._answers, self._times):
        if torn := _cut_torn(file):
          self._torn.append(f"{pathlib.Path(file.name).name}: {torn} bytes of a torn line cut off")
      self.refresh()
    except BaseException:
      self.withdraw()
      raise

  def append(self, records: Sequence[Record], spent: Seconds) -> None:
    """Writes the answers to one batch in one go."""
    super().append(records, Seconds())
    self._read[self._path.name] = _write(self._answers, records)
    _write(self._times, [spent._asdict()])

  def refresh(self) -> None:
    """Reads what has been added to any file of answers."""
    for path in sorted(self._folder.glob(ANSWERS)):
      start = self._read.get(path.name, 0)
      found, damaged, end = _lines(path, start)
      self._read[path.name] = end
      self._damaged += damaged
      for record in found:
        # The first answer counts: it is the one that a reader of the folder may have seen.
        if self.records.setdefault(name_of(record), record) is not record:
          self._repeated += 1

  def others(self) -> list[pathlib.Path]:
    """Files of answers that other processes are writing now."""
    found = []
    for path in sorted(self._folder.glob(ANSWERS)):
      with path.open("rb") as file:
        # A second handle of this process finds its own lock, too.
        if path != self._path and not _lock(file, shared=True):
          found.append(path)
    return found

  def seconds(self) -> Seconds:
    """Of all processes that ever answered here, those killed included."""
    spent = [one for path in sorted(self._folder.glob(_SECONDS)) for one in _lines(path, 0)[0]]
    return Seconds(sum(one["total"] for one in spent), sum(one["model"] for one in spent))

  def told(self) -> list[str]:
    """Lines that were torn, damaged or there twice."""
    told = [*self._torn]
    if self._damaged:
      told.append(f"{self._damaged} damaged lines of answers passed over and asked again")
    if self._repeated:
      told.append(f"{self._repeated} questions answered twice; the first answer counts")
    return told

  def close(self) -> None:
    """Releases the shard."""
    self._answers.close()
    self._times.close()

  def withdraw(self) -> None:
    """Releases the shard and leaves no empty file behind."""
    for file in (self._answers, self._times):
      if not file.seek(0, os.SEEK_END):
        pathlib.Path(file.name).unlink(missing_ok=True)
    self.close()

  def __enter__(self) -> "Journal":
    """Returns itself."""
    return self

  def __exit__(self, *_: object) -> None:
    """Closes."""
    self.close()


def name_of(record: Mapping[str, Any]) -> Name:
  """Which question a record answers."""
  return Name(record["exam"], record["setting"], record["id"])


@contextlib.contextmanager
def settling(folder: pathlib.Path) -> Iterator[None]:
  """Makes the folder and keeps other processes from settling what it holds at the same time."""
  folder.mkdir(parents=True, exist_ok=True)
  if fcntl is None:
    yield
    return
  number = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):  # some network file systems have no locks
      fcntl.flock(number, fcntl.LOCK_EX)
    yield
  finally:
    os.close(number)


def _claimed(path: pathlib.Path) -> IO[bytes]:
  file = path.open("ab+")
  if not _lock(file, shared=False):
    file.close()
    raise errors.UserError(
      f"{path}: another process is answering this shard; wait until it is done, or give each "
      "process a shard of its own"
    )
  return file


def _lock(file: IO[bytes], *, shared: bool) -> bool:
  """Whether the lock was to be had; it goes when the file is closed or the process killed."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    return True  # some network file systems have no locks
  return True


def _count(path: pathlib.Path) -> int:
  found = _SHARD.search(path.name)
  return int(found[2]) if found else 0


def _cut_torn(file: IO[bytes]) -> int:
  """Cuts off what stands behind the last line end; returns how many bytes."""
  file.seek(0)
  held = file.read()
  whole = held.rfind(b"\n") + 1
  file.truncate(whole)
  file.seek(0, os.SEEK_END)
  return len(held) - whole


def _write(file: IO[bytes], records: Sequence[Mapping[str, Any]]) -> int:
  """Appends lines and hands them to the system; returns the file's length in bytes."""
  lines = [json.dumps(one, ensure_ascii=False, allow_nan=False) for one in records]
  text = "".join(f"{line}\n" for line in lines).translate(_LINE_ENDS)
  # A lone surrogate cannot be written, but its escape can, and JSON reads it back.
  file.write(text.encode("utf-8", errors="backslashreplace"))
  file.flush()
  return file.tell()


def _lines(path: pathlib.Path, start: int) -> tuple[list[Record], int, int]:
  """Whole lines from a byte on, how many of them are damaged, and the byte behind the last."""
  with path.open("rb") as file:
    file.seek(start)
    held = file.read()
  whole = held.rfind(b"\n") + 1
  found, damaged = [], 0
  for line in held[:whole].split(b"\n")[:-1]:
    record = _parsed(line)
    if record is None:
      damaged += 1
    else:
      found.append(record)
  return found, damaged, start + whole


def _parsed(line: bytes) -> Record | None:
  try:
    record = json.loads(line)
  except ValueError:
    return None
  if not isinstance(record, dict):
    return None
  answers = {"prompt_hash", "extracted", "score"} <= record.keys()
  named = all(isinstance(record.get(key), str) for key in Name._fields)
  return record if (answers and named) or {"total", "model"} <= record.keys() else None
