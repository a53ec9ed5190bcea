"""What tuning changed: the same exams taken before and after it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Taken(NamedTuple):
  """Exams that a model has taken: `outcomes.table`'s rows, and the engine's records."""

  rows: Sequence[Row]
  records: Sequence[Row]


class Comparison(NamedTuple):
  """Plain rows for the run folder: scores.json's `rows` and `summary`, and samples.jsonl."""

  rows: list[dict[str, Any]]
  summary: list[dict[str, Any]]
  samples: list[dict[str, Any]]


def compare(before: Taken, after: Taken) -> Comparison:
  """Scores per task and on average, and every question with both answers."""
  first = {_exam(row): row["score"] for row in before.rows}
  rows = [_row(row, first.get(_exam(row))) for row in after.rows]
  answered = {_question(record): record for record in before.records}
  samples = [_sample(record, answered.get(_question(record))) for record in after.records]
  return Comparison(rows, summary(rows), samples)


def normalised(rows: Sequence[Row]) -> float | None:
  """Mean over suites and settings of their tasks' mean of 100 (score - chance) / (100 - chance).

  Of the paper's six it is their normalised average (Chung et al. 2022, footnote 5); of one suite
  it is the mean over its tasks.  0 is chance, 100 is perfect; None where nothing has a score.

  Args:
    rows: Of `outcomes.table`; left out are those without a score, and shares of bad answers.
  """
  found: dict[tuple[str, str], list[float]] = {}
  for row in rows:
    if row["score"] is not None and row["higher_is_better"]:
      chance = 100 * row["chance"]
      value = 100 * (row["score"] - chance) / (100 - chance)
      found.setdefault((row["suite"], row["setting"]), []).append(value)
  means = [_mean(values) for values in found.values()]
  return _mean(means) if means else None


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
  """Unweighted means over tasks, for each group and for trained and held-out tasks."""
  named: dict[str, list[Row]] = {}
  for row in rows:
    if not row["held_out"]:
      named.setdefault(row["group"], []).append(row)
  trained = [row for row in rows if not row["held_out"]]
  if trained:
    named["all trained"] = trained
  held_out = [row for row in rows if row["held_out"]]
  for setting in dict.fromkeys(row["setting"] for row in held_out):
    named[f"held out, {setting}"] = [row for row in held_out if row["setting"] == setting]
  means = []
  for name, chosen in named.items():
    entry: dict[str, Any] = {"name": name}
    for key in ("before", "after", "chance"):
      values = [row[key] for row in chosen if row[key] is not None]
      entry[key] = _mean(values) if values else None
    means.append(entry)
  return means


def _mean(values: Sequence[float]) -> float:
  return sum(values) / len(values)


def _exam(row: Row) -> tuple[str, str]:
  return row["exam"], row["setting"]


def _question(record: Row) -> tuple[str, str, str]:
  return record["exam"], record["setting"], record["id"]


def _row(row: Row, before: float | None) -> dict[str, Any]:
  kept = ("category", "held_out", "setting", "metric", "chance", "n")
  return {
    "task": row["exam"],
    "group": row["suite"],
    **{key: row[key] for key in kept},
    "before": None if before is None else before / 100,
    "after": None if row["score"] is None else row["score"] / 100,
  }


def _sample(after: Row, before: Row | None) -> dict[str, Any]:
  facts = after["facts"]
  return {
    "task": after["exam"],
    "kind": facts.get("kind", after["setting"]),
    "template": facts.get("template", ""),
    "inputs": after["prompt"],
    "targets": facts.get("targets", after["target"]),
    "answer": after["target"],
    "before": _text(before) if before else None,
    "after": _text(after),
    "right_before": _right(before) if before else None,
    "right_after": _right(after),
  }


def _text(record: Row) -> str:
  """What was written; of options that were ranked, the best."""
  return record.get("generation") or next(iter(record["extracted"].values()), None) or ""


def _right(record: Row) -> bool | None:
  """None where no answer alone is right or wrong."""
  scores = list(record["score"].values())
  return scores[0] == 1.0 if scores else None
