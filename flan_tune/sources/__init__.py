"""Rows with `len()` and `[i]`.  A source kind is a module of this package with `open_source`."""

import importlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Protocol

from flan_tune import errors
from flan_tune.sources.missing import MissingData

__all__ = ["KINDS", "MissingData", "Source", "open_split"]

KINDS = ("playground", "tsv", "jsonl", "esnli", "qed")
_SLICE = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?")


class Source(Protocol):
  """Rows by number; `problems` counts what was skipped, by reason."""

  problems: Mapping[str, int]

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class Slice:
  """A range of another source's rows."""

  def __init__(self, source: Source, rows: range):
    self._source = source
    self._rows = rows
    self.problems = source.problems

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    return self._source[self._rows[index]]


def open_split(
  source: Mapping[str, Any], split: str, root: pathlib.Path | None, *, where: str
) -> Source:
  """Opens a native split, or a slice of one.

  Args:
    source: One kind with its argument, as in a card.
    split: `train`, `train[:-200]`, `validation[100:]`: TFDS's slices by row number.
    root: $FLAN_TUNE_DATA, or None for sources that need no files.
    where: The card, for messages.

  Raises:
    MissingData: The files are not under `root`.
    UserError: Unknown kind, or a split that cannot be read.
  """
  ((kind, argument),) = source.items()
  errors.one_of(kind, KINDS, f"{where}: source")
  match = _SLICE.fullmatch(split)
  if match is None:
    raise errors.UserError(f"{where}: splits: {split!r} is no split name with an optional [a:b]")
  module = importlib.import_module(f"flan_tune.sources.{kind}")
  rows = module.open_source(argument, match["name"], root)
  if match[2] is None:
    return rows
  start, stop = (int(match[side]) if match[side] else None for side in ("start", "stop"))
  return Slice(rows, range(len(rows))[start:stop])
