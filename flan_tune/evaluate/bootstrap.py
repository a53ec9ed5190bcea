"""How far scores would move with other questions: percentile bootstrap, seeded (Efron 1979)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 2_000
LEVEL = 0.95
# Most random numbers held at once: 14,000 questions x 2,000 draws would be 224 MB of indices.
_BLOCK = 2_000_000
_FEW = 64  # different scores: rights and wrongs have two, differences of two runs three


class Paired(NamedTuple):
  """Two runs on the same questions.

  Attributes:
    difference: Mean of the second less that of the first.
    low: Lower end of its interval.
    high: Upper end.
    p_value: Two-sided: twice the share of draws on the less likely side of no difference.
    n: Questions.
  """

  difference: float
  low: float
  high: float
  p_value: float
  n: int


def draws(scores: Sequence[float], *, num_draws: int = DRAWS, seed: Any = 0) -> np.ndarray:
  """Means of `num_draws` resamples of the questions, with replacement; float64 [num_draws].

  Args:
    scores: One for each question.
    seed: As `numpy.random.default_rng` takes it.

  Raises:
    ValueError: There are no scores.
  """
  values = np.asarray(scores, np.float64)
  if not values.size:
    raise ValueError("a bootstrap of no questions")
  rng = np.random.default_rng(seed)
  kinds, counts = np.unique(values, return_counts=True)
  if len(kinds) <= _FEW:
    # How often a resample holds each score is multinomial: no index is drawn.
    return rng.multinomial(values.size, counts / values.size, num_draws) @ kinds / values.size
  means, step = np.empty(num_draws), max(1, _BLOCK // values.size)
  for start in range(0, num_draws, step):
    size = (min(step, num_draws - start), values.size)
    means[start : start + step] = values[rng.integers(values.size, size=size)].mean(axis=1)
  return means


def right_or_wrong(share: float, n: int, *, num_draws: int = DRAWS, seed: Any = 0) -> np.ndarray:
  """`draws` of n questions of which the share `share`, 0 to 1, is right; float64 [num_draws].

  No question's score is needed: a resample of rights and wrongs is a binomial draw.  Of partial
  scores it is the widest that the mean allows.
  """
  return np.random.default_rng(seed).binomial(n, min(max(share, 0.0), 1.0), num_draws) / n


def macro_draws(
  tasks: Sequence[Sequence[float]], *, num_draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
  """Unweighted means over tasks, questions resampled within each; float64 [num_draws]."""
  total = np.zeros(num_draws)
  for number, scores in enumerate(tasks):
    # A stream for each task: its draws do not change with the tasks before it.
    total += draws(scores, num_draws=num_draws, seed=(seed, number))
  return total / len(tasks)


def bounds(means: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
  """The percentiles that leave (1 - level) / 2 of the draws on either side."""
  outside = 50 * (1 - level)
  low, high = np.percentile(means, (outside, 100 - outside))
  return float(low), float(high)


def interval(
  scores: Sequence[float], *, seed: int = 0, level: float = LEVEL, num_draws: int = DRAWS
) -> tuple[float, float]:
  """Low and high end for the mean of one task's questions, in the unit of the scores."""
  return bounds(draws(scores, num_draws=num_draws, seed=seed), level=level)


def macro_interval(
  tasks: Sequence[Sequence[float]],
  *,
  seed: int = 0,
  level: float = LEVEL,
  num_draws: int = DRAWS,
) -> tuple[float, float]:
  """Low and high end for the unweighted mean over tasks: over questions, tasks being fixed."""
  return bounds(macro_draws(tasks, num_draws=num_draws, seed=seed), level=level)


def paired(
  a: Sequence[float],
  b: Sequence[float],
  *,
  seed: int = 0,
  level: float = LEVEL,
  num_draws: int = DRAWS,
) -> Paired:
  """Compares two runs on the same questions, in the same order: b less a.

  Raises:
    ValueError: One has more questions than the other, or there are none.
  """
  return paired_macro([a], [b], seed=seed, level=level, num_draws=num_draws)


def paired_macro(
  a: Sequence[Sequence[float]],
  b: Sequence[Sequence[float]],
  *,
  seed: int = 0,
  level: float = LEVEL,
  num_draws: int = DRAWS,
) -> Paired:
  """Compares unweighted means over tasks; task i has the same questions in `a` and `b`."""
  differences = [
    np.asarray(second, np.float64) - np.asarray(first, np.float64)
    for first, second in zip(a, b, strict=True)
    if _same_length(first, second)
  ]
  means = macro_draws([list(one) for one in differences], num_draws=num_draws, seed=seed)
  low, high = bounds(means, level=level)
  observed = float(np.mean([one.mean() for one in differences]))
  # One more on both counts: with finitely many draws no p-value is 0 (Davison & Hinkley 1997, 4.2).
  below, above = (int((means <= 0).sum()) + 1, int((means >= 0).sum()) + 1)
  p_value = min(1.0, 2 * min(below, above) / (num_draws + 1))
  return Paired(observed, low, high, p_value, sum(len(one) for one in differences))


def _same_length(first: Sequence[float], second: Sequence[float]) -> bool:
  if len(first) != len(second):
    raise ValueError(f"{len(first)} questions in one run and {len(second)} in the other")
  return True
