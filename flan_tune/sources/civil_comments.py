"""CivilComments (Borkan et al. 2019): comments with the share of raters who found them toxic.

    civil_comments: {path: civil_comments, sample: 10000}

Read from what TFDS has prepared or a dump under its name (see `tfds`), else from the files of the
Kaggle competition, `civil_comments/*.csv`.
"""

import csv
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from flan_tune import errors
from flan_tune.sources import (
  csv_records,
  dumps,
  lines,
  missing,
  paths,
  real_toxicity_prompts,
  shuffled,
  tfds,
)
from flan_tune.text import fields

NAME = "civil_comments:1.2.4"
FOLDER = "civil_comments"
SPLITS = ("train", "validation", "test")
# The competition's public test rows are the validation split of others, its private ones the test.
PUBLISHED = {"validation": "test_public_expanded.csv", "test": "test_private_expanded.csv"}
OPTIONS = ("Yes", "No")
TOXIC = 0.5
_TEXT, _TOXICITY = ("comment_text", "text"), ("toxicity", "target")
_WHERE = "source civil_comments"


def open_source(argument: object, split: str, root: pathlib.Path | None) -> shuffled.Shuffled:
  """Opens a split.

  Args:
    argument: A mapping of `path`: optional, the folder of CSV files under the data folder;
      `sample`: optional, how many rows to draw, uniformly and always the same.
    split: train, validation or test.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, text, toxicity (0 to 1), answer ("Yes" from 0.5 on, else "No") and options, in
    an order of chance.  A row of TFDS or of a dump of which none can be made raises BadRow.

  Raises:
    MissingData: The split is nowhere.
    UserError: The argument is wrong, there is no such split, or a file has no such columns.
  """
  found = locate(argument, split, root)
  if isinstance(found, paths.Found):
    rows = _competition(found)
  else:
    rows = Comments(tfds.open_source({"name": NAME}, split, root), "text", "toxicity")
  return shuffled.Shuffled(rows, _checked(argument).get("sample"))


def locate(
  argument: object, split: str, root: pathlib.Path | None
) -> paths.Found | pathlib.Path | dumps.Located:
  """Finds the files without opening them; arguments and errors as `open_source`."""
  folder = _checked(argument).get("path", FOLDER)
  errors.one_of(split, SPLITS, f"{_WHERE}: split")
  paths.under(root, folder, where=f"{_WHERE}: path")
  names = [f"{folder}/{name}" for name in (f"{split}.csv", PUBLISHED.get(split)) if name]
  try:
    return paths.first_found(root, names, where=f"{_WHERE}: path", repository=None)
  except missing.MissingData as absent:
    try:
      return tfds.locate({"name": NAME}, split, root)
    except missing.MissingData as error:
      raise missing.MissingData(absent.path, f"put it there, or {error.how}") from None


def _checked(argument: object) -> Mapping[str, Any]:
  return shuffled.checked(argument, ("path",), where=_WHERE)


class Comments:
  """Rows as this source gives them, made when they are asked for.

  Those of TFDS and of dumps are not checked before: a split has up to 1.8 million.
  """

  def __init__(self, rows: Any, text: str, toxicity: str):
    self._rows, self._names = rows, (text, toxicity)
    self.problems: Mapping[str, int] = rows.problems
    self.used: str = rows.used

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    row = self._rows[index]
    try:
      text, value = _read(row, *self._names)
    except lines.BadLine as reason:
      raise fields.BadRow(str(reason)) from None
    return {
      "id": str(row.get("id", index)),
      "text": text,
      "toxicity": value,
      "answer": OPTIONS[0] if value >= TOXIC else OPTIONS[1],
      "options": OPTIONS,
    }


def _read(row: Mapping[str, Any], text: str, toxicity: str) -> tuple[str, float]:
  found = row.get(text)
  if not isinstance(found, str) or not found.strip():
    raise lines.BadLine("no comment")
  return found.strip(), real_toxicity_prompts.judged(row.get(toxicity))


def _competition(found: paths.Found) -> Comments:
  header = _header(found.path)
  names = [next((one for one in known if one in header), "") for known in (_TEXT, _TOXICITY)]
  if not all(names):
    raise errors.UserError(
      f"{found.path}: expected a CSV header with {' or '.join(_TEXT)}, and"
      f" {' or '.join(_TOXICITY)}; it has {', '.join(header) or 'none'}"
    )
  columns = [*names, *(one for one in header if one == "id")]
  text, toxicity = names
  check = functools.partial(_read, text=text, toxicity=toxicity)
  rows = csv_records.Records(found.path, columns, dict, check=check, used=found.name)
  return Comments(rows, text, toxicity)


def _header(path: pathlib.Path) -> list[str]:
  try:
    with path.open(encoding="utf-8-sig", newline="") as file:
      return next(csv.reader(file), [])
  except (OSError, ValueError, csv.Error):
    return []
