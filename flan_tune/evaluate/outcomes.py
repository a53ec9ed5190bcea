"""From records of answers to rows of results: a score for each exam, and what to know about it."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune import errors, runlog
from flan_tune.benchmarks.exam import Exam
from flan_tune.evaluate import aggregate, bootstrap, judging, summaries, vote
from flan_tune.evaluate.journal import Record, Seconds

FORMAT = 1
# Further figures of the same answers, named under `extra`.
BESIDE = {"squad_em": {"f1": "squad_f1"}}


@dataclasses.dataclass(frozen=True)
class Results:
  """What an evaluation found.

  Attributes:
    records: The lines of the journal of each exam, by its key, in the order of its questions.
    problems: Questions that could not be asked, by exam and reason.
    notes: What a user should know, in sentences.
    asked: Questions answered just now; the others were found in the folder.
    remaining: Questions of other shards that are not answered yet.
    seconds: Of all processes that answered.
  """

  records: dict[str, list[Record]]
  problems: dict[str, dict[str, int]]
  notes: list[str]
  asked: int
  remaining: int
  seconds: Seconds


def document(
  exams: Sequence[Exam],
  results: Results,
  options: Mapping[str, Any],
  *,
  checkpoint: Mapping[str, Any] | None = None,
  missing: Sequence[Any] = (),
  known: Mapping[str, Any] | None = None,
  environment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The content of `results.json`, in JSON's own types.

  Args:
    missing: Exams that could not be opened, as mappings or named tuples: name, path and how.
    known: What summaries read besides the records, such as a file of judgements.
  """
  seed = options.get("seed", 0)
  rows = table(exams, results.records, problems=results.problems, known=known, seed=seed)
  notes = [*results.notes, *(f"{row['key']}: {note}" for row in rows for note in row["notes"])]
  # Questions' scores make the intervals of means exact; they stand in the journal already.
  detailed = [
    {**row, "questions": _headlines(results.records[row["key"]])}
    for row in rows
    if row["score"] is not None
  ]
  try:
    means = aggregate.aggregate(detailed, seed=seed).as_json()
  except errors.UserError as reason:  # hours of answers are worth their rows all the same
    means = None
    notes.append(f"no aggregate: {reason}")
  made = {
    "format": FORMAT,
    "checkpoint": checkpoint or {},
    "options": options,
    "rows": rows,
    "aggregate": means,
    "missing": [dict(one) if isinstance(one, Mapping) else one._asdict() for one in missing],
    "notes": notes,
    "seconds": results.seconds._asdict(),
  }
  return runlog.plain(made | ({"environment": environment} if environment else {}))


def table(
  exams: Sequence[Exam],
  records: Mapping[str, Sequence[Record]],
  *,
  problems: Mapping[str, Mapping[str, int]] | None = None,
  known: Mapping[str, Any] | None = None,
  seed: int = 0,
) -> list[dict[str, Any]]:
  """A row for each exam, with `score` and its other readings, 0 to 100, and what to know of it.

  `score` is strict, or plain where options were ranked; null without questions.  `low` and `high`
  are its 95 % interval over questions.  Of that reading are `unparsable`, the questions in whose
  answer nothing was found, and, after a vote, `confidence`, the mean share of the majority in the
  samples asked: fewer where a vote was stopped early.  `truncated` counts the answers shown that
  ran into their limit of tokens, `dropped_exemplars` those of all prompts together.

  Args:
    records: By the key of their exam, complete.
    problems: Questions that could not be asked; those of the exam's source are added.
    seed: Of the bootstrap.
  """
  return [
    _row(
      exam, records.get(exam.key, ()), (problems or {}).get(exam.key, {}), known or {}, seed=seed
    )
    for exam in exams
  ]


