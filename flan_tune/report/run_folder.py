"""Reads a run folder; what is absent or damaged becomes a notice, never an error."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flan_tune.errors import UserError
from flan_tune.report import scoreboard
from flan_tune.runlog import ENVIRONMENT, METRICS, read_lines

Record = dict[str, Any]

# Every file the page is made of, with what its absence means to the reader.
_FILES = {
  "config.gin": "the configuration cannot be shown",
  ENVIRONMENT: "the machine and the versions are unknown",
  METRICS: "there are no curves",
  "scores.json": "scores are written when training has ended",
  "samples.jsonl": "there are no examples to read",
  "data.json": "the mixture cannot be compared with its plan",
}
_OF_SCORES = ("scores.json", "samples.jsonl")


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run folder says; records are in order of steps, one for each step."""

  folder: pathlib.Path
  config: str
  environment: Record
  train: list[Record]
  evaluations: list[Record]
  events: list[Record]
  scores: list[scoreboard.Score]
  averages: list[scoreboard.Score]
  scored: Record  # the rest of scores.json: step, best_step, seconds
  samples: list[Record]
  data: Record
  notices: list[str]

  def macro(self, name: str) -> str | None:
    """The value of a gin macro in the resolved configuration, without quotes."""
    return _macro(self.config, name)

  @property
  def unscored(self) -> bool:
    """No scores were asked for, so none are missing."""
    return _unscored(self.config)

  def last(self, key: str) -> float | None:
    """The newest finite value of a training metric."""
    values = (scoreboard.number(record.get(key)) for record in reversed(self.train))
    return next((value for value in values if value is not None), None)

  def seconds(self) -> float | None:
    """Time spent in this run's sessions; the pauses between a stop and a resume do not count."""
    total, begin, end = 0.0, None, None
    for record in sorted([*self.events, *self.train, *self.evaluations], key=_time):
      if record.get("what") in ("start", "resume"):
        total += (end or 0.0) - (begin or 0.0)
        begin = _time(record)
      end = _time(record)
      begin = end if begin is None else begin
    return None if begin is None else total + (end or 0.0) - begin


def is_run(folder: pathlib.Path) -> bool:
  """Whether a folder holds any file of a run, or evaluations of one."""
  found = any((folder / name).is_file() for name in _FILES)
  return found or any(folder.glob("evaluations/*/results.json"))


def read(folder: pathlib.Path) -> Run:
  """Reads whatever there is.

  Raises:
    UserError: there is no such folder, or nothing of a run in it.
  """
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder, so no run to report on")
  if not is_run(folder):
    raise UserError(f"{folder}: holds no run (none of {', '.join(_FILES)})")
  config = _read_text(folder / "config.gin")
  wanted = [name for name in _FILES if not (_unscored(config) and name in _OF_SCORES)]
  notices = [
    f"{name} is missing: {_FILES[name]}" for name in wanted if not (folder / name).is_file()
  ]
  lines = _read_records(folder / METRICS, notices)
  scores = read_object(folder / "scores.json", notices)
  return Run(
    folder=folder,
    config=config,
    environment=read_object(folder / ENVIRONMENT, notices),
    train=_once(_stepped(lines, "train"), ()),
    evaluations=_once(_stepped(lines, "eval"), ("task", "setting")),
    events=_stepped(lines, "event"),
    scores=[scoreboard.score(row) for row in mappings(scores.get("rows"))],
    averages=[scoreboard.score(row) for row in mappings(scores.get("summary"))],
    scored={key: value for key, value in scores.items() if key not in ("rows", "summary")},
    samples=_read_records(folder / "samples.jsonl", notices),
    data=read_object(folder / "data.json", notices),
    notices=notices,
  )


def _macro(config: str, name: str) -> str | None:
  found = re.search(rf"^{re.escape(name)}\s*=\s*(.+)$", config, re.MULTILINE)
  return found[1].strip().strip("'\"") if found else None


def _unscored(config: str) -> bool:
  return _macro(config, "FINAL_EXAMPLES") == "0"


def _time(record: Mapping[str, Any]) -> float:
  return scoreboard.number(record.get("time")) or 0.0


def mappings(value: Any) -> list[Record]:
  """The objects of a list; whatever else there is, is left out."""
  return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _stepped(records: Iterable[Record], kind: str) -> list[Record]:
  """The records of one kind that have a step, in order of steps."""
  found = [
    r for r in records if r.get("kind") == kind and scoreboard.number(r.get("step")) is not None
  ]
  return sorted(found, key=lambda record: record["step"])


def _once(records: list[Record], keys: tuple[str, ...]) -> list[Record]:
  """The last record of every step and key: a step trained twice was logged twice."""
  return list({(r["step"], *(str(r.get(key)) for key in keys)): r for r in records}.values())


def _read_text(path: pathlib.Path) -> str:
  return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def read_object(path: pathlib.Path, notices: list[str]) -> Record:
  """The JSON object of a file; of an absent or damaged one nothing, and of the latter a notice."""
  if not path.is_file():
    return {}
  try:
    value = json.loads(_read_text(path))
  except (ValueError, RecursionError) as error:
    notices.append(f"{path.name} is damaged and was left out: {error}")
    return {}
  if not isinstance(value, dict):
    notices.append(f"{path.name} was left out: it holds a {type(value).__name__}, not an object")
    return {}
  return value


def _read_records(path: pathlib.Path, notices: list[str]) -> list[Record]:
  if not path.is_file():
    return []
  lines = read_lines(path)
  if lines.damaged:
    some = "a line" if lines.damaged == 1 else f"{lines.damaged} lines"
    notices.append(f"{path.name}: {some} could not be read")
  return lines.records
