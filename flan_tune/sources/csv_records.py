"""CSV files (RFC 4180): indexed by byte offsets when opened, records read at random afterwards.

A record may span lines, inside quotation marks.  What does not keep to the rules exactly costs as
little as it can: the first line of a bad record is left out, and reading goes on with the next.
What a bad record quotes is then taken for a record only where a line of it has all the columns.
"""

import array
import codecs
import collections
import csv
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from flan_tune import errors
from flan_tune.sources import lines

# One quotation mark too many would otherwise make a record of the rest of the file.
LONGEST = 1 << 16  # bytes; below the limit of Python's csv for a field

_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_RECORD = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+(?:\r?\n|\Z)")

DAMAGED = "not CSV"
# What comes before the cut may look whole, so a last record counts only with its line end, unless
# `parse` can tell.
CUT_SHORT = "no line end"
COLUMNS = "wrong number of columns"


class Records:
  """The rows that `parse` makes of a file's records, one at a time, when they are asked for.

  As with `lines.Lines`, nothing is held open, and of the records only their places are kept.

  Args:
    path: A file of UTF-8.
    columns: Those to read, in any order in the file, which may have others.
    header: Whether the first record names the columns; if not, `columns` are all there are.
    parse: Makes a row of a record's texts by column; raises BadLine for one to leave out.
    check: Raises BadLine for the same ones; `parse` itself where that is as fast.
    open_end: Whether the last record may lack its line end: where `parse` refuses one cut short.
    used: The file that was read, as the card names it.

  Attributes:
    problems: Records left out, counted by reason; of one that is no CSV, each line.
    used: As the argument.

  Raises:
    UserError: The file cannot be read, or its header lacks a column.
  """

  def __init__(
    self,
    path: pathlib.Path,
    columns: Sequence[str],
    parse: Callable[[Mapping[str, str]], lines.Row],
    *,
    check: Callable[[Mapping[str, str]], object] | None = None,
    header: bool = True,
    open_end: bool = False,
    used: str,
  ):
    self.used = used
    self._path, self._parse, self._open_end = path, parse, open_end
    self._starts, self._sizes = array.array("q"), array.array("I")
    problems = collections.Counter()
    try:
      with path.open("rb") as file:
        found = _records(file, open_end=open_end)
        self._width = len(columns)
        self._numbers = {column: number for number, column in enumerate(columns)}
        if header:
          self._header(next(found, (0, b"", "the file is empty")), columns)
        self._index(found, check or parse, problems)
    except OSError as error:
      raise errors.UserError(f"{path}: cannot be read: {error.strerror}") from None
    self.problems: dict[str, int] = dict(problems)

  def __len__(self) -> int:
    return len(self._starts)

  def __getitem__(self, index: int) -> lines.Row:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.used}: row {index} of {len(self)}, counted from 0")
    descriptor = os.open(self._path, os.O_RDONLY)
    try:
      content = os.pread(descriptor, self._sizes[index], self._starts[index])
    finally:
      os.close(descriptor)
    try:
      if not _is_whole(content, open_end=self._open_end):
        raise lines.BadLine(DAMAGED)
      return self._parse(self._texts(content))
    except lines.BadLine as reason:
      raise RuntimeError(
        f"{self._path}: record {index + 1} changed while it was in use: {reason}"
      ) from None

  def _header(self, first: tuple[int, bytes, str], columns: Sequence[str]) -> None:
    _, content, reason = first
    try:
      names = [] if reason else _split(content)
    except lines.BadLine as bad:
      names, reason = [], str(bad)
    for column in columns:
      if names.count(column) != 1:
        shown = reason or f"it has {', '.join(names)}"
        raise errors.UserError(
          f"{self._path}: expected a CSV header with one column {column!r}: {shown}"
        )
    self._width = len(names)
    self._numbers = {column: names.index(column) for column in columns}

  def _index(
    self,
    found: Iterator[tuple[int, bytes, str]],
    check: Callable[[Mapping[str, str]], object],
    problems: collections.Counter,
  ) -> None:
    for start, content, reason in found:
      try:
        if reason:
          raise lines.BadLine(reason)
        check(self._texts(content))
      except lines.BadLine as bad:
        problems[str(bad)] += 1
      else:
        self._starts.append(start)
        self._sizes.append(len(content))

  def _texts(self, content: bytes) -> Mapping[str, str]:
    texts = _split(content)
    if len(texts) != self._width:
      raise lines.BadLine(COLUMNS)
    return {column: texts[number] for column, number in self._numbers.items()}


def _split(content: bytes) -> list[str]:
  """The fields of a record that `_RECORD` matches."""
  text = lines.text_of(content)
  return next(csv.reader([text], strict=True))


def _is_whole(content: bytes, *, open_end: bool) -> bool:
  return (open_end or content.endswith(b"\n")) and _RECORD.fullmatch(content) is not None


def _records(file: BinaryIO, *, open_end: bool) -> Iterator[tuple[int, bytes, str]]:
  """Start and content of each record, with the reason where it is a bad line instead."""
  ahead: collections.deque[tuple[int, bytes]] = collections.deque()
  source = _lines(file)
  while first := ahead.popleft() if ahead else next(source, None):
    taken, content = [first], first[1]
    odd = content.count(b'"') % 2
    while odd and len(content) <= LONGEST:
      line = ahead.popleft() if ahead else next(source, None)
      if line is None:
        break
      taken.append(line)
      content += line[1]
      odd = (odd + line[1].count(b'"')) % 2
    if len(content) <= LONGEST and _is_whole(content, open_end=open_end):
      yield first[0], content, ""
      continue
    # The lines that it would have swallowed may be good ones.
    ahead.extendleft(reversed(taken[1:]))
    cut = not first[1].endswith(b"\n") and len(first[1]) <= LONGEST
    yield *first, CUT_SHORT if cut else DAMAGED


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
  """Start and content of each line; of one that is too long only more than is allowed."""
  start = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
  file.seek(start)
  while line := file.readline(LONGEST + 1):
    size, rest = len(line), line
    while len(rest) > LONGEST and not rest.endswith(b"\n"):
      rest = file.readline(LONGEST + 1)
      size += len(rest)
    yield start, line
    start += size
