"""Exams by name, of benchmarks and of task cards alike."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from flan_tune import cards, errors
from flan_tune.benchmarks import library, opening
from flan_tune.benchmarks.exam import Exam, Question, Questions
from flan_tune.data import mixing
from flan_tune.evaluate import taskcards
from flan_tune.evaluate.taskcards import Choice
from flan_tune.sources import MissingData


class Missing(NamedTuple):
  """A task that cannot be asked: `path` is what is not there, `how` how to get it or why."""

  name: str
  path: str
  how: str


class Opened(NamedTuple):
  """The exams that have data, in the order of their names, and the others."""

  exams: list[Exam]
  missing: list[Missing]


def open_exams(
  names: Sequence[str], choice: Choice | None = None, *, held_out: bool = False
) -> Opened:
  """Opens what the names stand for; missing data are told, not raised.

  Args:
    names: Benchmarks, suites and lists of them; tasks and mixtures.
    choice: How; by default as `Choice()` has it.
    held_out: Of task cards: whether training keeps away from them.

  Raises:
    UserError: An unknown name, or a setting or split that its benchmark lacks.
  """
  choice = choice or Choice()
  check(names, choice.setting)
  benchmarks = library.load()
  exams: dict[str, Exam] = {}
  missing: list[Missing] = []
  for name in names:
    if name in benchmarks.names():
      _open_benchmarks(benchmarks, name, choice, exams, missing)
    else:
      found = taskcards.open_exams([name], choice, held_out=held_out)
      exams |= {exam.key: exam for exam in found.exams}
      missing += [Missing(task, "", mixing.by_variable(why)) for task, why in found.lacking.items()]
  return Opened(list(exams.values()), list({one.name: one for one in missing}.values()))


def check(names: Sequence[str], setting: str | None = None) -> None:
  """Raises UserError for an unknown name, or setting of task cards; opens no data."""
  if setting is not None:
    errors.one_of(setting, cards.SETTINGS, "setting of training tasks")
  benchmarks, known = library.load().names(), cards.load()
  for name in names:
    try:
      if name not in benchmarks:
        known.mixture(name)
    except errors.UserError:
      everything = [*benchmarks, *known.names()]
      raise errors.unknown(name, everything, where="benchmark, task or mixture") from None


def remembered(exam: Exam) -> Exam:
  """The exam with its questions made once, for a model that takes it again and again."""
  return dataclasses.replace(exam, questions=_Remembered(exam.questions))


class _Remembered:
  def __init__(self, questions: Questions):
    self._questions = questions
    self._made: dict[int, Question] = {}

  def __len__(self) -> int:
    return len(self._questions)

  def __getitem__(self, index: int) -> Question:
    if index not in self._made:
      self._made[index] = self._questions[index]
    return self._made[index]


def require(opened: Opened, where: str, *, strict: bool = False) -> None:
  """Raises UserError when nothing has data; with `strict` when anything lacks them."""
  if opened.missing and (strict or not opened.exams):
    first = opened.missing[0]
    more = f" (and {len(opened.missing) - 1} more)" if len(opened.missing) > 1 else ""
    told = f"{first.path}: {first.how}" if first.path else first.how
    raise errors.UserError(f"{where}: {first.name} cannot be asked{more}: {told}")
  if not opened.exams:
    raise errors.UserError(f"{where}: names no benchmark, task or mixture")


def _open_benchmarks(
  benchmarks: library.Library,
  name: str,
  choice: Choice,
  exams: dict[str, Exam],
  missing: list[Missing],
) -> None:
  for card, setting in benchmarks.select([name]):
    try:
      exam = opening.open_exam(
        card,
        setting,
        split=choice.split,
        shots=choice.shots,
        count_tokens=choice.count_tokens,
        budget=choice.budget,
        seed=choice.seed,
      )
    except MissingData as absent:
      path = mixing.by_variable(absent.path)
      missing.append(Missing(f"{card.name}_{setting}", path, absent.how))
      continue
    exams[exam.key] = exam
