"""`evaluation.json`: what a folder of answers was asked, so that nothing else is mixed into it."""

import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune import errors, runlog
from flan_tune.benchmarks.exam import Exam
from flan_tune.evaluate import journal, judging
from flan_tune.evaluate.asking import Gathered, Options

EVALUATION, RESULTS = "evaluation.json", "results.json"
FORMAT = 1
_ELSE = "use another --output"


def document(
  exams: Sequence[Exam], gathered: Gathered, options: Options, checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
  """The content of `evaluation.json`."""
  counts = dict.fromkeys((exam.key for exam in exams), 0)
  for one in gathered.asked:
    counts[one.exam.key] += 1
  return {
    "format": FORMAT,
    "checkpoint": runlog.plain(checkpoint),
    "options": options.lasting(),
    "exams": {
      exam.key: {
        "version": exam.version,
        "fingerprint": exam.fingerprint,
        "questions": counts[exam.key],
      }
      for exam in exams
    },
  }


def check(folder: pathlib.Path, wanted: Mapping[str, Any], missing: Sequence[Any] = ()) -> None:
  """Holds `wanted` against what the folder was asked, if anything.

  More exams and a higher limit may be asked, nothing else may differ.

  Args:
    missing: As `outcomes.document` takes it.

  Raises:
    UserError: Something differs.
  """
  path = folder / EVALUATION
  if not path.exists():
    if any(answers.stat().st_size for answers in folder.glob(journal.ANSWERS)):
      raise errors.UserError(f"{folder}: has answers but no {EVALUATION} to tell whose; {_ELSE}")
    return
  held = _read(path)
  if held["checkpoint"] != wanted["checkpoint"]:
    told = _differing(held["checkpoint"], wanted["checkpoint"])
    raise errors.UserError(f"{folder}: holds answers of another checkpoint ({told}); {_ELSE}")
  _check_options(folder, held["options"], wanted["options"])
  _check_exams(folder, held["exams"], wanted["exams"], missing)


def _read(path: pathlib.Path) -> dict[str, Any]:
  try:
    held = json.loads(path.read_text(encoding="utf-8"))
    whole = all(isinstance(held[key], dict) for key in ("checkpoint", "options", "exams"))
  except (ValueError, KeyError, TypeError):
    held, whole = {}, False
  if not whole:
    raise errors.UserError(f"{path}: is damaged; {_ELSE}")
  if held.get("format") != FORMAT:
    raise errors.UserError(
      f"{path}: format {held.get('format')!r} unknown; this program reads {FORMAT}: {_ELSE}"
    )
  return held


def _check_options(
  folder: pathlib.Path, held: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
  first, second = (dict(options) for options in (held, wanted))
  limits = first.pop("limit", None), second.pop("limit")
  if first != second:
    told = _differing(first, second)
    raise errors.UserError(f"{folder}: holds answers to other options ({told}); {_ELSE}")
  if (limits[1] or math.inf) < (limits[0] or math.inf):
    count = limits[0] or "all"
    raise errors.UserError(
      f"{folder}: holds {count} questions of each exam and limit is {limits[1]}; raise it, or "
      f"{_ELSE}"
    )


def _check_exams(
  folder: pathlib.Path,
  held: Mapping[str, Any],
  wanted: Mapping[str, Any],
  missing: Sequence[Any],
) -> None:
  for key, entry in held.items():
    if key not in wanted:
      for name, path, how in map(_lacking, missing):
        if re.fullmatch(rf"{re.escape(name)}(_[zf]s_(no)?opt)?", key):
          told = f"{path}: {how}" if path else how
          raise errors.UserError(
            f"{folder}: holds {key}, whose data are not there now ({told}); put them back, or "
            f"{_ELSE}"
          )
      raise errors.UserError(
        f"{folder}: holds {key}, which is not asked now; ask it too, or {_ELSE}"
      )
    told = [_edition(one) for one in (entry, wanted[key])]
    if told[0] != told[1]:
      raise errors.UserError(
        f"{folder}: holds {key} {_told(entry)}; this program makes {_told(wanted[key])}: {_ELSE}"
      )


def _lacking(one: Any) -> tuple[str, str, str]:
  fields = one if isinstance(one, Mapping) else one._asdict()
  return fields["name"], fields["path"], fields["how"]


def _edition(entry: Mapping[str, Any]) -> tuple[Any, Any]:
  return entry.get("version"), entry.get("fingerprint")


def _told(entry: Mapping[str, Any]) -> str:
  version, fingerprint = _edition(entry)
  return f"version {version}, fingerprint {str(fingerprint)[:12]}"


def _differing(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
  """The keys whose values differ, with both."""
  keys = [key for key in {**held, **wanted} if held.get(key) != wanted.get(key)]
  return ", ".join(f"{key} {held.get(key)!r}, not {wanted.get(key)!r}" for key in keys)


def check_answers(
  folder: pathlib.Path, records: Mapping[journal.Name, journal.Record], gathered: Gathered
) -> None:
  """Holds the answers of a folder against the questions as they are made now.

  Raises:
    UserError: One was asked otherwise, or is asked no more.
  """
  asked = {one.name: one for one in gathered.asked}
  for name, record in records.items():
    where = f"{folder}: question {name.id} of {name.exam}, {name.setting}"
    one = asked.get(name)
    if one is None:
      raise errors.UserError(
        f"{where}, is answered there and is not among the questions now: the rows on disk have "
        f"changed; {_ELSE}"
      )
    right = judging.targets(one.question)
    if record["prompt_hash"] != one.prompt_hash:
      what = f"prompt {record['prompt_hash']}, now {one.prompt_hash}"
    elif {key: record.get(key) for key in ("target", "targets")} != {"targets": None, **right}:
      what = f"target {record.get('target')!r}, now {right['target']!r}"
    else:
      continue
    raise errors.UserError(f"{where}, had {what}: the rows on disk have changed; {_ELSE}")


def settle(folder: pathlib.Path, log: journal.Journal, wanted: Mapping[str, Any]) -> None:
  """Writes `evaluation.json` when the folder does not hold it yet.

  Raises:
    UserError: More is asked than before, and other processes are still answering that.
  """
  path = folder / EVALUATION
  if path.exists():
    if _read(path) == wanted:
      return
    if others := log.others():
      raise errors.UserError(
        f"{others[0]}: another process is answering fewer questions; wait until it is done"
      )
    # Results of less than is asked now.
    (folder / RESULTS).unlink(missing_ok=True)
  runlog.write_json(path, wanted)
