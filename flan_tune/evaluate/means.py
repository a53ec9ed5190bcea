"""The mean of a suite, normalised, where tables leave out tasks or contradict themselves."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from flan_tune.evaluate import entries, members

# A printed mean is rounded by up to 0.05, and so are the scores it is the mean of.
_ROUNDING = 0.1


class SuiteMean(NamedTuple):
  """All figures are percentages.

  Attributes:
    macro: Unweighted mean over tasks.
    normalised: Mean of the tasks' normalised scores; None when tasks are missing and no mean says
      what they must be, or when chance is unknown.
    partial: The same over the tasks that are there, which is never None for the four suites.
    chance: Unweighted mean over the tasks that `macro` is the mean of.
    scores: Of each task, those included that the mean implies.
    missing: Tasks without a score.
    notes: What was decided.
  """

  macro: float
  normalised: float | None
  partial: float
  chance: float | None
  scores: Mapping[str, float]
  missing: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


def suite_mean(variant: entries.Variant) -> SuiteMean:
  """The mean of a suite asked in one way; see `docs/aggregation.md` for the rules."""
  chances = {task: member.chance for task, member in members.of(variant.suite).items()}
  scores = {task: entry.score for task, entry in variant.tasks.items()}
  if not chances:
    return _of_another(variant, scores)
  mean = variant.mean.score if variant.mean else None
  if mean is None:
    missing = tuple(task for task in chances if task not in scores)
    partial = _normalised(scores, chances)
    chance = float(np.mean([chances[task] for task in scores]))
    macro = float(np.mean(list(scores.values())))
    return SuiteMean(macro, None if missing else partial, partial, chance, scores, missing)
  return _beside_a_mean(scores, mean, chances)


def _of_another(variant: entries.Variant, scores: Mapping[str, float]) -> SuiteMean:
  """A benchmark that is none of the four: its rows are its tasks, or it is one."""
  chosen = list(variant.tasks.values()) or [variant.mean or entries.Entry(0.0)]
  macro = float(np.mean([one.score for one in chosen]))
  chances = [one.chance for one in chosen if one.chance is not None and one.chance < 100]
  if len(chances) < len(chosen):
    return SuiteMean(macro, None, macro, None, scores)
  pairs = zip(chosen, chances, strict=True)
  normalised = float(np.mean([100 * (one.score - low) / (100 - low) for one, low in pairs]))
  return SuiteMean(macro, normalised, normalised, float(np.mean(chances)), scores)


def _beside_a_mean(
  scores: dict[str, float], mean: float, chances: Mapping[str, float]
) -> SuiteMean:
  """The printed mean is what entered the paper's average, so the tasks are made to agree with it.

  What is missing from their sum goes to tasks without a score; else to multiple-choice tasks of
  which 0.0 is printed, below any guess; else to all of them alike.
  """
  chance = float(np.mean(list(chances.values())))
  rest = mean * len(chances) - sum(scores.values())
  missing = [task for task in chances if task not in scores]
  own = float(np.mean(list(scores.values()))) if scores else mean
  if not missing and abs(rest) <= _ROUNDING * len(chances) + 1e-9:
    normalised = _normalised(scores, chances)
    return SuiteMean(own, normalised, normalised, chance, scores)
  notes = []
  if not missing:
    notes.append(f"the tasks' mean is {own:.2f}, the mean beside them {mean:g}, which counts")
  gaps = missing or [task for task, score in scores.items() if score == 0 and chances[task] > 0]
  kept = {task: score for task, score in scores.items() if task not in gaps}
  filled = _filled(gaps, mean * len(chances) - sum(kept.values()), chances)
  if filled and scores:
    told = ", ".join(f"{task} {score:.1f}" for task, score in filled.items())
    found = "not in the rows" if missing else "0.0 in the rows"
    notes.append(f"{found}, but implied by the mean of {mean:g}: {told}")
    whole = kept | filled
    normalised = _normalised(whole, chances)
    return SuiteMean(mean, normalised, normalised, chance, whole, (), tuple(notes))
  if missing:
    if scores:
      told = f"a mean of {mean:g} cannot hold beside the {len(scores)} tasks in the rows: it counts"
      notes.append(told)
    elif len(set(chances.values())) > 1:
      notes.append("no task's score in the rows: the mean is normalised by the mean chance")
    normalised = 100 * (mean - chance) / (100 - chance)
  else:
    normalised = _normalised(scores, chances) + 100 * rest / sum(100 - c for c in chances.values())
  return SuiteMean(mean, normalised, normalised, chance, scores, (), tuple(notes))


def _filled(gaps: list[str], total: float, chances: Mapping[str, float]) -> dict[str, float] | None:
  """Scores that sum to `total`, equally far from chance to 100; None where no such scores are."""
  if not gaps:
    return None
  room = sum(100 - chances[task] for task in gaps)
  share = (total - sum(chances[task] for task in gaps)) / room
  found = {task: chances[task] + share * (100 - chances[task]) for task in gaps}
  # The rounding of the mean is that of all tasks, and these few carry it.
  slack = _ROUNDING * len(chances) / len(gaps)
  if not all(-slack <= score <= 100 + slack for score in found.values()):
    return None
  return {task: min(max(score, 0.0), 100.0) for task, score in found.items()}


def _normalised(scores: Mapping[str, float], chances: Mapping[str, float]) -> float:
  """Mean over the tasks that have a score."""
  known = [(scores[task], low) for task, low in chances.items() if task in scores]
  return float(np.mean([100 * (score - low) / (100 - low) for score, low in known]))
