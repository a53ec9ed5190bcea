"""Rows of tables of results, checked and sorted by what they are about."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.evaluate import members, wording

AVERAGE = "normalized_average"
# Two printings of one score may be rounded to one decimal here and to two there.
_SAME = 0.051


class Entry(NamedTuple):
  """One score, 0 to 100.

  Attributes:
    n: Questions, where the row tells.
    chance: Of a benchmark that is none of the four suites, 0 to 100, where the row tells.
    questions: A score for each question, 0 to 1, where the row has them.
  """

  score: float
  n: int | None = None
  chance: float | None = None
  questions: tuple[float, ...] = ()


@dataclasses.dataclass
class Variant:
  """A suite asked in one way: its tasks' scores, and the mean that the rows give beside them."""

  suite: str
  setting: wording.Setting
  tasks: dict[str, Entry] = dataclasses.field(default_factory=dict)
  mean: Entry | None = None


class Collected(NamedTuple):
  """All rows of a model."""

  model: str
  variants: list[Variant]
  notes: list[str]


def collect(rows: Iterable[Mapping[str, Any]]) -> Collected:
  """Sorts the rows of one model, whatever their order.

  Raises:
    UserError: A row lacks a column or has a score that is no percentage, two rows tell different
      scores of one thing, or there are several models.
  """
  given = listed(rows)
  model = _one_model(given)
  found: dict[wording.Reading, Entry] = {}
  told: dict[str, None] = {}
  for number, row in enumerate(given, start=1):
    benchmark, setting = (_text(row, key, number) for key in ("benchmark", "setting"))
    if benchmark.lower() == AVERAGE:
      continue
    if _absent(row.get("score")):
      told[f"{benchmark}, {setting}: left out, for it has no score"] = None
      continue
    reading = _reading(benchmark, setting, row)
    if reading.task and not _belongs(reading):
      told[f"{benchmark}: stands apart, for it is none of the tasks of {reading.suite}"] = None
      reading = wording.Reading(f"{reading.suite}/{reading.task}", "", reading.setting)
    percentage = reading.suite.partition("/")[0] in wording.SUITES
    entry = _entry(row, number, percentage=percentage)
    found[reading] = _merged(found.get(reading), entry, reading)
  scores = [entry.score for reading, entry in found.items() if reading.suite in wording.SUITES]
  if max(scores, default=0) <= 1 and any(scores):
    told["no score is above 1: they are read as percentages, 0 to 100, not as shares"] = None
  return Collected(model, _variants(found), sorted(told))


def listed(rows: Any) -> list[Mapping[str, Any]]:
  """Rows as a list.

  Raises:
    UserError: They are none, or one of them is no mapping.
  """
  if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
    raise errors.UserError(
      f"rows: {type(rows).__name__} found; give a list of mappings with benchmark, setting and"
      ' score, such as "rows" of a results.json'
    )
  found = list(rows)
  for number, row in enumerate(found, start=1):
    if not isinstance(row, Mapping):
      raise errors.UserError(
        f"row {number}: {row!r:.60} found; a row is a mapping with benchmark, setting and score"
      )
  return found


def _absent(value: Any) -> bool:
  """Whether a cell is empty, as None, as CSV's "" or as the NaN of a data frame."""
  if isinstance(value, str):
    return not value.strip()
  return value is None or (isinstance(value, float) and math.isnan(value))


def model_of(row: Mapping[str, Any]) -> str:
  """Its model, "" where it names none."""
  return "" if _absent(row.get("model")) else str(row["model"])


def _one_model(rows: Sequence[Mapping[str, Any]]) -> str:
  models = sorted({model_of(row) for row in rows})
  if len(models) > 1:
    names = ", ".join(name or "(none)" for name in models[:5]) + ", ..." * (len(models) > 5)
    raise errors.UserError(
      f"rows of {len(models)} models ({names}): give those of one, or all of them to"
      " flan_tune.evaluate.aggregate.by_model"
    )
  return models[0] if models else ""


