"""One of several runs or evaluations that a page compares: its scores and what made them."""

import dataclasses
import pathlib
from collections.abc import Sequence

from flan_tune import cards, errors
from flan_tune.report import exam_folder, exam_page, means, run_folder
from flan_tune.report.exam_folder import Examined
from flan_tune.report.run_folder import Run
from flan_tune.report.scoreboard import number

_CORPUS, _COT = cards.CORPUS, "cot"
# What a mixture is with regard to chains of thought, as in Figure 5 of Chung et al. 2022.
KINDS = ("not finetuned", "CoT alone", "without CoT", "with CoT")


@dataclasses.dataclass(frozen=True)
class Contestant:
  """A folder, with the newest of its evaluations.

  Attributes:
    name: Unlike any other's.
    run: Of which the evaluation is, None where no run is known.
    parameters: Of the model.
    tasks: That were trained on, plain corpora not counted.
    kind: One of KINDS.
    doubts: Why what is None is not known.
  """

  name: str
  run: Run | None
  examined: Examined | None
  parameters: float | None
  tasks: int | None
  kind: str | None
  doubts: Sequence[str]

  @property
  def parts(self) -> dict[str, float]:
    """The normalised scores among the paper's six that it has."""
    found = means.parts(self.examined) if self.examined else {}
    return {name: value for name, value in found.items() if value is not None}

  @property
  def model(self) -> str:
    """Its name, as far as known."""
    name = self.run.environment.get("model") if self.run else None
    return str(name) if name else exam_page.model(self.examined) if self.examined else ""

  @property
  def notices(self) -> list[str]:
    """What its folder lacks that a comparison would show."""
    told = [] if self.examined else ["it has no evaluation: evaluations/*/results.json"]
    return [*told, *(self.examined.notices if self.examined else [])]


def read_all(folders: Sequence[pathlib.Path]) -> list[Contestant]:
  """Reads every folder.

  Raises:
    UserError: There is none, one stands there twice, or one holds neither run nor evaluation.
  """
  if not folders:
    raise errors.UserError("no folder given: name runs or evaluations to report on")
  places = [folder.resolve() for folder in folders]
  for folder, place in zip(folders, places, strict=True):
    if places.count(place) > 1:
      raise errors.UserError(f"{folder}: is named twice; name each folder once")
  names = _names(places)
  return [_read(*pair) for pair in zip(folders, names, strict=True)]


def _names(places: Sequence[pathlib.Path]) -> list[str]:
  """The ends of the paths, as long as it takes to tell them apart."""
  for length in range(1, max(len(place.parts) for place in places) + 1):
    names = ["/".join(place.parts[-length:]) for place in places]
    if len(set(names)) == len(names):
      return names
  return [str(place) for place in places]


def _read(folder: pathlib.Path, name: str) -> Contestant:
  if exam_folder.is_evaluation(folder) and not run_folder.is_run(folder):
    examined = exam_folder.read(folder)
    above = folder.resolve().parent
    inside = above.name == exam_folder.INSIDE_A_RUN and run_folder.is_run(above.parent)
    run = run_folder.read(above.parent) if inside else None
  else:
    run = run_folder.read(folder)
    examined = next(reversed(exam_folder.inside(folder)), None)
  doubts: list[str] = []
  size = number(run.environment.get("parameters")) if run else None
  size = size or (exam_page.parameters(examined) if examined else None)
  if size is None:
    doubts.append("its number of parameters is not recorded (environment.json)")
  groups = _planned(run) if run else None
  if groups is None:
    doubts.append("what it was finetuned on is not recorded (data.json of its run)")
    return Contestant(name, run, examined, size, None, None, doubts)
  counted = [group for group in groups.values() if group != _CORPUS]
  kind = _kind(counted)
  if kind is None:
    unknown = next(task for task, group in groups.items() if group is None)
    doubts.append(
      f"whether CoT was in its mixture is unknown: no card tells the group of {unknown}"
    )
  return Contestant(name, run, examined, size, len(counted), kind, doubts)


def _kind(groups: Sequence[str | None]) -> str | None:
  if not groups:
    return KINDS[0]
  if _COT in groups:
    others = [group for group in groups if group != _COT]
    return None if others and not any(others) else KINDS[3] if others else KINDS[1]
  return None if None in groups else KINDS[2]


def _planned(run: Run) -> dict[str, str | None] | None:
  """Every task of the mixture and its group: as the run logged it, else as its card says."""
  planned = run.data.get("planned")
  if not isinstance(planned, dict):
    return None
  tasks = [str(task) for task, rate in planned.items() if number(rate)]
  logged = {item.task: item.group for item in run.scores if item.group != "held_out"}
  if all(task in logged for task in tasks):
    return {task: logged[task] for task in tasks}
  try:
    known = {name: card.group for name, card in cards.load().tasks.items()}
  except (errors.UserError, OSError):
    known = {}
  return {task: logged.get(task) or known.get(task) for task in tasks}
