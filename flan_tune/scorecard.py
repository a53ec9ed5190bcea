"""What a run is judged by: exams, scores before and after tuning, the report."""

import collections
import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flan_tune import cards, console, hosts, model, report, runlog
from flan_tune import config as config_lib
from flan_tune.benchmarks import library
from flan_tune.benchmarks.exam import Exam
from flan_tune.data import feed, mixing
from flan_tune.evaluate import asking, engine, exams, outcomes, tuning

_NAMED = 12  # of what is missing
# Tasks of each group, and examples of each, whose losses are followed while training.
_WATCHED, _WATCHED_EXAMPLES = 16, 4


def held_out_exams(run: config_lib.Run, ready: model.Model) -> list[Exam]:
  """What is asked every EVAL_PERIOD steps: few-shot questions of the held-out tasks.

  Says which of them cannot be asked.

  Raises:
    UserError: An unknown name, or none of them can be asked.
  """
  names = _held_out(run)
  exams.check(names)  # the table at the end asks them even where EVAL_PERIOD is 0
  if not names or not run.evaluation.period:
    return []
  found = _exams(run, ready, names, "fs_opt", held_out=run.data.mixture not in names)
  exams.require(found, f"EVAL_MIXTURE = {run.evaluation.held_out!r}")
  for one in found.missing[:_NAMED]:
    console.say(f"Missing, not evaluated: {one.name} ({one.path or one.how}).")
  if len(found.missing) > _NAMED:
    console.say(f"{len(found.missing) - _NAMED:,} more of EVAL_MIXTURE are missing.")
  return [exams.remembered(exam) for exam in found.exams]


