# pyright: reportMissingImports=false
"""How SeqIO judges a benchmark: its postprocessors and metrics, made of ours.

`seqio.Evaluator` calls a task's postprocessor with each target and each prediction, and its metric
with what comes back: halves of a record, which `flan_tune.evaluate` judges as it does its own.
"""

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flan_tune.benchmarks.card import Benchmark
from flan_tune.benchmarks.exam import RANK
from flan_tune.evaluate import judging, outcomes, summaries
from flan_tune.text import extraction

Half = Mapping[str, Any]
Figures = dict[str, float]

# Figures of a summary that are reported as well.
_EXTRA = {
  "auc": ("normalised",),
  "winogender": ("male", "female", "neutral", "gotcha", "not_gotcha"),
}


@functools.cache
def postprocessor(extract: str) -> Callable[..., dict[str, Any]]:
  """The postprocessor of an extraction rule.

  Of a target it returns `id`, `answers` (all that are right), `facts`, and `option` with `tokens`
  where options are ranked; of a prediction the readings `strict` and `loose`, "" where nothing
  could be read.  What follows one of the example's stop strings is cut off first.
  """
  rule = extraction.RULES[extract]

  def postprocess(
    text: str, *, example: Mapping[str, Any] | None = None, is_target: bool = False, **unused: Any
  ) -> dict[str, Any]:
    example = example or {}
    if is_target:
      return _target(text, example)
    text, options = _stopped(text, _listed(example, "_stop")), _listed(example, "_options")
    found = {"strict": rule.strict(text, options), "loose": rule.loose(text, options)}
    return {reading: answer or "" for reading, answer in found.items()}

  return postprocess


def _target(text: str, example: Mapping[str, Any]) -> dict[str, Any]:
  return {
    "id": bytes(example.get("_id", b"")).decode(),
    "answers": _listed(example, "_answers") or [text],
    "facts": json.loads(bytes(example.get("_facts", b"{}"))),
    "option": text,
    "tokens": len(example.get("targets", ())),
  }


def _listed(example: Mapping[str, Any], key: str) -> list[str]:
  return [bytes(one).decode() for one in example.get(key, ())]


def _stopped(text: str, stop: Iterable[str]) -> str:
  """The text before the first stop string in it, as our own decoding leaves it."""
  return text[: min((at for one in stop if (at := text.find(one)) >= 0), default=None)]


def metric(benchmark: Benchmark) -> Callable[..., Figures]:
  """A metric function for SeqIO: of scores where the benchmark ranks options, else of predictions.

  Figures are 0 to 100 and bear the name of the card's metric: alone for the strict reading (plain
  log-probabilities), with `_loose` (`_normalised`: per token) for the other.  `unparsable` is the
  share of answers in which nothing could be read strictly.  A figure that cannot be had is NaN.
  """
  name = benchmark.metric

  # SeqIO tells the two kinds apart by the names of their parameters.
  def of_scores(targets: Sequence[Half], scores: Any) -> Figures:
    return _ranked(name, targets, scores[0] if isinstance(scores, tuple) else scores)

  def of_predictions(targets: Sequence[Half], predictions: Sequence[Half]) -> Figures:
    return _generated(name, targets, predictions)

  made = of_scores if benchmark.method == RANK else of_predictions
  made.__name__ = name
  return made


def _generated(name: str, targets: Sequence[Half], predictions: Sequence[Half]) -> Figures:
  found: Figures = {}
  for reading, suffix in (("strict", ""), ("loose", "_loose")):
    records = [
      _record(target, {reading: prediction[reading] or None})
      for target, prediction in zip(targets, predictions, strict=True)
    ]
    found |= {f"{key}{suffix}": value for key, value in _figures(name, records).items()}
  return found | {"unparsable": 100 * _mean([not one["strict"] for one in predictions])}


def _ranked(name: str, targets: Sequence[Half], scores: Sequence[float]) -> Figures:
  """Of log-probabilities of options, those of a question together."""
  options: dict[str, list[dict[str, Any]]] = {}
  for target, score in zip(targets, scores, strict=True):
    option = {"text": target["option"], "log_prob": float(score), "tokens": target["tokens"]}
    options.setdefault(target["id"], []).append(option)
  by_id = {target["id"]: target for target in targets}
  records = [_record(by_id[key], {}) | {"options": its} for key, its in options.items()]
  if name in summaries.SUMMARIES:
    return _figures(name, records)
  found: Figures = {}
  for suffix, per_token in (("", False), ("_normalised", True)):
    chosen = [record | {"extracted": {suffix: _best(record, per_token)}} for record in records]
    found |= {f"{key}{suffix}": value for key, value in _figures(name, chosen).items()}
  return found


def _best(record: Half, per_token: bool) -> str:
  best = max(
    record["options"],
    key=lambda one: one["log_prob"] / (max(one["tokens"], 1) if per_token else 1),
  )
  return best["text"]


def _record(target: Half, extracted: Mapping[str, str | None]) -> dict[str, Any]:
  return {**target, "target": target["answers"][0], "extracted": extracted}


def _figures(name: str, records: Sequence[Half]) -> Figures:
  """Figures of one reading of each record."""
  if name in summaries.SUMMARIES:
    made = summaries.SUMMARIES[name](records, {})
    extra = {f"{name}_{key}": made.extra.get(key) for key in _EXTRA.get(name, ())}
    found = {key: _hundred(value) for key, value in extra.items()}
    return {name: math.nan if made.score is None else made.score, **found}
  return {
    one: 100 * _mean([judging.score(one, _read(record), record["answers"]) for record in records])
    for one in (name, *outcomes.BESIDE.get(name, {}).values())
  }


def _read(record: Half) -> str | None:
  (answer,) = record["extracted"].values()
  return answer


def _hundred(share: float | None) -> float:
  return math.nan if share is None else 100 * share


def _mean(values: Sequence[float]) -> float:
  return math.fsum(values) / len(values) if values else math.nan
