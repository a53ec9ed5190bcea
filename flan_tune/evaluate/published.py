"""Scores that papers printed, for reports and documents: `tasks/benchmarks/published.tsv`."""

import csv
import functools
from typing import NamedTuple

from flan_tune import assets, errors

FILE = "benchmarks/published.tsv"
_KEYS = ("source", "benchmark", "setting")


class _Line(NamedTuple):
  model: str
  benchmark: str
  setting: str
  score: str
  source: str


def rows(model: str | None = None) -> list[dict[str, str]]:
  """Rows as `flan_tune.evaluate.aggregate` takes them, of one model or of all.

  Each has model, benchmark, setting, score (text, as printed) and source (paper and table).

  Raises:
    UserError: No paper has the model.
  """
  lines = _lines()
  if model is not None:
    errors.one_of(model, models(), FILE)
    lines = tuple(line for line in lines if line.model == model)
  return [line._asdict() for line in lines]


def models() -> list[str]:
  """Names of all models, in the order of the papers' tables."""
  return list(dict.fromkeys(line.model for line in _lines()))


@functools.cache
def _lines() -> tuple[_Line, ...]:
  with assets.find("tasks", FILE).open(encoding="utf-8", newline="") as file:
    # A column for each model: a score's benchmark, setting and source stand once for all.
    table = list(csv.DictReader(file, delimiter="\t"))
  names = [name for name in table[0] if name not in _KEYS]
  return tuple(
    _Line(name, row["benchmark"], row["setting"], row[name], row["source"])
    for name in names
    for row in table
    if row[name]
  )