def _text(row: Mapping[str, Any], key: str, number: int) -> str:
  # Rows of an evaluation of ours have the tables' words under "label".
  label = row.get("label") if key == "setting" else None
  value = label if isinstance(label, str) and label else row.get(key)
  if not isinstance(value, str) or (key == "benchmark" and not value.strip()):
    raise errors.UserError(
      f"row {number}: {key}: {value!r} found; a row has the texts benchmark and setting, "
      "and a score"
    )
  return value.strip()


def _reading(benchmark: str, setting: str, row: Mapping[str, Any]) -> wording.Reading:
  reading = wording.read(benchmark, setting)
  if reading.suite in wording.SUITES:
    task = reading.task.lower().replace(" ", "_").replace("-", "_")
    # Elsewhere samples need not vote: toxicity is a share of several continuations.
    voted = reading.setting.voted or (_count(row.get("samples")) or 1) > 1
    reading = reading._replace(task=task, setting=reading.setting._replace(voted=voted))
  return reading


def _belongs(reading: wording.Reading) -> bool:
  return reading.suite not in wording.SUITES or reading.task in members.of(reading.suite)


def _entry(row: Mapping[str, Any], number: int, *, percentage: bool) -> Entry:
  score = _number(row["score"])
  if score is None or (percentage and not 0 <= score <= 100):
    raise errors.UserError(
      f"row {number}: score: {row['score']!r} found for {row['benchmark']}; "
      "scores are numbers from 0 to 100"
    )
  # Of a share of bad answers no guess is the bottom, and 100 is not the top.
  chance = None if row.get("higher_is_better") is False else _number(row.get("chance"))
  return Entry(
    score,
    n=_count(row.get("n")),
    chance=None if chance is None else 100 * chance,
    questions=_questions(row, number),
  )


def _number(value: Any) -> float | None:
  try:
    number = float(value) if not isinstance(value, bool) else math.nan
  except (TypeError, ValueError, OverflowError):
    return None
  return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
  number = _number(value)
  return int(number) if number is not None and number >= 1 else None


def _questions(row: Mapping[str, Any], number: int) -> tuple[float, ...]:
  given = row.get("questions")
  if not isinstance(given, Sequence) or isinstance(given, str):
    return ()
  found = [score for one in given if (score := _number(one)) is not None]
  if len(found) < len(given):
    raise errors.UserError(f"row {number}: questions: a score of them is no number")
  # The interval of a mean is none of an area under a curve.
  mean = 100 * sum(found) / len(found) if found else math.nan
  if not math.isclose(mean, float(row["score"]), abs_tol=_SAME):
    return ()
  return tuple(found)


def _merged(old: Entry | None, new: Entry, reading: wording.Reading) -> Entry:
  if old is None:
    return new
  if abs(old.score - new.score) > _SAME:
    low, high = sorted((old.score, new.score))
    name = "/".join(part for part in (reading.suite, reading.task) if part)
    raise errors.UserError(
      f"{name}, {reading.setting.text}: two scores, {low:g} and {high:g}; leave out one of the rows"
    )
  # The same of both orders: the row that tells more, then the larger score.
  return max(old, new, key=lambda one: (len(one.questions), one.n or 0, one.score))


def _variants(found: Mapping[wording.Reading, Entry]) -> list[Variant]:
  """In an order that does not depend on that of the rows."""
  variants: dict[tuple[str, wording.Setting], Variant] = {}
  for (suite, task, setting), entry in found.items():
    variant = variants.setdefault((suite, setting), Variant(suite, setting))
    if task:
      variant.tasks[task] = entry
    else:
      variant.mean = entry
  for variant in variants.values():
    variant.tasks = dict(sorted(variant.tasks.items()))
  return sorted(variants.values(), key=_place)


def _place(variant: Variant) -> tuple[Any, ...]:
  known = {name: place for place, name in enumerate(wording.SUITES)}
  setting = variant.setting
  kinds = (wording.DIRECT, wording.COT, "")
  return (
    known.get(re.split("[-/]", variant.suite)[0], len(known)),
    variant.suite,
    setting.voted,
    -1 if setting.shots is None else -setting.shots,
    kinds.index(setting.kind),
    setting.text,
  )
