"""Goes through an evaluation's answers once: some of each sort to read, and the drawn samples."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune.report.exam_folder import JUDGES, Examined
from flan_tune.report.run_folder import Record, mappings
from flan_tune.report.scoreboard import number

# The sorts a reader looks for; an answer is of the first that fits.
SORTS = {
  "truncated": "Truncated: the limit of tokens came before the end",
  "unparsable": "Unparsable: strict reading found no answer",
  "wrong": "Wrong",
  "right": "Right",
  "unjudged": "Neither right nor wrong",
}
_KEPT = 3  # of each exam and sort; what a page has room for is decided later
Key = tuple[str, str]


@dataclasses.dataclass
class Chosen:
  """Of one exam: how many answers there are of each sort, and a few of each, in order."""

  counts: dict[str, int] = dataclasses.field(default_factory=dict)
  kept: dict[str, list[tuple[str, Record]]] = dataclasses.field(default_factory=dict)
  prompt: tuple[str, Record] | None = None


@dataclasses.dataclass
class Drawn:
  """The answers drawn for the questions of one exam, as its first judge read them.

  Attributes:
    pools: Of each question, its samples' answers; None where none was found.
    targets: Of each question, the right answers.
    votes: Of each question that was judged, the share of its majority and its score, 0 to 1.
  """

  pools: list[list[str | None]] = dataclasses.field(default_factory=list)
  targets: list[list[str]] = dataclasses.field(default_factory=list)
  votes: list[tuple[float, float]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Gathered:
  """All exams' answers, by name and setting."""

  chosen: dict[Key, Chosen] = dataclasses.field(default_factory=dict)
  drawn: dict[Key, Drawn] = dataclasses.field(default_factory=dict)
  repeated: int = 0


def gather(examined: Examined, notices: list[str]) -> Gathered:
  """Reads every answer once; the choice depends on the questions, not on order or shards."""
  found, seen = Gathered(), set()
  for record in examined.answers(notices):
    key = (str(record.get("exam")), str(record.get("setting")))
    place = _place(record)
    if (key, place) in seen:
      found.repeated += 1
      continue
    seen.add((key, place))
    _choose(found.chosen.setdefault(key, Chosen()), place, record)
    if samples := mappings(record.get("samples")):
      _draw(found.drawn.setdefault(key, Drawn()), record, samples)
  if found.repeated:
    notices.append(f"{found.repeated:,} answers stand twice in the files; the first was taken")
  found.chosen = dict(sorted(found.chosen.items()))
  found.drawn = dict(sorted(found.drawn.items()))
  return found


def headline(record: Mapping[str, Any], field: str) -> Any:
  """What the first of the JUDGES says in `extracted` or `score`."""
  value = record.get(field)
  if not isinstance(value, dict):
    return value
  return next((value[judge] for judge in JUDGES if judge in value), None)


def sort(record: Mapping[str, Any]) -> str:
  """One of SORTS."""
  score = number(headline(record, "score"))
  if score is not None and score > 0.5:
    return "right"
  if record.get("ended") == "length":
    return "truncated"
  if record.get("method") != "rank" and headline(record, "extracted") is None:
    return "unparsable"
  return "unjudged" if score is None else "wrong"


def right_answers(record: Mapping[str, Any]) -> list[str]:
  """The targets, the one that is shown first."""
  several = record.get("targets")
  one = [record["target"]] if record.get("target") is not None else []
  found = [*one, *(several if isinstance(several, list) else [])]
  return list(dict.fromkeys(str(target) for target in found))


def _place(record: Mapping[str, Any]) -> str:
  """A fixed order that has nothing to do with the questions' own, which files may sort by."""
  return hashlib.sha256(str(record.get("id")).encode("utf-8", "replace")).hexdigest()[:24]


def _choose(chosen: Chosen, place: str, record: Record) -> None:
  kind = sort(record)
  chosen.counts[kind] = chosen.counts.get(kind, 0) + 1
  if chosen.prompt is None or place < chosen.prompt[0]:
    chosen.prompt = place, record
  kept = chosen.kept.setdefault(kind, [])
  if len(kept) < _KEPT or place < kept[-1][0]:
    kept.append((place, record))
    kept.sort(key=lambda entry: entry[0])
    del kept[_KEPT:]


def _draw(drawn: Drawn, record: Record, samples: Sequence[Record]) -> None:
  answers = [headline(sample, "extracted") for sample in samples]
  drawn.pools.append([None if answer is None else str(answer) for answer in answers])
  drawn.targets.append(right_answers(record))
  vote = headline(record, "vote")
  share = number(vote.get("share")) if isinstance(vote, dict) else None
  score = number(headline(record, "score"))
  if share is not None and score is not None:
    drawn.votes.append((share, score))
