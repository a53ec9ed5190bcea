"""The order of examples: a pure function of (seed, position), with random access.

Position -> component is drawn block by block, stratified: every block of 4,096 positions holds
each component its exact share of times, give or take one.  The n-th draw of a component is row
`permutation(n mod rows)` of epoch `n // rows`, so a component repeats no row before all were
seen.  Any worker computes any position without having seen those before it.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flan_tune import draws
from flan_tune.data import mixing

BLOCK = 4096


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
  """

  def __init__(self, components: Sequence[mixing.Component], seed: int):
    self.components = tuple(components)
    self._seed = seed
    edges = np.cumsum([one.rate for one in self.components])
    self._edges = edges / edges[-1]
    # Occurrences of each component before each block, extended as later blocks are asked for.
    self._before = [np.zeros(len(self.components), np.int64)]
    self._cache: tuple[int, np.ndarray] | None = None
    self._keys = [_key(seed, one) for one in self.components]

  def __getitem__(self, position: int) -> Position:
    block, offset = divmod(position, BLOCK)
    chosen = self._block(block)
    component = int(chosen[offset])
    while len(self._before) <= block:
      counts = np.bincount(self._draw(len(self._before) - 1), minlength=len(self.components))
      self._before.append(self._before[-1] + counts)
    occurrence = int(self._before[block][component])
    occurrence += int(np.count_nonzero(chosen[:offset] == component))
    rows = self.components[component].rows
    epoch, place = divmod(occurrence, rows)
    row = draws.permuted(place, rows, self._keys[component] + epoch)
    return Position(component, epoch, row)

  def _block(self, block: int) -> np.ndarray:
    if self._cache is None or self._cache[0] != block:
      self._cache = (block, self._draw(block))
    return self._cache[1]

  def _draw(self, block: int) -> np.ndarray:
    """Component of every position of a block, [BLOCK] int."""
    # Philox is counter-based: its raw words are specified and do not change between releases.
    words = np.random.Philox(key=[self._seed & 0xFFFFFFFF, block]).random_raw(BLOCK + 1)
    shift = (words[0] >> np.uint64(11)) * 2.0**-53
    marks = (np.arange(BLOCK) + shift) / BLOCK
    chosen = np.searchsorted(self._edges, marks, side="right").clip(max=len(self._edges) - 1)
    return chosen[np.argsort(words[1:], kind="stable")]


def _key(seed: int, component: mixing.Component) -> int:
  text = f"{seed}/{component.task}/{component.kind}".encode()
  return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
