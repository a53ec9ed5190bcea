"""How full rows get, found out by packing a sample with the feed's packer."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flan_tune import converters, packing
from flan_tune.draws import Draws

Pair = tuple[int, int]
_ROUNDS = 12
_SURE = 1.96  # standard deviations on each side that 95 % of a normal distribution lie within


class Filling(NamedTuple):
  """Rows of a long run, on average.

  Attributes:
    inputs: Share of the inputs' slots that hold a token; None where both sides share a row.
    targets: The same of the targets.
    both: The same of all slots.
    error: `both` lies within this of what the whole mixture gives, in 95 of 100 samples.
    examples: In a row.
    input_tokens: In a row, real ones.
    target_tokens: Likewise.
    slots: Of a row.
  """

  inputs: float | None
  targets: float | None
  both: float
  error: float
  examples: float
  input_tokens: float
  target_tokens: float
  slots: int

  @property
  def tokens(self) -> float:
    """Real tokens in a row."""
    return self.input_tokens + self.target_tokens


def measure(
  pairs: Sequence[Pair],
  *,
  features: str,
  lengths: Mapping[str, int],
  lookahead: int | None,
  rounds: int = _ROUNDS,
) -> Filling:
  """Packs examples of these sizes again and again, as a run would meet them.

  A run never comes to the end of its stream, so rows that the end leaves half empty do not count;
  neither does the first round, in which the packer fills.  Every round draws its own sample from
  the sample, and from how much the rounds differ comes the error (the bootstrap).

  Args:
    pairs: (inputs, targets) in tokens, none of them too long.
    features: A key of `converters.CONVERTERS`.
    lengths: Of a row, under "inputs" and "targets".
    lookahead: Of the packer; None for one example a row.
    rounds: How often; more make the error surer.
  """
  slots = sum(lengths.values())
  samples = _rounds(pairs, features, lengths, lookahead, rounds)
  count = [sum(len(row) for row in rows) / len(rows) for rows in samples]
  sides = [
    [sum(pairs[key][side] for row in rows for key in row) / len(rows) for rows in samples]
    for side in (0, 1)
  ]
  inputs, targets = (statistics.fmean(side) for side in sides)
  both = [(a + b) / slots for a, b in zip(*sides, strict=True)]
  apart = features == "encoder_decoder"
  return Filling(
    inputs / lengths["inputs"] if apart else None,
    targets / lengths["targets"] if apart else None,
    statistics.fmean(both),
    _SURE * statistics.stdev(both),
    statistics.fmean(count),
    inputs,
    targets,
    slots,
  )


def _rounds(
  pairs: Sequence[Pair],
  features: str,
  lengths: Mapping[str, int],
  lookahead: int | None,
  rounds: int,
) -> list[list[list[int]]]:
  """Rows of places in `pairs`, of each round."""
  converter = converters.CONVERTERS[features]
  sizes = [converter.sizes(*pair) for pair in pairs]
  draws = Draws("plan", len(pairs))
  packer = None
  if lookahead is not None:
    packer = packing.Packer(converter.limits(lengths), lookahead=lookahead)
  # A sample smaller than what waits in the packer would leave a round without rows.
  length = max(len(pairs), 2 * (lookahead or 0))
  found = []
  for _ in range(rounds + 1):
    resample = [draws.below(len(pairs)) for _ in pairs]
    stream = (draws.choice(resample) for _ in range(length))
    if packer is not None:  # an empty one is false
      found.append([row for key in stream for row in packer.add(key, sizes[key])])
    else:
      found.append([[key] for key in stream])
  return found[1:]
