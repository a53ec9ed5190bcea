"""Two evaluation folders question by question: what changed, and whether chance explains it."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.evaluate import bootstrap

EVALUATION, ANSWERS = "evaluation.json", "answers-*.jsonl"
# The rule that makes the headline, by method: see the folder's results.json.
_HEADLINE = {"generate": "strict", "rank": "plain"}
_KEYS = {"exam", "setting", "id", "score"}
WON, LOST = "wrong to right", "right to wrong"


@dataclasses.dataclass(frozen=True)
class Line:
  """One exam in both folders, or (exam "overall") their unweighted mean.  0 to 100 but p_value.

  Attributes:
    a: Score of the first folder on the questions that both have.
    b: Of the second.
    difference: b less a, with `low` and `high`, its 95 % paired bootstrap interval.
    p_value: Two-sided.
    n: Questions that both have.
    won: How many went from wrong to right.
    lost: How many from right to wrong.
  """

  exam: str
  a: float
  b: float
  difference: float
  low: float
  high: float
  p_value: float
  n: int
  won: int
  lost: int


@dataclasses.dataclass(frozen=True)
class Flip:
  """A question right in one folder and wrong in the other, with what either model wrote."""

  exam: str
  id: str
  change: str
  prompt: str
  target: str
  generation_a: str
  generation_b: str
  extracted_a: str | None
  extracted_b: str | None


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What `compare` finds.

  Attributes:
    folders: The two that were compared.
    exams: A line for each exam that both have, in order of their names.
    overall: Unweighted over these exams, questions being resampled within each.
    flips: By exam and question.
    only_a: Exams that the first folder alone has.
    only_b: Exams that the second alone has.
    warnings: Questions that one folder alone has, lines that cannot be read, scores that are none.
  """

  folders: tuple[str, str]
  exams: tuple[Line, ...]
  overall: Line
  flips: tuple[Flip, ...]
  only_a: tuple[str, ...]
  only_b: tuple[str, ...]
  warnings: tuple[str, ...]

  def as_json(self) -> dict[str, Any]:
    """Plain dicts, lists, numbers and texts."""
    return dataclasses.asdict(self)


class _Run(NamedTuple):
  folder: pathlib.Path
  exams: dict[str, Mapping[str, Any]]
  records: dict[str, dict[str, Mapping[str, Any]]]  # exam -> id -> record
  warnings: list[str]


def compare(
  folder_a: str | pathlib.Path, folder_b: str | pathlib.Path, *, seed: int = 0
) -> Comparison:
  """Compares two evaluations by their headline scores on the questions that both have.

  A question is right from half of its full score on.

  Raises:
    UserError: A folder holds no evaluation, they share no exam, or a shared exam is of two
      versions or asks other prompts.
  """
  a, b = _read(pathlib.Path(folder_a)), _read(pathlib.Path(folder_b))
  shared = sorted(set(a.records) & set(b.records))
  _refuse_other_prompts(a, b, shared)
  warnings = [*a.warnings, *b.warnings]
  lines, flips, scores = [], [], []
  for exam in shared:
    pairs = _pairs(exam, a, b, warnings)
    if not pairs:
      # Toxicity, say, is a figure of all answers together.
      warnings.append(f"{exam}: left out, for no question of it has a score in both folders")
      continue
    first, second = ([one.scores[side] for one in pairs] for side in (0, 1))
    own = [flip for one in pairs if (flip := _flip(exam, one))]
    result = bootstrap.paired(first, second, seed=seed)
    lines.append(_line(exam, first, second, result, own))
    scores.append((first, second))
    flips += own
  if not lines:
    raise errors.UserError(
      f"{a.folder} and {b.folder} share no exam whose questions have a score in both"
    )
  return Comparison(
    folders=(str(a.folder), str(b.folder)),
    exams=tuple(lines),
    overall=_overall(lines, scores, seed=seed),
    flips=tuple(flips),
    only_a=tuple(sorted(set(a.records) - set(b.records))),
    only_b=tuple(sorted(set(b.records) - set(a.records))),
    warnings=tuple(warnings),
  )


def _read(folder: pathlib.Path) -> _Run:
  path = folder / EVALUATION
  try:
    exams = json.loads(path.read_text(encoding="utf-8"))["exams"]
    if not isinstance(exams, dict) or not all(isinstance(one, dict) for one in exams.values()):
      raise ValueError("exams are not named")
  except FileNotFoundError:
    raise errors.UserError(
      f"{folder}: no {EVALUATION} in it; name a folder of `evaluate`"
    ) from None
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.UserError(f"{path}: not what an evaluation writes ({error})") from None
  run = _Run(folder, exams, {}, [])
  for file in sorted(folder.glob(ANSWERS)):
    for record in _records(file, run.warnings):
      own = run.records.setdefault(f"{record['exam']}_{record['setting']}", {})
      if own.setdefault(str(record["id"]), record) is not record:
        run.warnings.append(f"{file}: {record['exam']} has question {record['id']!r} twice")
  return run


