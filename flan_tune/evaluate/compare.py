"""Two sets of answers to the same questions, side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flan_tune.evaluate import runner


class Comparison(NamedTuple):
  """Plain rows for the run folder: scores.json's `rows` and `summary`, and samples.jsonl."""

  rows: list[dict[str, Any]]
  summary: list[dict[str, Any]]
  samples: list[dict[str, Any]]


def compare(before: Sequence[runner.Outcome], after: Sequence[runner.Outcome]) -> Comparison:
  """Scores per task and on average, and every example with both answers."""
  rows = runner.table(runner.scores(before), runner.scores(after))
  samples = [_sample(first, second) for first, second in zip(before, after, strict=True)]
  return Comparison(rows, runner.summary(rows), samples)


def _sample(before: runner.Outcome, after: runner.Outcome) -> dict[str, Any]:
  example = after.item.example
  return {
    "task": example.task,
    "kind": example.kind,
    "template": example.template,
    "inputs": example.inputs,
    "targets": example.targets,
    "answer": example.answer,
    "before": before.text,
    "after": after.text,
    "right_before": before.right,
    "right_after": after.right,
  }
