"""The pair of lengths that fills rows best for a mixture, found by packing a sample at several."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flan_tune import flops
from flan_tune.plan import filling
from flan_tune.plan.sample import Sampled

# So many steps of the targets' side between none and all of a row's slots, about.
_STEPS = 20
_LEAST_STEP = 8
# Which of those steps are tried first; then the neighbours of the best, as long as they are better.
_FIRST = (1, 2, 4, 6, 8, 10, 12, 14)
_MOST_NEIGHBOURS = 8
# A row of a decoder-only network, by which its length is multiplied.
_SCALES = (2.0, 1.5, 1.0, 0.75, 0.5, 0.25)  # falling: see `Sampled.under`
# Differences that a sample cannot tell.
_ALIKE = 0.01
_ROUNDS = 4


class Pair(NamedTuple):
  """What rows of these lengths would hold.

  Attributes:
    inputs: Length in tokens.
    targets: Likewise.
    filling: Of rows.
    lost: Share of the examples that are too long, and dropped or cut.
    flops: Operations of training for each real token, padding's included.
  """

  inputs: int
  targets: int
  filling: filling.Filling
  lost: float
  flops: float


class Proposal(NamedTuple):
  """Lengths compared.

  Attributes:
    now: The run's.
    best: Which fill best and lose no more than `most_lost`; of pairs as good, the shortest rows,
      and of those the run's.
    tried: All, by the targets' length.
    most_lost: The share of examples that may be too long.
    examples: So many were packed.
  """

  now: Pair
  best: Pair
  tried: tuple[Pair, ...]
  most_lost: float
  examples: int


def propose(sampled: Sampled, *, model: Any, lookahead: int, most_lost: float) -> Proposal | None:
  """Compares lengths for a sample; None where no example of it fits the run's own.

  An encoder-decoder's pairs share the slots of the run's rows in other ways; a decoder-only row
  becomes shorter or longer.

  Args:
    model: The network's configuration.
    most_lost: Share of the examples that may be too long; the run's own share may always.
  """
  trial = _Trial(sampled, model, lookahead)
  now = trial(sampled.lengths)
  if now is None:
    return None
  most_lost = max(most_lost, now.lost)
  if sampled.features == "encoder_decoder":
    _climb(trial, sum(sampled.lengths), most_lost)
  else:
    for scale in _SCALES:
      inputs, targets = (max(2, round(scale * length)) for length in sampled.lengths)
      trial((inputs, targets))
  tried = sorted(trial.pairs.values(), key=lambda pair: (pair.targets, pair.inputs))
  best = _best(tried, most_lost, now)
  return Proposal(now, best, tuple(tried), most_lost, len(sampled.examples))


def _best(tried: Sequence[Pair], most_lost: float, now: Pair | None = None) -> Pair:
  allowed = [pair for pair in tried if pair.lost <= most_lost]
  enough = max(pair.filling.both for pair in allowed) - _ALIKE
  good = [pair for pair in allowed if pair.filling.both >= enough]
  return min(good, key=lambda pair: (pair.filling.slots, pair != now, -pair.filling.both))


def _climb(trial: "_Trial", slots: int, most_lost: float) -> None:
  """Tries pairs that add up to `slots`, from far apart to close together."""
  step = max(_LEAST_STEP, 1 << max(slots // _STEPS, 1).bit_length() - 1)
  at = lambda targets: trial((slots - targets, targets))
  for steps in _FIRST:
    at(steps * step)
  for _ in range(_MOST_NEIGHBOURS):
    best = _best(list(trial.pairs.values()), most_lost).targets
    around = [best - step, best + step]
    if all((slots - targets, targets) in trial.pairs for targets in around):
      break
    for targets in around:
      at(targets)


class _Trial:
  """Packs a sample at a pair of lengths, once each; `pairs` are those that hold anything."""

  def __init__(self, sampled: Sampled, model: Any, lookahead: int):
    self._sampled, self._model, self._lookahead = sampled, model, lookahead
    self.pairs: dict[tuple[int, int], Pair] = {}

  def __call__(self, lengths: tuple[int, int]) -> Pair | None:
    if min(lengths) < 2 or lengths in self.pairs:
      return self.pairs.get(lengths)
    there = self._sampled.under(lengths)
    sizes = there.sizes(there.examples)
    if not sizes:
      return None
    filled = filling.measure(
      sizes,
      features=there.features,
      lengths=there.named,
      lookahead=self._lookahead,
      rounds=_ROUNDS,
    )
    work = flops.slots(there.features, 1, there.named)
    cost = flops.training(self._model, work) / filled.tokens
    self.pairs[lengths] = Pair(*lengths, filled, there.lost, cost)
    return self.pairs[lengths]
