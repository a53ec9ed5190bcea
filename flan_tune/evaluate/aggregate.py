"""From rows of scores to the figures that papers quote: means, groups, the average of six.

Chung et al. 2022 (footnote 5): each score is normalised to 100 (raw - low) / (100 - low), `low`
being what guessing scores, and six of them are averaged without weights.  `docs/aggregation.md`
has the rules for what tables leave out or contradict.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from flan_tune.evaluate import bootstrap, entries, members, wording
from flan_tune.evaluate.means import SuiteMean, suite_mean


@dataclasses.dataclass(frozen=True)
class Part:
  """One of the six: a suite, how it is asked, and the exemplars and split of the paper."""

  suite: str
  kind: str
  shots: int
  split: str = ""

  @property
  def name(self) -> str:
    """As tables head it: "BBH CoT"."""
    return f"{self.suite} {self.kind}" if self.suite in ("MMLU", "BBH") else self.suite


# Chung et al. 2022, section 2.3 and table 5.
PARTS = (
  Part("MMLU", wording.DIRECT, 5, "validation"),
  Part("MMLU", wording.COT, 5, "validation"),
  Part("BBH", wording.DIRECT, 3),
  Part("BBH", wording.COT, 3),
  Part("TyDiQA", wording.DIRECT, 1),
  Part("MGSM", wording.COT, 8),
)


class Readable(Mapping[str, Any]):
  """A dataclass whose fields are read as attributes or by name."""

  def __getitem__(self, key: str) -> Any:
    if key not in list(self):
      raise KeyError(key)
    return getattr(self, key)

  def __iter__(self) -> Iterator[str]:
    return (field.name for field in dataclasses.fields(self))  # type: ignore[arg-type]

  def __len__(self) -> int:
    return len(list(iter(self)))

  def as_json(self) -> dict[str, Any]:
    """Plain dicts, lists, numbers and texts."""
    return {key: _plain(value) for key, value in self.items()}


@dataclasses.dataclass(frozen=True)
class Row(Readable):
  """A suite, or a group of its tasks, asked in one way.  All figures are percentages.

  Attributes:
    benchmark: "BBH", or of a group "BBH-nlp".
    setting: In the words of the paper's tables.
    macro: Unweighted mean over tasks; where the rows have the mean only, that.
    micro: Mean over questions; None unless every task has its `n` and their mean is `macro`.
    tasks: How many have a score.
    of: How many there are; None of a benchmark that is none of the four suites.
    n: Questions of all tasks; None where a row does not tell.
    normalised: Mean over tasks of 100 (score - chance) / (100 - chance); None where a task is
      missing and no mean says what it must be, or where no chance is known.
    chance: Unweighted mean over the tasks that `macro` is the mean of.
    low: Lower end of the 95 % bootstrap interval of `macro` over questions, tasks being fixed;
      None unless `micro` is there and, in other benchmarks than the four suites, the scores of
      all questions.
    high: Its upper end.
  """

  benchmark: str
  setting: str
  macro: float
  micro: float | None = None
  tasks: int = 0
  of: int | None = None
  n: int | None = None
  normalised: float | None = None
  chance: float | None = None
  low: float | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class Aggregate(Readable):
  """Scores of one model; `result.missing` and `result["missing"]` are the same.

  Attributes:
    normalized_average: The paper's average of six, or None when a part is missing.
    partial_average: The mean of the parts that are there, however many: comparable only between
      aggregates with the same `missing`.  Tasks that are missing are left out of their part.
    parts: Normalised score of each of PARTS by name, None where it is missing.
    benchmarks: A row for each suite and setting.
    groups: The same for groups of tasks, such as BBH-nlp and BBH-alg.
    missing: What `normalized_average` lacks, in words.
    notes: Every decision that the rows left open.
    model: Their model, if they name one.
  """

  normalized_average: float | None
  partial_average: float | None
  parts: Mapping[str, float | None]
  benchmarks: tuple[Row, ...]
  groups: tuple[Row, ...]
  missing: tuple[str, ...]
  notes: tuple[str, ...]
  model: str = ""

  def table(self) -> list[dict[str, Any]]:
    """Benchmarks and groups as plain rows, the average last: a partial one by that name."""
    name = "partial_average" if self.missing else entries.AVERAGE
    rows = [*self.benchmarks, *self.groups]
    if self.partial_average is not None:
      average = self.partial_average
      rows.append(Row(name, "macro average", average, normalised=average))
    return [row.as_json() for row in rows]


def aggregate(rows: Iterable[Mapping[str, Any]], *, seed: int = 0) -> Aggregate:
  """Aggregates the rows of one model.

  Args:
    rows: In any order.  Each has `benchmark` ("BBH/snarks", or "BBH" for a mean), `setting`
      ("3-shot CoT"; or `label` with these words) and `score`, a number or its text, 0 to 100; and
      may have `model`, `n` (questions), `questions` (their scores, 0 to 1), `samples` (more than
      1: a vote) and, of benchmarks that are none of the paper's four suites, `chance`, 0 to 1.
    seed: Of the bootstrap.

  Raises:
    UserError: A row is none, two rows contradict each other, or there are several models.
  """
  collected = entries.collect(rows)
  means = {id(one): suite_mean(one) for one in collected.variants}
  notes, missing = list(collected.notes), []
  parts: dict[str, float | None] = {}
  partial: list[float] = []
  for part in PARTS:
    chosen = _choose(part, collected.variants, means, notes)
    mean = means[id(chosen)] if chosen else None
    parts[part.name] = mean.normalised if mean else None
    if chosen is None or mean is None:
      missing.append(part.name)
      continue
    partial.append(mean.partial)
    notes += [f"{part.name}: {note}" for note in mean.notes]
    if mean.missing:
      missing.append(f"{part.name}: {_shortly(mean.missing)}")
  average = sum(partial) / len(partial) if partial else None
  shown = [(one, means[id(one)]) for one in collected.variants]
  return Aggregate(
    normalized_average=None if missing else average,
    partial_average=average,
    parts=parts,
    benchmarks=tuple(_row(one, mean, list(one.tasks), seed=seed) for one, mean in shown),
    groups=tuple(row for one, mean in shown for row in _groups(one, mean, seed=seed)),
    missing=tuple(missing),
    notes=tuple(notes),
    model=collected.model,
  )


def by_model(rows: Iterable[Mapping[str, Any]], *, seed: int = 0) -> dict[str, Aggregate]:
  """An aggregate for each `model` of the rows, in order of first appearance."""
  found: dict[str, list[Mapping[str, Any]]] = {}
  for row in entries.listed(rows):
    found.setdefault(entries.model_of(row), []).append(row)
  return {model: aggregate(chosen, seed=seed) for model, chosen in found.items()}


def _choose(
  part: Part,
  variants: list[entries.Variant],
  means: Mapping[int, SuiteMean],
  notes: list[str],
) -> entries.Variant | None:
  """The variant a part is read from: never a vote, never without exemplars."""
  # Nobody asks TyDiQA for a rationale, so a table that does not tell means direct prompts.
  kinds = (part.kind, "") if part.suite == "TyDiQA" else (part.kind,)

  def rank(one: entries.Variant) -> tuple[Any, ...]:
    split, shots = one.setting.split, one.setting.shots
    return (
      bool(means[id(one)].missing),
      [part.split, ""].index(split) if split in (part.split, "") else 2,
      (shots != part.shots) + (shots not in (part.shots, None)),
      bool(one.setting.remark),
      one.setting.text,
    )

  own = [one for one in variants if one.suite == part.suite and one.setting.kind in kinds]
  fitting = sorted((one for one in own if _asked_as_in_the_paper(one.setting)), key=rank)
  if not fitting:
    if own:
      told = ", ".join(f"{one.setting.text!r}" for one in own)
      notes.append(f"{part.name}: {told} is not read as one of the six")
    return None
  chosen = fitting[0]
  setting = chosen.setting
  if setting.split and part.split and setting.split != part.split:
    notes.append(f"{part.name}: of the {setting.split} split; the paper's is {part.split}")
  if setting.shots not in (part.shots, None):
    notes.append(f"{part.name}: {setting.shots} exemplars; the paper's are {part.shots}")
  for other in fitting[1:]:
    if rank(other)[:-1] == rank(chosen)[:-1]:
      notes.append(f"{part.name}: read from {setting.text!r}, not from {other.setting.text!r}")
  return chosen


def _asked_as_in_the_paper(setting: wording.Setting) -> bool:
  return not setting.voted and setting.shots != 0


def _shortly(names: tuple[str, ...]) -> str:
  return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _groups(variant: entries.Variant, mean: SuiteMean, *, seed: int) -> list[Row]:
  named: dict[str, list[str]] = {}
  for task, member in members.of(variant.suite).items():
    if member.group and task in mean.scores:
      named.setdefault(member.group, []).append(task)
  return [_group(name, tasks, variant, mean, seed=seed) for name, tasks in sorted(named.items())]


def _group(
  name: str, tasks: list[str], variant: entries.Variant, mean: SuiteMean, *, seed: int
) -> Row:
  known = members.of(variant.suite)
  own = {task: member for task, member in known.items() if member.group == name}
  whole = len(tasks) == len(own)
  chances = np.array([known[task].chance for task in tasks])
  scores = np.array([mean.scores[task] for task in tasks])
  mean = mean._replace(macro=float(scores.mean()))
  row = _row(variant, mean, [task for task in tasks if task in variant.tasks], seed=seed)
  return dataclasses.replace(
    row,
    benchmark=name,
    of=len(own),
    normalised=float((100 * (scores - chances) / (100 - chances)).mean()) if whole else None,
    chance=float(chances.mean()),
  )


def _row(variant: entries.Variant, mean: SuiteMean, tasks: list[str], *, seed: int) -> Row:
  chosen = [variant.tasks[task] for task in tasks]
  if not chosen and variant.mean:
    chosen = [variant.mean]
  sizes = [entry.n or len(entry.questions) for entry in chosen]
  n = sum(sizes) if all(sizes) else None
  micro = low = high = None
  # A mean that counts instead of these scores is not the middle of their interval.
  if n and math.isclose(float(np.mean([one.score for one in chosen])), mean.macro, abs_tol=0.1):
    micro = sum(size * one.score for size, one in zip(sizes, chosen, strict=True)) / n
    # Of another benchmark nothing says that its score is a share of right answers.
    if variant.suite in wording.SUITES or all(one.questions for one in chosen):
      low, high = _interval(chosen, seed=seed)
  return Row(
    benchmark=variant.suite,
    setting=variant.setting.text,
    macro=mean.macro,
    micro=micro,
    tasks=len(tasks),
    of=len(members.of(variant.suite)) or None,
    n=n,
    normalised=mean.normalised,
    chance=mean.chance,
    low=low,
    high=high,
  )


def _interval(chosen: list[entries.Entry], *, seed: int) -> tuple[float, float]:
  total = np.zeros(bootstrap.DRAWS)
  for number, one in enumerate(chosen):
    stream = (seed, number)
    if one.questions:
      total += bootstrap.draws(one.questions, seed=stream)
    else:
      total += bootstrap.right_or_wrong(one.score / 100, one.n or 1, seed=stream)
  return bootstrap.bounds(100 * total / len(chosen))


def _plain(value: Any) -> Any:
  if isinstance(value, Readable):
    return value.as_json()
  if isinstance(value, Mapping):
    return {key: _plain(one) for key, one in value.items()}
  if isinstance(value, tuple | list):
    return [_plain(one) for one in value]
  return value