def watched_exams(run: config_lib.Run, ready: model.Model, plan: mixing.Plan) -> list[Exam]:
  """Of each group of the mixture some tasks, whose losses on unseen examples are followed."""
  if not run.evaluation.period:
    return []
  groups: dict[str, list[str]] = {}
  for card in map(cards.load().tasks.__getitem__, plan.task_rates()):
    if card.group != cards.CORPUS:  # a text has no question
      groups.setdefault(card.group, []).append(card.name)
  names = [name for found in groups.values() for name in found[:: -(-len(found) // _WATCHED)]]
  found = _exams(run, ready, names, "zs_opt", held_out=False)
  return [exams.remembered(exam) for exam in found.exams]


def watched_losses(
  run: config_lib.Run, ready: model.Model, watched: Sequence[Exam]
) -> list[tuple[Exam, float, int]]:
  """Loss in nats per target token, and the number of examples, of each exam."""
  asked = asking.gather(watched, engine.Options(limit=_WATCHED_EXAMPLES)).asked
  pairs = [(one.exam.key, one.question.prompt, one.question.facts["targets"]) for one in asked]
  losses = _losses(run, ready, pairs)
  counts = collections.Counter(key for key, _, _ in pairs)
  return [(e, losses[e.key], counts[e.key]) for e in watched if e.key in losses]


def _losses(
  run: config_lib.Run, ready: model.Model, pairs: Sequence[tuple[str, str, str]]
) -> dict[str, float]:
  """By key, of (key, prompt, target); prompts are cut as for the answers."""
  judged = ready.judge(
    [(prompt, target) for _, prompt, target in pairs],
    batch_size=run.evaluation.batch_size,
    max_input_tokens=run.data.lengths["inputs"],
    long="cut",
  )
  sums: dict[str, np.ndarray] = {}
  for (key, _, _), one in zip(pairs, judged, strict=True):
    sums[key] = sums.get(key, np.zeros(2)) + (-one.log_prob, len(one.log_probs))
  return {key: float(total / count) for key, (total, count) in sums.items()}


def final_exams(run: config_lib.Run, ready: model.Model) -> list[Exam]:
  """Unseen zero-shot examples of the trained tasks, and both kinds of the held-out ones."""
  found = _exams(run, ready, [run.data.mixture], "zs_opt", held_out=False).exams
  names = [name for name in _held_out(run) if name != run.data.mixture]
  for setting in ("zs_opt", "fs_opt"):
    found += _exams(run, ready, names, setting, held_out=True).exams
  return list({exam.key: exam for exam in found}.values())


def _held_out(run: config_lib.Run) -> list[str]:
  return [name.strip() for name in (run.evaluation.held_out or "").split(",") if name.strip()]


def _exams(
  run: config_lib.Run, ready: model.Model, names: list[str], setting: str, *, held_out: bool
) -> exams.Opened:
  choice = exams.Choice(
    setting=setting,
    seed=run.data.seed,
    count_tokens=ready.count_tokens,
    budget=run.data.lengths["inputs"],
    max_tokens=run.data.lengths["targets"],
  )
  of_cards = dataclasses.replace(choice, shots=run.evaluation.shots)  # benchmarks have their own
  benchmarks = library.load().names()
  opened = [
    exams.open_exams([name], choice if name in benchmarks else of_cards, held_out=held_out)
    for name in names
  ]
  return exams.Opened(
    [exam for one in opened for exam in one.exams],
    [missing for one in opened for missing in one.missing],
  )


def score(
  run: config_lib.Run, ready: model.Model, asked: Sequence[Exam]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
  """Scores of exams, as `outcomes.table` has them, and losses by key in nats per target token."""
  limit = run.evaluation.steps * run.evaluation.batch_size
  taken = _taken(run, ready, asked, limit)
  pairs = [
    (_key(record), record["prompt"], record["facts"].get("targets") or record["target"])
    for record in taken.records
    if record["target"]
  ]
  return [dict(row) for row in taken.rows], _losses(run, ready, pairs)


def _key(record: Mapping[str, Any]) -> str:
  return f"{record['exam']}_{record['setting']}"


def _taken(
  run: config_lib.Run, ready: model.Model, asked: Sequence[Exam], limit: int
) -> tuning.Taken:
  options = engine.Options(
    limit=limit,
    max_tokens=run.evaluation.max_tokens,
    max_input_tokens=run.data.lengths["inputs"],
    batch_size=run.evaluation.batch_size,
  )
  found = engine.answer(asked, ready, options)
  rows = outcomes.table(asked, found.records, problems=found.problems)
  return tuning.Taken(rows, [one for records in found.records.values() for one in records])


def write_data(folder: pathlib.Path, plan: mixing.Plan, counts: feed.Counts | None = None) -> None:
  """Writes data.json: the mixture as planned, and as seen once there are counts."""
  facts: dict[str, Any] = {
    "mixture": plan.mixture,
    "planned": plan.task_rates(),
    "missing": [one._asdict() for one in plan.missing],
    "stand_ins": dict(plan.stand_ins),
  }
  if counts is not None:
    facts |= counts.as_json() | {"fill": _mean_fill(folder)}
  runlog.write_json(folder / "data.json", facts)


def _mean_fill(folder: pathlib.Path) -> float | None:
  records = runlog.read_lines(folder / runlog.METRICS).records
  trained = [one for one in records if one.get("kind") == "train" and one.get("fill")]
  if not trained:
    return None
  steps = [one["steps"] for one in trained]
  return float(np.average([one["fill"] for one in trained], weights=steps))


def finish(
  run: config_lib.Run,
  folder: pathlib.Path,
  *,
  before: Callable[[], model.Model],
  after: model.Model,
  step: int,
  best_step: int | None,
) -> None:
  """Prints and stores the scores before and after tuning, and writes the report.

  Args:
    before: Makes the untuned model; its parameters are only needed here.
    after: The tuned one.
    step: Of `after`.
    best_step: Of the checkpoint with the best held-out average.
  """
  if run.evaluation.final_examples:
    began = time.monotonic()
    asked, limit = final_exams(run, after), run.evaluation.final_examples
    compared = tuning.compare(_taken(run, before(), asked, limit), _taken(run, after, asked, limit))
    document = {"step": step, "best_step": best_step, "seconds": time.monotonic() - began}
    document |= {"rows": compared.rows, "summary": compared.summary}
    if not hosts.is_first():  # all answer, one writes
      return
    runlog.write_json(folder / "scores.json", document)
    runlog.write_lines(folder / "samples.jsonl", compared.samples)
    console.score_table(compared.rows, compared.summary)
  if not hosts.is_first():
    return
  if report.available():
    console.say(f"Report: {report.write(folder)}")
  else:
    console.say("No report: matplotlib is missing (pip install flan_tune[report]).")
  peak = runlog.peak_memory_bytes()
  memory = f", peak memory {peak / 2**30:.1f} GiB" if peak else ""
  console.say(f"Run folder: {folder}{memory}")
