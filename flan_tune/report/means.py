"""The benchmarks' means that results.json holds, ready for tables, plots and comparisons."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flan_tune.evaluate import wording
from flan_tune.report.exam_folder import Examined, ExamRow
from flan_tune.report.run_folder import mappings
from flan_tune.report.scoreboard import number


class Mean(NamedTuple):
  """A benchmark, or a group of its tasks, asked in one way; percentages, None where unknown."""

  benchmark: str
  setting: str
  macro: float
  micro: float | None = None
  normalised: float | None = None
  chance: float | None = None
  low: float | None = None
  high: float | None = None
  tasks: int = 0
  of: int | None = None
  n: int | None = None
  higher_is_better: bool = True

  @property
  def key(self) -> tuple[str, str]:
    """What tells it from other means, in every evaluation alike."""
    return self.benchmark, self.setting

  @property
  def name(self) -> str:
    """As pages show it."""
    return f"{self.benchmark}, {self.setting}" + (
      "" if self.higher_is_better else " (less is better)"
    )


def of(examined: Examined) -> list[Mean]:
  """A mean for every benchmark and setting; from the rows where there is no aggregate."""
  found = _read(examined.aggregate.get("benchmarks"))
  if found:
    own: dict[tuple[str, str], list[ExamRow]] = {}
    for row in examined.rows:
      own.setdefault(_named(row), []).append(row)
    return [_told_by(own.get(mean.key, []), mean) for mean in found]
  several: dict[tuple[str, str], list[ExamRow]] = {}
  for row in examined.rows:
    if row.score is not None:
      several.setdefault((row.family, row.label or row.setting), []).append(row)
  return [_mean(*key, rows) for key, rows in several.items()]


def _told_by(rows: list[ExamRow], mean: Mean) -> Mean:
  """What only the rows of a mean know of it."""
  mean = mean._replace(higher_is_better=all(row.higher_is_better for row in rows))
  if len(rows) == 1 and mean.low is None and rows[0].score == mean.macro:
    return mean._replace(low=rows[0].low, high=rows[0].high)
  return mean


def _named(row: ExamRow) -> tuple[str, str]:
  """What the mean that a row is part of is called."""
  return row.family, wording.parse(row.label or row.setting).text


def groups(examined: Examined) -> list[Mean]:
  """The same for groups of tasks, such as BBH-nlp."""
  return _read(examined.aggregate.get("groups"))


def parts(examined: Examined) -> dict[str, float | None]:
  """The normalised scores that the average is the mean of; None for one that was not asked."""
  value = examined.aggregate.get("parts")
  return {str(name): number(one) for name, one in value.items()} if isinstance(value, dict) else {}


def texts(examined: Examined, key: str) -> list[str]:
  """`missing` or `notes` of the aggregate."""
  value = examined.aggregate.get(key)
  return [str(one) for one in value] if isinstance(value, list) else []


def _read(value: Any) -> list[Mean]:
  return [mean for entry in mappings(value) if (mean := _one(entry))]


def _one(entry: Mapping[str, Any]) -> Mean | None:
  macro = number(entry.get("macro"))
  if macro is None:
    return None
  return Mean(
    benchmark=str(entry.get("benchmark") or ""),
    setting=str(entry.get("setting") or ""),
    macro=macro,
    micro=number(entry.get("micro")),
    normalised=number(entry.get("normalised")),
    chance=number(entry.get("chance")),
    low=number(entry.get("low")),
    high=number(entry.get("high")),
    tasks=_whole(entry.get("tasks")) or 0,
    of=_whole(entry.get("of")),
    n=_whole(entry.get("n")),
  )


def _whole(value: Any) -> int | None:
  found = number(value)
  return None if found is None else int(found)


def _mean(benchmark: str, setting: str, rows: list[ExamRow]) -> Mean:
  scores = [row.score for row in rows if row.score is not None]
  chances = [row.chance for row in rows if row.chance is not None]
  count = sum(row.n for row in rows)
  alone = rows[0] if len(rows) == 1 else None
  return Mean(
    benchmark,
    setting,
    macro=sum(scores) / len(scores),
    micro=sum((row.score or 0.0) * row.n for row in rows) / count if count else None,
    chance=sum(chances) / len(chances) if len(chances) == len(rows) else None,
    low=alone.low if alone else None,
    high=alone.high if alone else None,
    tasks=len(rows),
    n=count or None,
    higher_is_better=all(row.higher_is_better for row in rows),
  )
