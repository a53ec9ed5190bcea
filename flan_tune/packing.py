"""Which examples share a row: two-sided packing of a stream, with bounded lookahead.

An example has one size for each side (inputs and targets); a row has a limit on each.  A packer
keeps up to `lookahead` examples waiting.  When they are so many, it closes one row:

1. The row starts with the example that has waited longest.  So the stream's order is nearly kept,
   nothing waits for more than `lookahead` rows, and examples that are hard to place do not pile up
   (starting with the largest, as offline rules do, fills 2 % less).
2. The row is completed greedily: of the examples that fit, the one whose leaving space has the
   smallest fourth-power norm, each side in shares of its limit.  A high power keeps the two sides
   balanced, so that neither is full long before the other.  (The usual L2 norm fills 1 % less, the
   sum 3 % less.)
3. Step 2 is done from each of the best `tries` second examples; the fullest of these rows is kept.

Measured by scripts/bench_packing.py on one core (Xeon, AVX-512, shared with other work), 30,101
chain-of-thought examples of FLAN, tokenised by T5's vocabulary: the share of slots on both sides
that hold a token, and thousands of examples a second.  `mix`: half zero-shot, half with 1-5
exemplars, as many as fit.  `cut`: with all exemplars, cut at the limit.  `zs`: zero-shot, where
inputs cannot be filled.

| rule                           | mix 512/128 | cut 512/128 | zs 512/128 | mix 2048/512 |
| ------------------------------ | ----------- | ----------- | ---------- | ------------ |
| bound, by volume               | .986        | .988        | .451       | .980         |
| next-fit (SeqIO)               | .641        | .632        | .365       | .833         |
| first-fit, last 64 rows open   | .878        | .847        | .432       | .930         |
| lookahead 256, tries 1         | .914, 202 k | .886, 203 k | .432, 226 k | .972, 232 k |
| lookahead 256, tries 4         | .933, 128 k | .907, 133 k | .438, 130 k | .973, 133 k |
| lookahead 512, tries 16        | .941, 58 k  | .923, 66 k  | .442, 46 k  | .975, 46 k  |
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_UNFIT = 2**16 - 1  # the cost of an example that does not fit
# The table of costs has two bytes an entry and is read at random: 8 MiB still live in a cache.
_MAX_ENTRIES = 2**22
# No more rows are tried once the free shares of the limits add up to less than this: with 16 tries
# it saves a third of the time and costs .002 of the fill, with 4 a seventh and nothing.
_ENOUGH_FREE = 0.05


class _Costs(NamedTuple):
  """What it costs to leave space free, as a table that one subtraction finds the place in.

  A space is the integer `1 + sum(free * stride)`, an example `sum(size * stride)`; their difference
  is the space that the example leaves.  Every side but the first has as many places for negative
  space as for positive, all unfit, so a side that overflows never passes for another space.

  Attributes:
    table: uint16 [places].  The root of the mean of fourth powers of the free shares of each side;
      `_UNFIT` where a side is negative.  A place below 0 counts as place 0, which is unfit.
    strides: One for each side.
    unit: Tokens that one step on each side stands for.  1 unless the table were too large; then
      sizes are rounded up.
    steps: Steps in a whole row, for each side.
  """

  table: np.ndarray
  strides: tuple[int, ...]
  unit: tuple[int, ...]
  steps: tuple[int, ...]


@functools.lru_cache(maxsize=8)
def _costs(limits: tuple[int, ...]) -> _Costs:
  unit = 0
  while True:
    unit += 1
    units = tuple(min(unit, limit) for limit in limits)
    steps = tuple(limit // u for limit, u in zip(limits, units, strict=True))
    shape = (steps[0] + 1, *(2 * n + 1 for n in steps[1:]))
    if math.prod(shape) < _MAX_ENTRIES:
      break
  # Only sums, products and square roots of float64, which IEEE 754 rounds alike everywhere.
  grid = np.meshgrid(*(np.arange(n + 1) / n for n in steps), indexing="ij", sparse=True)
  power = sum((share * share) * (share * share) for share in grid) / len(steps)
  table = np.full(shape, _UNFIT, np.uint16)
  table[tuple(slice(n + 1) for n in steps)] = np.sqrt(np.sqrt(power)) * (_UNFIT - 1)
  table = np.concatenate([[np.uint16(_UNFIT)], table.ravel()])
  table.flags.writeable = False
  strides = tuple(math.prod(shape[side + 1 :]) for side in range(len(shape)))
  return _Costs(table, strides, units, steps)


class Packer:
  """Packs a stream of examples into rows; the rows are a pure function of the stream.

  Memory is bounded: fewer than `lookahead` examples wait between calls, and a row leaves as soon as
  it closes.  Every machine packs alike.

  Args:
    limits: Tokens in a row, one number for each side (two for inputs and targets).
    lookahead: Examples that may wait; more fill rows better and take longer.
    tries: Rows tried for each row closed; likewise.
  """

  def __init__(self, limits: Sequence[int] = (512, 128), *, lookahead: int = 256, tries: int = 4):
    if not limits or min(*limits, lookahead, tries) < 1:
      raise ValueError(f"{limits=}, {lookahead=} and {tries=} must all be positive")
    self.limits = tuple(int(limit) for limit in limits)
    self.lookahead = lookahead
    self.tries = tries
    self._costs = _costs(self.limits)
    # Rows are compared by their bulk: shares of the limits, summed over sides and examples, times
    # the product of the limits, which makes them integers.
    product = math.prod(self.limits)
    self._sides = [
      (limit, product // limit, *of_side)
      for limit, *of_side in zip(self.limits, *self._costs[1:], strict=True)
    ]
    self._enough = int((len(self.limits) - _ENOUGH_FREE) * product)
    # Slots hold the examples in order of arrival.  Those packed leave gaps (key None), which
    # `_compact` closes; a quarter more slots than examples makes that rare.
    self._keys: list[int | None] = []
    self._places: list[int] = []
    self._bulks: list[int] = []
    self._oldest = 0  # no key before this slot
    self._count = 0
    slots = lookahead + max(16, lookahead // 4)
    self._empty_row = 1 + sum(steps * stride for *_, stride, _, steps in self._sides)
    self._nobody = self._empty_row + 1  # the place of an example that fits nowhere
    self._waiting = np.full(slots, self._nobody, np.intp)
    self._left = np.empty(slots, np.intp)
    self._cost = np.empty(slots, np.uint16)
    self._space = np.array(0, np.intp)

  def __len__(self) -> int:
    """How many examples wait."""
    return self._count

  def add(self, key: int, sizes: Sequence[int]) -> list[list[int]]:
    """Takes one example; returns the rows this closes: none, or one.

    Args:
      key: What rows call this example.
      sizes: Tokens on each side.

    Raises:
      ValueError: A size is negative or above its limit.
    """
    bulk = place = 0
    for size, (limit, weight, stride, unit, steps) in zip(sizes, self._sides, strict=True):
      if not 0 <= size <= limit:
        raise ValueError(
          f"example {key} of sizes {tuple(sizes)} does not fit a row of {self.limits}"
        )
      bulk += size * weight
      # Rounding up may pass the end of a row by a step; then the example has this side for itself.
      place += min(-(-size // unit), steps) * stride
    slot = len(self._keys)
    if slot == len(self._waiting):
      slot = self._compact()
    self._waiting[slot] = place
    self._keys.append(key)
    self._places.append(place)
    self._bulks.append(bulk)
    self._count += 1
    return [self._close_row()] if self._count == self.lookahead else []

  def flush(self) -> list[list[int]]:
    """Packs all that still wait; returns their rows, in order."""
    rows = []
    while self._count:
      rows.append(self._close_row())
    return rows

  def pending(self) -> list[int]:
    """Keys of the examples that wait, oldest first: with the settings, the packer's whole state."""
    return [key for key in self._keys if key is not None]

  @classmethod
  def restore(
    cls,
    pending: Sequence[int],
    sizes: Iterable[Sequence[int]],
    *,
    limits: Sequence[int],
    lookahead: int,
    tries: int = 4,
  ) -> "Packer":
    """A packer that goes on as the one whose `pending()` this is would have.

    Args:
      pending: Keys, oldest first.
      sizes: Tokens on each side of these examples, in the same order.

    Raises:
      ValueError: So many examples cannot be pending under this lookahead.
    """
    if len(pending) >= lookahead:
      raise ValueError(f"{len(pending)} pending examples under a lookahead of {lookahead}")
    packer = cls(limits, lookahead=lookahead, tries=tries)
    for key, size in zip(pending, sizes, strict=True):
      packer.add(key, size)
    return packer

  def _compact(self) -> int:
    """Closes the gaps; returns the first free slot."""
    alive = [slot for slot, key in enumerate(self._keys) if key is not None]
    self._keys = [self._keys[slot] for slot in alive]
    self._places = [self._places[slot] for slot in alive]
    self._bulks = [self._bulks[slot] for slot in alive]
    self._waiting[: len(alive)] = self._places
    self._waiting[len(alive) :] = self._nobody
    self._oldest = 0
    return len(alive)

  def _cost_of_each(self, space: int) -> np.ndarray:
    """Costs of what each example would leave of `space`: uint16 [slot], until the next call."""
    self._space[()] = space
    np.subtract(self._space, self._waiting, out=self._left)
    return self._costs.table.take(self._left, out=self._cost, mode="clip")

  def _complete(self, slot: int, space: int) -> tuple[int, list[int]]:
    """Fills `space` greedily, from `slot` on; returns the bulk and the slots."""
    bulk, taken = 0, []
    while True:
      taken.append(slot)
      bulk += self._bulks[slot]
      space -= self._places[slot]
      self._waiting[slot] = self._nobody
      cost = self._cost_of_each(space)
      slot = int(cost.argmin())  # among equals, the one that has waited longest
      if cost[slot] == _UNFIT:
        break
    for slot in taken:
      self._waiting[slot] = self._places[slot]
    return bulk, taken

  def _seconds(self, space: int) -> Iterator[int]:
    """Slots to put next to a row's first example, best first, no two of the same sizes."""
    cost = self._cost_of_each(space).copy()
    seen = set()
    while len(seen) < self.tries:
      slot = int(cost.argmin())
      if cost[slot] == _UNFIT:
        return
      cost[slot] = _UNFIT
      if self._places[slot] not in seen:
        seen.add(self._places[slot])
        yield slot

  def _close_row(self) -> list[int]:
    while self._keys[self._oldest] is None:
      self._oldest += 1
    first = self._oldest
    self._waiting[first] = self._nobody
    space = self._empty_row - self._places[first]
    most, slots = -1, []
    for second in self._seconds(space):
      bulk, taken = self._complete(second, space)
      if bulk > most:
        most, slots = bulk, taken
      if most + self._bulks[first] >= self._enough:
        break
    row = []
    for slot in (first, *slots):
      row.append(self._keys[slot])
      self._keys[slot] = None
      self._waiting[slot] = self._nobody
    self._count -= len(row)
    return row


def pack(
  sizes: Iterable[Sequence[int]],
  limits: Sequence[int] = (512, 128),
  *,
  lookahead: int = 256,
  tries: int = 4,
) -> list[list[int]]:
  """Rows of all examples of a finite stream; their keys are their places in it."""
  packer = Packer(limits, lookahead=lookahead, tries=tries)
  rows = [row for key, size in enumerate(sizes) for row in packer.add(key, size)]
  return rows + packer.flush()
