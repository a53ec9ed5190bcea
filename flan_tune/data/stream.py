"""The order of examples: a pure function of (seed, position), with random access.

Position -> component is drawn block by block, stratified: every block of 4,096 positions holds
each component its exact share of times, give or take one.  The n-th draw of a component is row
`permutation(n mod rows)` of epoch `n // rows`, so a component repeats no row before all were
seen.  Any worker computes any position without having seen those before it.
"""

import collections
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from flan_tune import draws
from flan_tune.data import mixing

BLOCK = 4096
_KEPT_BLOCKS = 4


class Position(NamedTuple):
  """Which example stands at a position of the stream."""

  component: int
  epoch: int
  row: int


class Stream:
  """The endless sequence of examples of a mixture.

  Args:
    components: With rates that sum to 1.
    seed: Of the run; another seed gives another order.
    rows: Task to its number of rows; asked when a row of the task is first due.
  """

  def __init__(
    self, components: Sequence[mixing.Component], seed: int, *, rows: Callable[[str], int]
  ):
    self.components = tuple(components)
    self._seed = seed
    self._rows = rows
    edges = np.cumsum([one.rate for one in self.components])
    self._edges = edges / edges[-1]
    # Occurrences of each component before the blocks read last: thousands of components and
    # blocks would fill gigabytes if all were kept.
    self._before = {0: np.zeros(len(self.components), np.int64)}
    self._cache: collections.OrderedDict[int, tuple[list[int], list[int]]]
    self._cache = collections.OrderedDict()
    self._keys = [_key(seed, one) for one in self.components]

  def __getitem__(self, position: int) -> Position:
    block, offset = divmod(position, BLOCK)
    chosen, ranks = self._block(block)
    component = chosen[offset]
    occurrence = int(self._counts(block)[component]) + ranks[offset]
    rows = self._rows(self.components[component].task)
    epoch, place = divmod(occurrence, rows)
    row = draws.permuted(place, rows, self._keys[component] + epoch)
    return Position(component, epoch, row)

  def component(self, position: int) -> int:
    """Which component stands at a position."""
    block, offset = divmod(position, BLOCK)
    return self._block(block)[0][offset]

  def _counts(self, block: int) -> np.ndarray:
    if block not in self._before:
      start = max(one for one in self._before if one < block)
      counts = self._before[start]
      for one in range(start, block):
        shares = self._shares(self._words(one, 1))
        counts = counts + np.bincount(shares, minlength=len(self.components))
      self._before[block] = counts
      # The first block's zeros stay: the way back to anywhere.
      for one in sorted(self._before)[1:-_KEPT_BLOCKS]:
        del self._before[one]
    return self._before[block]

  def _block(self, block: int) -> tuple[list[int], list[int]]:
    """Component of every position of a block, and how often it stands there before."""
    if block not in self._cache:
      chosen = self._draw(block)
      order = np.argsort(chosen, kind="stable")
      _, firsts, sizes = np.unique(chosen[order], return_index=True, return_counts=True)
      ranks = np.empty(BLOCK, np.int64)
      ranks[order] = np.arange(BLOCK) - np.repeat(firsts, sizes)
      self._cache[block] = (chosen.tolist(), ranks.tolist())
      if len(self._cache) > _KEPT_BLOCKS:
        self._cache.popitem(last=False)
    return self._cache[block]

  def _draw(self, block: int) -> np.ndarray:
    """Component of every position of a block, [BLOCK] int."""
    words = self._words(block, BLOCK + 1)
    return self._shares(words)[np.argsort(words[1:], kind="stable")]

  def _shares(self, words: np.ndarray) -> np.ndarray:
    """The components of a block in ascending order, [BLOCK] int; its first word decides them."""
    shift = (words[0] >> np.uint64(11)) * 2.0**-53
    marks = (np.arange(BLOCK) + shift) / BLOCK
    return np.searchsorted(self._edges, marks, side="right").clip(max=len(self._edges) - 1)

  def _words(self, block: int, count: int) -> np.ndarray:
    # Philox is counter-based: its raw words are specified and do not change between releases.
    return np.random.Philox(key=[self._seed & 0xFFFFFFFF, block]).random_raw(count)


def _key(seed: int, component: mixing.Component) -> int:
  text = f"{seed}/{component.task}/{component.kind}".encode()
  return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
