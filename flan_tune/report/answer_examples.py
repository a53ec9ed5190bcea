"""Answers to read, of every sort and exam, and one prompt of every exam in full."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune.report import scoreboard
from flan_tune.report.allowance import Allowance
from flan_tune.report.answers import (
  SORTS,
  Chosen,
  Gathered,
  Key,
  headline,
  right_answers,
  sort,
)
from flan_tune.report.markup import Markup, breakable, details, element, join
from flan_tune.report.run_folder import Record

# A page of at most a few megabytes, whatever was asked: prompts of 2,048 tokens add up.
PROMPTS, EXAMPLES = 1_500_000, 1_500_000
_MOST = 500  # examples of a page; with many exams, fewer of each
_PROMPT = 600  # characters of an example's own part of the prompt
_GLIMPSE = 70


def prompts(gathered: Gathered) -> Markup:
  """One prompt of each exam and setting, exemplars and all."""
  if not gathered.chosen:
    return element("p", "No prompt was recorded.")
  allowance, parts, left = Allowance(PROMPTS), [], []
  for key, chosen in gathered.chosen.items():
    record = chosen.prompt[1] if chosen.prompt else {}
    if allowance.spent:
      left.append(_name(key))
      continue
    written = str(record.get("prompt") or "")
    shots = scoreboard.number(record.get("shots")) or 0
    told = f" {len(written):,} characters, {_count(shots, 'exemplar')}"
    body = allowance.pre(written, limit=12_000)
    parts.append(details(join([element("strong", breakable(_name(key))), told]), body))
  said = "As the model read them: one question of each task and setting, with its exemplars."
  return join([element("p", said), *parts, _left_out("prompts", left)])


def section(gathered: Gathered) -> Markup:
  """A few answers of every sort, by exam."""
  if not gathered.chosen:
    return element("p", "No answer was recorded.")
  per_sort = max(1, min(3, _MOST // (len(gathered.chosen) * len(SORTS))))
  allowance, parts, left = Allowance(EXAMPLES), [], []
  for key, chosen in gathered.chosen.items():
    if allowance.spent:
      left.append(_name(key))
      continue
    parts.append(_exam(key, chosen, per_sort, allowance))
  said = (
    "Chosen by a hash of the question's name, so neither by place nor by quality. What all prompts"
    " of a task begin with is left out here and shown under Prompts; all answers are in the files"
    " answers-*.jsonl."
  )
  return join([element("p", said), *parts, _left_out("answers", left)])


def _left_out(what: str, names: Sequence[str]) -> Markup | None:
  if not names:
    return None
  shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
  said = f"For the size of the page, no {what} are shown of {len(names):,} more: {shown}"
  return element("p", said, class_="quiet")


def _exam(key: Key, chosen: Chosen, per_sort: int, allowance: Allowance) -> Markup:
  present = [name for name in SORTS if chosen.counts.get(name)]
  counted = ", ".join(f"{chosen.counts[name]:,} {name}" for name in present)
  shown = {name: [record for _, record in chosen.kept[name][:per_sort]] for name in present}
  shared = _shared([record for records in shown.values() for record in records], chosen)
  parts = []
  for name in present:
    parts.append(element("h3", f"{SORTS[name]} ({chosen.counts[name]:,})"))
    parts += [_example(record, shared, allowance) for record in shown[name]]
  head = join([element("strong", breakable(_name(key))), f" {counted}"])
  return details(head, *parts)


def _shared(records: Sequence[Mapping[str, Any]], chosen: Chosen) -> int:
  """How many characters all prompts begin with alike, up to the last blank line among them."""
  several = [str(record.get("prompt") or "") for record in records]
  if chosen.prompt:
    several.append(str(chosen.prompt[1].get("prompt") or ""))
  if len(set(several)) < 2:
    return 0
  same = os.path.commonprefix(several)
  return max(same.rfind("\n\n") + 2, 0) if "\n\n" in same else 0


def _example(record: Record, shared: int, allowance: Allowance) -> Markup:
  kind = sort(record)
  written = str(record.get("generation") or "")
  glimpse = " ".join(written.split())
  glimpse = glimpse if len(glimpse) <= _GLIMPSE else f"…{glimpse[1 - _GLIMPSE :]}"
  head = element(
    "summary",
    element("strong", f"Question {str(record.get('id'))[:60]}"),
    " ",
    element("bdi", glimpse or "(nothing)", class_="quiet"),
  )
  allowance.left -= 800  # the names and tags around the texts
  prompt = str(record.get("prompt") or "")[shared:]
  entries = [
    ("Question" if shared else "Prompt", allowance.pre(prompt, limit=_PROMPT)),
    ("Right answer", _short(right_answers(record))),
    (_verdict(kind), _reading(record)),
  ]
  options = record.get("options")
  if isinstance(options, list) and options:
    entries.append(("Options by log-probability", _options(options)))
  else:
    entries.append(("Generation", allowance.pre(written)))
  entries += _facts(record)
  body = [part for name, value in entries for part in (element("dt", name), element("dd", value))]
  return element("details", head, element("dl", *body), class_="example")


def _verdict(kind: str) -> Markup:
  word = "judged right" if kind == "right" else "judged wrong"
  if kind == "unjudged":
    return join(["Answer found"])
  return join(["Answer found, ", element("span", word, class_="up" if kind == "right" else "down")])


def _reading(record: Mapping[str, Any]) -> Markup:
  """What each judge found in the answer."""
  found = record.get("extracted")
  if not isinstance(found, dict):
    return _found(headline(record, "extracted"))
  values = list(found.values())
  if values and all(value == values[0] for value in values):
    return _found(values[0])
  return join([join([f"{judge}: ", _found(value)]) for judge, value in found.items()], "; ")


def _found(value: Any) -> Markup:
  if value is None:
    return element("em", "none")
  return element("bdi", _line(value))


def _line(value: Any) -> str:
  line = " ".join(str(value).split())
  return line if len(line) <= 200 else f"{line[:200]}…"


def _short(answers: Sequence[str]) -> Markup:
  if not answers:
    return element("em", "none")
  return join([element("bdi", _line(one)) for one in answers[:6]], " or ")


def _options(options: Sequence[Any]) -> Markup:
  known = [one for one in options if isinstance(one, dict)]
  scored = [(scoreboard.number(one.get("log_prob")), one) for one in known]
  best = sorted(scored, key=lambda pair: -math.inf if pair[0] is None else pair[0], reverse=True)
  items = [
    element(
      "li",
      element("bdi", _line(one.get("text"))),
      f" {scoreboard.MISSING if value is None else f'{value:.2f}'}",
    )
    for value, one in best[:12]
  ]
  return element("ul", *items)


def _facts(record: Mapping[str, Any]) -> list[tuple[str, Markup]]:
  """What is out of the ordinary about this question."""
  number = scoreboard.number
  told = []
  tokens = number(record.get("tokens"))
  if tokens is not None:
    ended = {"length": ", cut at the limit", "stop": ", ended by a stop string"}
    told.append(f"{_count(tokens, 'token')}{ended.get(str(record.get('ended')), '')}")
  if (score := number(record.get("log_prob"))) is not None:
    told.append(f"log-probability {score:.2f}")
  if dropped := number(record.get("dropped")):
    told.append(f"{_count(dropped, 'exemplar')} dropped for length")
  if cut := number(record.get("cut")):
    told.append(f"{_count(cut, 'input token')} cut off the front")
  samples = record.get("samples")
  if isinstance(samples, list) and samples:
    told.append(f"{_count(len(samples), 'sample')}: {_votes(samples)}")
  return [("Facts", join(["; ".join(told)]))] if told else []


def _votes(samples: Sequence[Any]) -> str:
  answers = [headline(one, "extracted") for one in samples if isinstance(one, dict)]
  counts: dict[str, int] = {}
  for answer in answers:
    name = "none" if answer is None else _line(answer)[:40]
    counts[name] = counts.get(name, 0) + 1
  most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
  return ", ".join(f"{name} {count}" for name, count in most[:6])


def _count(value: float, noun: str) -> str:
  return f"{value:,.0f} {noun}{'' if value == 1 else 's'}"


def _name(key: Key) -> str:
  return f"{key[0]}, {key[1]}"
