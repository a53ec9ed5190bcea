"""Text files of lines: indexed by byte offsets when opened, read at random afterwards."""

import array
import codecs
import collections
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flan_tune import errors

Row = Mapping[str, Any]


class BadLine(Exception):
  """A line no row can be made of; its text is the reason, counted in `problems`."""


class Lines:
  """The lines of a file as bytes, without line feeds, carriage returns before them, and BOM.

  Nothing is held open: one read costs an open and a close (about 5 microseconds on a local
  disk), and in return a thousand sources need no descriptor each, and copies in forked or spawned
  processes need no care.

  Raises:
    UserError: The file cannot be read.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._starts = array.array("q", [0])  # one more than there are lines
    try:
      with path.open("rb") as file:
        for line in file:
          self._starts.append(self._starts[-1] + len(line))
    except OSError as error:
      raise errors.UserError(f"{path}: cannot be read: {error.strerror}") from None

  def __len__(self) -> int:
    return len(self._starts) - 1

  def __getitem__(self, index: int) -> bytes:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.path}: line {index} of {len(self)}, counted from 0")
    start, size = self._starts[index], self._starts[index + 1] - self._starts[index]
    descriptor = os.open(self.path, os.O_RDONLY)
    try:
      line = os.pread(descriptor, size, start)
    finally:
      os.close(descriptor)
    if len(line) != size:
      raise RuntimeError(f"{self.path}: became shorter while it was in use")
    return _content(line, first=index == 0)

  def __iter__(self) -> Iterator[bytes]:
    """All lines in order, in one pass over the file."""
    with self.path.open("rb") as file:
      for index, line in enumerate(file):
        yield _content(line, first=index == 0)


class ParsedLines:
  """The rows that `parse` makes of a file's lines, one at a time, when they are asked for.

  Args:
    check: Raises BadLine for the lines to leave out; run once on every line.  `parse` itself where
      that is as fast.
    used: The file that was read, as the card names it.

  Attributes:
    problems: Lines left out, counted by reason.  Rows and problems add up to the lines.
    used: As the argument.
  """

  def __init__(
    self,
    path: pathlib.Path,
    parse: Callable[[bytes], Row],
    *,
    check: Callable[[bytes], object] | None = None,
    used: str,
  ):
    self.used = used
    self._lines = Lines(path)
    self._parse = parse
    self._kept, self.problems = usable(self._lines, check or parse)

  def __len__(self) -> int:
    return len(self._kept)

  def __getitem__(self, index: int) -> Row:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.used}: row {index} of {len(self)}, counted from 0")
    number = self._kept[index]
    try:
      return self._parse(self._lines[number])
    except BadLine as reason:
      raise RuntimeError(
        f"{self._lines.path}: line {number + 1} changed while it was in use: {reason}"
      ) from None


def usable(
  lines: Iterable[Any], check: Callable[[Any], object]
) -> tuple[array.array, dict[str, int]]:
  """The numbers of the lines that pass, and how many raise BadLine, by reason."""
  kept, problems = array.array("q"), collections.Counter()
  for number, line in enumerate(lines):
    try:
      check(line)
    except BadLine as reason:
      problems[str(reason)] += 1
    else:
      kept.append(number)
  return kept, dict(problems)


def text_of(line: bytes) -> str:
  """Decodes a line.

  Raises:
    BadLine: It is blank or no UTF-8.
  """
  try:
    text = line.decode("utf-8")
  except UnicodeDecodeError:
    raise BadLine("invalid UTF-8") from None
  if not text.strip():
    raise BadLine("blank line")
  return text


def _content(line: bytes, *, first: bool) -> bytes:
  line = line.removesuffix(b"\n").removesuffix(b"\r")
  return line.removeprefix(codecs.BOM_UTF8) if first else line
