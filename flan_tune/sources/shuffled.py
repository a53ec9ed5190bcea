"""Another source's rows in an order of chance, the same on every machine and in every run."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flan_tune import draws, errors
from flan_tune.sources import paths

# Part of what a score is made of: another number would choose other rows.
_KEY = 20221020


class _Rows(Protocol):
  @property
  def problems(self) -> Mapping[str, int]: ...
  @property
  def used(self) -> str: ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Any: ...


class Shuffled:
  """The rows of a source, or `count` of them, drawn uniformly without repetition.

  The first n are a uniform sample, too, whatever n is.

  Attributes:
    problems: Those of the source.
    used: The file read, as the source says it.
  """

  def __init__(self, rows: _Rows, count: int | None = None):
    self._rows = rows
    self._count = len(rows) if count is None else min(count, len(rows))
    self.problems: Mapping[str, int] = rows.problems
    self.used = rows.used

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Any:
    if not 0 <= index < self._count:
      raise IndexError(f"{self.used}: row {index} of {self._count}, counted from 0")
    return self._rows[draws.permuted(index, len(self._rows), _KEY)]


def checked(argument: object, names: Sequence[str], *, where: str) -> Mapping[str, Any]:
  """`argument` when it is a mapping of `names` and `sample`, all of them optional.

  Raises:
    UserError: It is not, or `sample` is no number of rows.
  """
  found = paths.checked_keys(argument, required=(), optional=(*names, "sample"), where=where)
  count = found.get("sample")
  if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
    raise errors.UserError(f"{where}: sample: expected a number of rows from 1, not {count!r}")
  return found
