"""Self-consistency: the answer most of several samples agree on (Wang et al. 2022).

The tie rule: of the answers given most often, the one drawn first wins.  It needs no probabilities,
and the result for k samples is the same whatever is drawn after them.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Vote(NamedTuple):
  """What a pool of samples says.

  Attributes:
    answer: The majority's, or None when no sample has one.
    share: Samples that gave it, of all samples: those without an answer do not vote, but lower
      the share, which so tells how much to trust the answer.
    counts: Of each answer, most frequent first, ties by first appearance.
    tie: Whether another answer was given as often.
  """

  answer: str | None
  share: float
  counts: dict[str, int]
  tie: bool


def majority(answers: Sequence[str | None]) -> Vote:
  """The vote over extracted answers, in the order they were drawn; None is no answer."""
  # Counter keeps the order of first appearance, and sorting keeps it among equals.
  counts = dict(Counter(answer for answer in answers if answer is not None).most_common())
  if not counts:
    return Vote(None, 0.0, {}, tie=False)
  best, *others = counts.items()
  return Vote(best[0], best[1] / len(answers), counts, bool(others) and others[0][1] == best[1])


def decided(answers: Sequence[str | None], total: int) -> bool:
  """Whether the majority of `total` samples is known after these, whatever the rest say."""
  rest = total - len(answers)
  counts = majority(answers).counts
  if rest <= 0 or not counts:
    return rest <= 0
  (leader, votes), *others = counts.items()
  first = {answer: place for place, answer in reversed(list(enumerate(answers)))}
  # Who appeared before the leader wins a tie with it; who appears later must overtake it.
  reach = [count + rest + (first[answer] < first[leader]) for answer, count in others]
  return votes >= max(reach, default=0) and votes >= rest


def curve(
  pools: Sequence[Sequence[str | None]],
  is_right: Callable[[int, str], float],
  ks: Sequence[int],
) -> dict[int, float]:
  """Accuracy with k samples for each k, from one pool of samples per question.

  The exact expectation over all subsets of k samples in any order (no subset is drawn): unbiased
  for k fresh samples, and steadier than the first k.  As the order is chance, answers that tie
  share the win; so at the size of the pool it may differ from `majority` by the ties.

  Args:
    pools: Extracted answers, None for no answer.  All of one size: a pool that stopped early is
      biased towards its majority.
    is_right: Score, 0 to 1, of an answer to the question of that number.
    ks: Numbers of samples, each from 1 to the size of the pools.

  Raises:
    ValueError: Pools of different sizes, no pool, or a k outside them.
  """
  sizes = {len(pool) for pool in pools}
  if len(sizes) != 1:
    raise ValueError(f"pools of one size are needed, not of {sorted(sizes)}")
  size = sizes.pop()
  if outside := [k for k in ks if not 1 <= k <= size]:
    raise ValueError(f"k = {outside[0]}: a pool has {size} samples")
  total = np.zeros(size + 1)
  for number, pool in enumerate(pools):
    counts = Counter(answer for answer in pool if answer is not None)
    for answer in counts:
      if score := is_right(number, answer):
        total += score * _chance_of_winning(answer, counts, size)
  return {k: float(total[k]) / len(pools) for k in ks}


def _chance_of_winning(answer: str, counts: Counter[str], size: int) -> np.ndarray:
  """That `answer` has the majority of k of the samples, for k = 0 to `size`; float64 [size + 1]."""
  silent = size - counts.total()
  others = [count for other, count in counts.items() if other != answer]
  ways = np.zeros(size + 1)
  for votes in range(1, counts[answer] + 1):
    # table[t, k]: ways to choose k samples of the others, none with more than `votes`, t with as
    # many.
    table = np.zeros((1 + sum(count >= votes for count in others), size + 1))
    table[0, : silent + 1] = [math.comb(silent, k) for k in range(silent + 1)]
    for count in others:
      table = _with_rival(table, count, votes, size)
    share = (table / np.arange(1, len(table) + 1)[:, None]).sum(axis=0)
    ways[votes:] += math.comb(counts[answer], votes) * share[: size + 1 - votes]
  return ways / np.array([float(math.comb(size, k)) for k in range(size + 1)])


def _with_rival(table: np.ndarray, count: int, votes: int, size: int) -> np.ndarray:
  found = table.copy()  # none of this answer's samples is chosen
  for chosen in range(1, min(count, votes - 1) + 1):
    found[:, chosen:] += math.comb(count, chosen) * table[:, : size + 1 - chosen]
  if count >= votes:
    found[1:, votes:] += math.comb(count, votes) * table[:-1, : size + 1 - votes]
  return found
