"""What the sources of benchmarks share: numbered rows, and small files that are read whole."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flan_tune import errors
from flan_tune.sources import lines, missing, paths

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


class Rows(Protocol):
  """A source, or a list of rows."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class Numbered:
  """Rows whose `id` is their number, counted from 0.

  Args:
    name: The task, subject or language, told with each problem: an evaluation has many of them.
    problems: What was left out, counted by reason.

  Attributes:
    problems: As the argument, each reason after the name.
    used: The file that was read, as a path under the data folder.

  Raises:
    UserError: There is no row.
  """

  def __init__(
    self, rows: Rows, name: str, found: paths.Found, *, problems: Mapping[str, int] | None = None
  ):
    self.used = found.name
    self.problems = {f"{name}: {reason}": count for reason, count in (problems or {}).items()}
    self._rows = rows
    if not len(rows):
      raise nothing_left(found.path, name, problems or {})

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> lines.Row:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.used}: row {index} of {len(self)}, counted from 0")
    return {"id": str(index), **self._rows[index]}


def nothing_left(path: pathlib.Path, name: str, problems: Mapping[str, int]) -> errors.UserError:
  """An error saying that a file holds no question, and why."""
  reasons = "; ".join(problems) or "it has none"
  return errors.UserError(f"{path}: expected questions of {name}: {reasons}")


def checked_name(argument: object, key: str, example: str, *, where: str) -> str:
  """The one name that a card's argument gives under `key`.

  Raises:
    UserError: It gives none, or one that is no name of a file.
  """
  name = paths.checked_keys(argument, required=(key,), where=where)[key]
  if not isinstance(name, str) or not _NAME.fullmatch(name):
    raise errors.UserError(f"{where}: {key}: expected a name such as {example}, not {name!r}")
  return name


def first_found(
  root: pathlib.Path | None, names: Sequence[str], *, where: str, how: str
) -> paths.Found:
  """As `paths.first_found`, for files that no clone of a repository brings.

  Args:
    how: How to get them, for the message when they are missing.
  """
  try:
    return paths.first_found(root, names, where=where, repository=None)
  except missing.MissingData as error:
    step = "set FLAN_TUNE_DATA to a folder for data sets, then " if root is None else ""
    raise missing.MissingData(error.path, step + how) from None


def whole_text(path: pathlib.Path) -> str:
  """The text of a small file, with line feeds at the ends of its lines and without BOM.

  Raises:
    UserError: It cannot be read, or is no UTF-8.
  """
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except OSError as error:
    raise errors.UserError(f"{path}: cannot be read: {error.strerror}") from None
  except UnicodeDecodeError as error:
    raise errors.UserError(f"{path}: no UTF-8 at byte {error.start}") from None
  return text.replace("\r\n", "\n")


def text_field(record: Any, name: str) -> str:
  """A text of a JSON object, without white space around it.

  Raises:
    BadLine: There is no such text, or it is blank.
  """
  if not isinstance(record, Mapping):
    raise lines.BadLine("not an object")
  text = record.get(name)
  if not isinstance(text, str):
    raise lines.BadLine(f"no text {name!r}")
  if not text.strip():
    raise lines.BadLine(f"empty field {name!r}")
  return text.strip()
