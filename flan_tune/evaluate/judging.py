"""From a model's answer to a line of the journal: what was extracted, and whether it is right."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune import metrics
from flan_tune.benchmarks.exam import GENERATE, RANK, Exam, Question
from flan_tune.evaluate import summaries, vote
from flan_tune.evaluate.asking import Asked
from flan_tune.evaluate.predictor import Answer, Judged
from flan_tune.text import extraction

# How an answer may be read; the first of each method makes the headline.
READINGS = {GENERATE: ("strict", "loose"), RANK: ("plain", "normalised")}


def metric_of(exam: Exam) -> str | None:
  """The metric that judges single answers; None where only all together say anything."""
  metric = summaries.PER_QUESTION.get(exam.metric, exam.metric)
  return metric if metric in metrics.METRICS else None


def score(metric: str, extracted: str | None, answers: Sequence[str]) -> float:
  """A metric of one answer, 0 to 1; nothing extracted is worth nothing."""
  if extracted is None or not answers:
    return 0.0
  return metrics.METRICS[metric]([extracted], [list(answers)]).value


def sampled(one: Asked, answer: Answer) -> dict[str, Any]:
  """One generation and what the exam's rule finds in it."""
  rule = extraction.RULES[one.exam.extract]
  options = one.question.options
  found = {"strict": rule.strict(answer.text, options), "loose": rule.loose(answer.text, options)}
  return {
    "generation": answer.text,
    "extracted": found,
    "tokens": len(answer.tokens),
    "log_prob": answer.log_prob,
    "ended": answer.ended,
  }


def generated(one: Asked, samples: Sequence[Mapping[str, Any]], *, cut: int) -> dict[str, Any]:
  """The record of a question that was answered by generation.

  With several samples it shows the first that gave the majority of the loose reading.

  Args:
    samples: As from `sampled`, at least one.
    cut: Input tokens cut off the front of the prompt.
  """
  votes = {reading: majority(samples, reading) for reading in READINGS[GENERATE]}
  wanted = votes["loose"]["answer"]
  shown = next((one for one in samples if one["extracted"]["loose"] == wanted), samples[0])
  record = {
    **_head(one, GENERATE),
    **shown,
    "extracted": {reading: found["answer"] for reading, found in votes.items()},
  }
  record |= {"score": _scores(one.exam, record["extracted"], one.question.answers)}
  if len(samples) > 1:
    record |= {"samples": list(samples), "vote": votes}
  return record | _tail(one.question, cut)


def majority(samples: Sequence[Mapping[str, Any]], reading: str) -> dict[str, Any]:
  """The answer most samples give under a reading, and their share of all samples."""
  found = vote.majority([sample["extracted"][reading] for sample in samples])
  return {"answer": found.answer, "share": found.share}


def decided(samples: Sequence[Mapping[str, Any]], total: int) -> bool:
  """Whether no vote, of either reading, can change before there are `total` samples."""
  return all(
    vote.decided([sample["extracted"][reading] for sample in samples], total)
    for reading in READINGS[GENERATE]
  )


def ranked(one: Asked, judged: Sequence[Judged], *, cut: int) -> dict[str, Any]:
  """The record of a question whose options were compared.

  Plain takes the option of the highest log-probability, normalised the one of the highest mean
  per token, end of sequence included in both; of equals the first.
  """
  options = []
  for text, made in zip(one.question.options, judged, strict=True):
    tokens = list(made.log_probs)
    options.append({"text": text, "log_prob": float(math.fsum(tokens)), "tokens": len(tokens)})
  best = {
    "plain": max(options, key=lambda option: _comparable(option["log_prob"])),
    "normalised": max(
      options, key=lambda option: _comparable(option["log_prob"] / max(option["tokens"], 1))
    ),
  }
  extracted = {reading: option["text"] for reading, option in best.items()}
  return {
    **_head(one, RANK),
    "options": options,
    "extracted": extracted,
    "score": _scores(one.exam, extracted, one.question.answers),
    **_tail(one.question, cut),
  }


def _comparable(log_prob: float) -> float:
  return -math.inf if math.isnan(log_prob) else log_prob


def _scores(
  exam: Exam, extracted: Mapping[str, str | None], answers: Sequence[str]
) -> dict[str, float]:
  if (metric := metric_of(exam)) is None:
    return {}
  return {reading: score(metric, answer, answers) for reading, answer in extracted.items()}


def _head(one: Asked, method: str) -> dict[str, Any]:
  question = one.question
  head = {
    **one.name._asdict(),
    "prompt_hash": one.prompt_hash,
    "prompt": question.prompt,
    **targets(question),
  }
  return head | {"method": method}


def targets(question: Question) -> dict[str, Any]:
  """How a record shows the right answers: `target`, and `targets` where there are several."""
  answers = question.answers
  shown: dict[str, Any] = {"target": answers[0] if answers else None}
  return shown | ({"targets": list(answers)} if len(answers) > 1 else {})


def _tail(question: Question, cut: int) -> dict[str, Any]:
  return {
    "shots": question.shots,
    "dropped": question.dropped,
    "cut": cut,
    "facts": dict(question.facts),
  }
