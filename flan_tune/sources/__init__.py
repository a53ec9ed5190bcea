"""Rows with `len()` and `[i]`.

A source kind is a module of this package with two functions of the same arguments: `locate` looks
for the files (stat and no more) and `open_source` reads them.
"""

import importlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flan_tune import errors
from flan_tune.sources.missing import MissingData

__all__ = ["KINDS", "MissingData", "Source", "find_split", "open_split"]

KINDS = (
  "playground",
  "tsv",
  "jsonl",
  "text",
  "esnli",
  "qed",
  "tfds",
  "p3",
  "natural_instructions",
  "taskmaster",
  "dr_repair",
  "code_contests",
  "bbh",
  "mmlu",
  "tydiqa",
  "mgsm",
  "real_toxicity_prompts",
  "civil_comments",
  "winogender",
  "identity_prompts",
)
_SLICE = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?")
# Rows held out at the end of a split are at most this part of it: a copy with a few rows of a
# data set would otherwise have none left to train on.  No whole data set reaches it.
_MOST_HELD_OUT = 1 / 3


class Source(Protocol):
  """Rows by number; `problems` counts what was skipped, by reason."""

  problems: Mapping[str, int]

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class Slice:
  """A range of another source's rows; `used` is what that one says it reads."""

  def __init__(self, source: Source, rows: range):
    self._source = source
    self._rows = rows
    self.problems = source.problems
    self.used = getattr(source, "used", "")

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    return self._source[self._rows[index]]


class _Split(NamedTuple):
  name: str
  start: int | None
  stop: int | None
  sliced: bool


def open_split(
  source: Mapping[str, Any], split: str, root: pathlib.Path | None, *, where: str
) -> Source:
  """Opens a native split, or a slice of one.

  Args:
    source: One kind with its argument, as in a card.
    split: `train`, `train[:-200]`, `validation[100:]`: TFDS's slices by row number.  A bound
      counted from the end holds out at most a third of the rows.
    root: $FLAN_TUNE_DATA, or None for sources that need no files.
    where: The card, for messages.

  Raises:
    MissingData: The files are not under `root`.
    UserError: Unknown kind, or a split that cannot be read.
  """
  asked = _parsed(split, where)
  rows = _module(source, where).open_source(_argument(source), asked.name, root)
  if not asked.sliced:
    return rows
  bounds = (_bound(asked.start, len(rows)), _bound(asked.stop, len(rows)))
  return Slice(rows, range(len(rows))[slice(*bounds)])


def find_split(
  source: Mapping[str, Any], split: str, root: pathlib.Path | None, *, where: str
) -> Any:
  """What the source finds of a split, without opening it: a path, a record with paths, or None.

  A record's `stand_in` says which other split stands in for one that is not on disk.

  Raises:
    MissingData: The files are not under `root`.
    UserError: Unknown kind, or the card's argument is wrong.
  """
  asked = _parsed(split, where)
  return _module(source, where).locate(_argument(source), asked.name, root)


def _argument(source: Mapping[str, Any]) -> Any:
  (argument,) = source.values()
  return argument


def _module(source: Mapping[str, Any], where: str) -> Any:
  (kind,) = source
  errors.one_of(kind, KINDS, f"{where}: source")
  return importlib.import_module(f"flan_tune.sources.{kind}")


def _parsed(split: str, where: str) -> _Split:
  match = _SLICE.fullmatch(split)
  if match is None:
    raise errors.UserError(f"{where}: splits: {split!r} is no split name with an optional [a:b]")
  start, stop = (int(match[side]) if match[side] else None for side in ("start", "stop"))
  return _Split(match["name"], start, stop, match[2] is not None)


def _bound(bound: int | None, rows: int) -> int | None:
  if bound is None or bound >= 0:
    return bound
  # Never -0, which would mean the front; max keeps every slice of a split on the same cut.
  return rows - min(-bound, int(rows * _MOST_HELD_OUT))