def _row(
  exam: Exam,
  records: Sequence[Record],
  problems: Mapping[str, int],
  known: Mapping[str, Any],
  *,
  seed: int,
) -> dict[str, Any]:
  method = records[0]["method"] if records else exam.method
  counts = collections.Counter(exam.problems) + collections.Counter(problems)
  row = {
    "key": exam.key,
    "exam": exam.name,
    **{key: getattr(exam, key) for key in ("setting", "suite", "benchmark", "label", "category")},
    **{key: getattr(exam, key) for key in ("version", "fingerprint")},
    "method": method,
    "metric": exam.metric,
    "n": len(records),
    "chance": exam.chance,
    **_scores(exam, records, method, known, seed=seed),
    **_counts(records, judging.READINGS[method][0]),
    "problems": dict(sorted(counts.items())),
    "stand_in": exam.stand_in,
    "held_out": exam.held_out,
  }
  sizes = [len(record["samples"]) for record in records if "samples" in record]
  row["samples"] = max(sizes, default=1)
  voted = exam.samples == 1  # a benchmark made of draws has no majority
  shares = [one["vote"]["strict"]["share"] for one in records if voted and "vote" in one]
  row["confidence"] = sum(shares) / len(shares) if shares else None
  row["extra"] |= _votes(exam, records)
  if count := sum(None in _log_probs(record) for record in records):
    row["notes"] += [
      f"{count} answers have a log-probability that is no finite number: parameters are damaged, or"
      " too large for their type"
    ]
  return row


def _scores(
  exam: Exam, records: Sequence[Record], method: str, known: Mapping[str, Any], *, seed: int
) -> dict[str, Any]:
  """Score, its readings and its interval, 0 to 100; without questions all of them are null."""
  found: dict[str, Any] = {"score": None, "scores": {}, "low": None, "high": None}
  found |= {"higher_is_better": True, "extra": {}, "notes": []}
  if not records:
    return found
  if exam.metric in summaries.SUMMARIES:
    return found | _summary(summaries.SUMMARIES[exam.metric](records, known), seed=seed)
  for reading in judging.READINGS[method]:
    found["scores"][reading] = 100 * _mean([record["score"][reading] for record in records])
  ends = bootstrap.interval(_headlines(records), seed=seed)
  found |= {"low": 100 * ends[0], "high": 100 * ends[1]}
  found["extra"] = {
    name: 100 * _mean([_other_score(metric, record) for record in records])
    for name, metric in BESIDE.get(exam.metric, {}).items()
  }
  return found | {"score": found["scores"][judging.READINGS[method][0]]}


def _summary(made: summaries.Summary, *, seed: int) -> dict[str, Any]:
  low, high = made.interval or (None, None)
  if made.values:
    low, high = (100 * end for end in bootstrap.interval(made.values, seed=seed))
  return {
    "score": made.score,
    "low": low,
    "high": high,
    "higher_is_better": made.higher_is_better,
    "extra": dict(made.extra),
    "notes": list(made.notes),
  }


def _log_probs(record: Record) -> list[float | None]:
  return [one["log_prob"] for one in record.get("options", (record,))]


def _headlines(records: Sequence[Record]) -> list[float]:
  """The score of each question that makes the headline; empty where a summary judges."""
  return [next(iter(record["score"].values())) for record in records if record["score"]]


def _other_score(metric: str, record: Record) -> float:
  answer = next(iter(record["extracted"].values()))
  return judging.score(metric, answer, _targets(record))


def _targets(record: Record) -> list[str]:
  return record.get("targets") or [one for one in (record["target"],) if one is not None]


def _mean(values: Sequence[float]) -> float:
  return sum(values) / len(values)


def _counts(records: Sequence[Record], headline: str) -> dict[str, int]:
  return {
    "unparsable": sum(record["extracted"][headline] is None for record in records),
    # With several samples, of those that are shown.
    "truncated": sum(record.get("ended") == "length" for record in records),
    "dropped_exemplars": sum(record["dropped"] for record in records),
    "cut_prompts": sum(record["cut"] > 0 for record in records),
  }


def _votes(exam: Exam, records: Sequence[Record]) -> dict[str, Any]:
  """Accuracy as a function of the number of samples, where all questions have as many."""
  pools = [record["samples"] for record in records if "samples" in record]
  metric = judging.metric_of(exam)
  if not pools or metric is None:
    return {}
  extra: dict[str, Any] = {"samples_asked": sum(map(len, pools))}
  if len({len(pool) for pool in pools}) > 1:
    return extra  # a pool that stopped early is biased towards its majority
  size = len(pools[0])
  ks = sorted({2**power for power in range(size.bit_length())} | {size})
  targets = [_targets(record) for record in records]
  curves = {}
  for reading in ("strict", "loose"):
    answers = [[sample["extracted"][reading] for sample in pool] for pool in pools]
    made = vote.curve(answers, lambda i, one: judging.score(metric, one, targets[i]), ks)
    curves[reading] = {str(k): 100 * value for k, value in made.items()}
  return extra | {"curve": curves}
