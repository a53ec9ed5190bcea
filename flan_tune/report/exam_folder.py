"""Reads an evaluation's folder; what is absent or damaged becomes a notice, never an error."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flan_tune.report.run_folder import Record, mappings, read_object
from flan_tune.report.scoreboard import number

ABOUT, RESULTS, ANSWERS = "evaluation.json", "results.json", "answers-*.jsonl"
INSIDE_A_RUN = "evaluations"

# Headline first: what an answer may be judged by, and how the page calls it.
JUDGES = {
  "strict": "strict",
  "loose": "loose",
  "plain": "log-probability",
  "normalised": "log-probability per token",
}


@dataclasses.dataclass(frozen=True)
class ExamRow:
  """One task in one setting as results.json tells it; scores and intervals are 0 to 100."""

  exam: str
  setting: str
  suite: str = ""
  benchmark: str = ""
  label: str = ""
  metric: str = ""
  stand_in: str = ""
  n: int = 0
  chance: float | None = None  # 0 to 100 too, unlike in the file
  score: float | None = None
  low: float | None = None
  high: float | None = None
  confidence: float | None = None
  higher_is_better: bool = True
  scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  problems: Mapping[str, int] = dataclasses.field(default_factory=dict)
  extra: Mapping[str, float] = dataclasses.field(default_factory=dict)

  @property
  def key(self) -> tuple[str, str]:
    """What tells it from other rows, in the answers too."""
    return self.exam, self.setting

  @property
  def family(self) -> str:
    """The benchmark without its task: `BBH` of `BBH/snarks`."""
    return (self.benchmark or self.suite or self.exam).partition("/")[0]


COUNTS = ("unparsable", "truncated", "dropped_exemplars", "cut_prompts")


@dataclasses.dataclass(frozen=True)
class Examined:
  """What an evaluation's folder says."""

  folder: pathlib.Path
  checkpoint: Record
  options: Record
  exams: Record  # what was asked, as evaluation.json tells it
  rows: list[ExamRow]
  aggregate: Record
  environment: Record
  missing: list[Record]  # exams that could not be asked: name, path, how
  notes: list[str]
  seconds: Record
  notices: list[str]

  @property
  def name(self) -> str:
    """Of the folder."""
    return self.folder.resolve().name

  @property
  def average(self) -> float | None:
    """The paper's normalised average, where all its six parts were asked."""
    return number(self.aggregate.get("normalized_average"))

  def answers(self, notices: list[str]) -> Iterator[Record]:
    """All answers, a record at a time: there may be more than fit in memory.

    Args:
      notices: Gets a sentence for every file with lines that cannot be read.
    """
    for path in sorted(self.folder.glob(ANSWERS)):
      yield from _lines(path, notices)


def is_evaluation(folder: pathlib.Path) -> bool:
  """Whether a folder holds an evaluation, ended or not."""
  return any((folder / name).is_file() for name in (ABOUT, RESULTS)) or any(folder.glob(ANSWERS))


def read(folder: pathlib.Path) -> Examined:
  """Reads all but the answers."""
  notices: list[str] = []
  about, results = (read_object(folder / name, notices) for name in (ABOUT, RESULTS))
  if not (folder / RESULTS).is_file():
    notices.append(f"{RESULTS} is missing: it is written when the evaluation has ended")
  if not any(folder.glob(ANSWERS)):
    notices.append(f"{ANSWERS} is missing: there are no answers to read")
  merged = {**about, **results}
  found = [merged.get(key) for key in ("checkpoint", "options", "aggregate", "environment")]
  checkpoint, options, aggregate, environment = (_mapping(value) for value in found)
  if isinstance(merged.get("checkpoint"), str):
    checkpoint = {"path": merged["checkpoint"]}
  notes = merged.get("notes")
  seconds = merged.get("seconds")
  return Examined(
    folder=folder,
    checkpoint=checkpoint,
    options=options,
    exams=_mapping(about.get("exams")),
    rows=[_row(entry) for entry in mappings(results.get("rows"))],
    aggregate=aggregate,
    environment=environment,
    missing=mappings(merged.get("missing")),
    notes=[str(note) for note in notes] if isinstance(notes, list) else [],
    seconds=seconds if isinstance(seconds, dict) else {"total": seconds},
    notices=notices,
  )


def inside(run: pathlib.Path) -> list[Examined]:
  """The evaluations of a run that have ended, the one of the latest step last."""
  folders = {path.parent for path in (run / INSIDE_A_RUN).glob(f"*/{RESULTS}")}
  if (run / RESULTS).is_file():
    folders.add(run)
  found = [read(folder) for folder in folders]
  return sorted(found, key=_place)


def _place(one: Examined) -> tuple[float, int, list[tuple[int, str]], str]:
  """By step; of one step the evaluation that asked most is last."""
  parts = re.findall(r"\d+|\D+", one.name)
  # step_9 before step_10, which as plain text it is not.
  natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
  step = number(one.checkpoint.get("step"))
  return -1.0 if step is None else step, len(one.rows), natural, one.name


def _row(entry: Mapping[str, Any]) -> ExamRow:
  word = lambda name: str(entry.get(name) or "")
  good = entry.get("higher_is_better") is not False
  chance = number(entry.get("chance")) if good else None
  return ExamRow(
    exam=word("exam"),
    setting=word("setting"),
    suite=word("suite"),
    benchmark=word("benchmark"),
    label=word("label"),
    metric=word("metric"),
    stand_in=word("stand_in"),
    score=number(entry.get("score")),
    low=number(entry.get("low")),
    high=number(entry.get("high")),
    confidence=number(entry.get("confidence")),
    higher_is_better=good,
    n=_whole(entry.get("n")),
    chance=None if chance is None else 100 * chance,
    scores=_numbers(entry.get("scores")),
    counts={name: _whole(entry.get(name)) for name in COUNTS},
    problems={name: int(count) for name, count in _numbers(entry.get("problems")).items()},
    extra=_numbers(_flat(_mapping(entry.get("extra")))),
  )


def _flat(extra: Record) -> Record:
  """Figures, with those that are told by group or by term one by one."""
  found: Record = {}
  for name, value in extra.items():
    found |= {f"{name}: {key}": one for key, one in _mapping(value).items()} or {name: value}
  return found


def _whole(value: Any) -> int:
  return int(number(value) or 0)


def _mapping(value: Any) -> Record:
  return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
  pairs = {str(key): number(item) for key, item in _mapping(value).items()}
  return {key: item for key, item in pairs.items() if item is not None}


def _lines(path: pathlib.Path, notices: list[str]) -> Iterator[Record]:
  damaged = 0
  try:
    with path.open(encoding="utf-8", errors="replace") as file:
      for line in file:
        record = _parsed(line)
        if record is None:
          damaged += 1
        else:
          yield record
  except OSError as error:
    notices.append(f"{path.name} could not be read: {error.strerror}")
  if damaged:
    some = "a line" if damaged == 1 else f"{damaged:,} lines"
    notices.append(f"{path.name}: {some} could not be read")


def _parsed(line: str) -> Record | None:
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return None
  return record if isinstance(record, dict) else None