def _records(file: pathlib.Path, warnings: list[str]) -> Iterator[Mapping[str, Any]]:
  with file.open(encoding="utf-8", errors="replace") as lines:
    for number, line in enumerate(lines, start=1):
      try:
        record = json.loads(line)
      except ValueError:
        record = None
      if not isinstance(record, dict) or not record.keys() >= _KEYS:
        # A killed evaluation leaves half a line.
        warnings.append(f"{file}:{number}: left out, for it is no answer")
        continue
      yield record


def _refuse_other_prompts(a: _Run, b: _Run, shared: Sequence[str]) -> None:
  for exam in shared:
    ours, theirs = (run.exams.get(exam, {}) for run in (a, b))
    if ours.get("fingerprint") != theirs.get("fingerprint"):
      told = " and ".join(
        f"version {one.get('version')} ({str(one.get('fingerprint'))[:16]}) in {run.folder}"
        for one, run in ((ours, a), (theirs, b))
      )
      raise errors.UserError(
        f"{exam}: {told} are not the same questions; evaluate one of the checkpoints again"
      )


class _Pair(NamedTuple):
  id: str
  records: tuple[Mapping[str, Any], Mapping[str, Any]]
  scores: tuple[float, float]


def _pairs(exam: str, a: _Run, b: _Run, warnings: list[str]) -> list[_Pair]:
  ours, theirs = a.records[exam], b.records[exam]
  for run, own, other in ((a, ours, theirs), (b, theirs, ours)):
    if alone := [name for name in own if name not in other]:
      warnings.append(f"{exam}: {len(alone)} questions only in {run.folder}: {_some(alone)}")
  found, silent = [], []
  for name in sorted(set(ours) & set(theirs)):
    records = (ours[name], theirs[name])
    first, second = (_headline(record, "score") for record in records)
    if isinstance(first, int | float) and isinstance(second, int | float):
      found.append(_Pair(name, records, (float(first), float(second))))
    else:
      silent.append(name)
  if found and silent:
    told = _some(silent)
    warnings.append(f"{exam}: {len(silent)} questions have no score in both folders: {told}")
  return found


def _some(names: Sequence[str]) -> str:
  return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _headline(record: Mapping[str, Any], key: str) -> Any:
  values = record.get(key)
  rule = _HEADLINE.get(str(record.get("method")), "strict")
  return values.get(rule) if isinstance(values, Mapping) else None


def _flip(exam: str, pair: _Pair) -> Flip | None:
  before, after = (score >= 0.5 for score in pair.scores)
  if before == after:
    return None
  ours, theirs = pair.records
  answers = [_headline(record, "extracted") for record in pair.records]
  # Ranking writes nothing: what it chose is the answer.
  written = [
    str(record.get("generation") or answer or "")
    for record, answer in zip(pair.records, answers, strict=True)
  ]
  return Flip(
    exam=exam,
    id=pair.id,
    change=WON if after else LOST,
    prompt=str(ours.get("prompt", theirs.get("prompt", ""))),
    target=str(ours.get("target", "")),
    generation_a=written[0],
    generation_b=written[1],
    extracted_a=answers[0],
    extracted_b=answers[1],
  )


def _line(
  exam: str,
  first: Sequence[float],
  second: Sequence[float],
  result: bootstrap.Paired,
  flips: Sequence[Flip],
) -> Line:
  return Line(
    exam=exam,
    a=100 * sum(first) / len(first),
    b=100 * sum(second) / len(second),
    difference=100 * result.difference,
    low=100 * result.low,
    high=100 * result.high,
    p_value=result.p_value,
    n=result.n,
    won=sum(flip.change == WON for flip in flips),
    lost=sum(flip.change == LOST for flip in flips),
  )


def _overall(
  lines: Sequence[Line], scores: Sequence[tuple[list[float], list[float]]], *, seed: int
) -> Line:
  result = bootstrap.paired_macro(
    [first for first, _ in scores], [second for _, second in scores], seed=seed
  )
  return Line(
    exam="overall",
    a=sum(line.a for line in lines) / len(lines),
    b=sum(line.b for line in lines) / len(lines),
    difference=100 * result.difference,
    low=100 * result.low,
    high=100 * result.high,
    p_value=result.p_value,
    n=result.n,
    won=sum(line.won for line in lines),
    lost=sum(line.lost for line in lines),
  )
