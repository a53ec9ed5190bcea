"""Two sets of answers to the same questions, side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flan_tune.evaluate import runner


class Comparison(NamedTuple):
  """Plain rows for the run folder: scores.json's `rows` and `summary`, and samples.jsonl."""

  rows: list[dict[str, Any]]
  summary: list[dict[str, Any]]
  samples: list[dict[str, Any]]


def compare(before: Sequence[runner.Outcome] | None, after: Sequence[runner.Outcome]) -> Comparison:
  """Scores per task and on average, and every example with both answers.

  Args:
    before: Answers to the same questions; None when there is one model only, and everything
      about "before" is None in the result.
    after: In the same order.
  """
  rows = runner.table(runner.scores(before or ()), runner.scores(after))
  pairs = zip(before or [None] * len(after), after, strict=True)
  return Comparison(rows, runner.summary(rows), [_sample(first, second) for first, second in pairs])


def _sample(before: runner.Outcome | None, after: runner.Outcome) -> dict[str, Any]:
  example = after.item.example
  return {
    "task": example.task,
    "kind": example.kind,
    "template": example.template,
    "inputs": example.inputs,
    "targets": example.targets,
    "answer": example.answer,
    "before": before.text if before else None,
    "after": after.text,
    "right_before": before.right if before else None,
    "right_after": after.right,
  }
