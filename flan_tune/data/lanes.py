"""Lanes: independent streams of rows that make up the batches.

Lane k of L takes positions k, k + L, k + 2 L, ... of the mixture and has a packer of its own; row
r of B comes from lane r * L // B.  So a host reads the lanes of its rows and no others, and what a
lane gives depends on nothing else: neither on how many hosts there are, nor on which has it.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flan_tune import errors, packing
from flan_tune.data import mixing, tokens

# After so many examples of which none could be used, the limits are to blame.
_GIVE_UP = 1000


@dataclasses.dataclass
class Counts:
  """What was read and given out so far.

  Attributes:
    seen: Task to examples that can be used.
    dropped: Task to reason to examples left out (or trimmed).
    tokens: Real tokens of both sides in the batches given out.
    unread: Task to reason to what its source left out when it was opened: damaged lines and the
      like, which never become rows.
  """

  seen: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  dropped: dict[str, collections.Counter] = dataclasses.field(
    default_factory=lambda: collections.defaultdict(collections.Counter)
  )
  tokens: int = 0
  unread: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

  def add(self, other: "Counts") -> None:
    """Takes in the counts of other examples."""
    self.seen.update(other.seen)
    for task, reasons in other.dropped.items():
      self.dropped[task].update(reasons)
    self.tokens += other.tokens
    self.unread.update(other.unread)  # of the source, whoever has opened it

  def as_json(self) -> dict[str, Any]:
    """Plain dictionaries."""
    dropped = {task: dict(reasons) for task, reasons in self.dropped.items()}
    found = {"seen": dict(self.seen), "dropped": dropped, "tokens": self.tokens}
    return found | {"unread": self.unread}

  @classmethod
  def from_json(cls, saved: Mapping[str, Any]) -> "Counts":
    """The inverse of `as_json`."""
    counts = cls(collections.Counter(saved["seen"]), tokens=saved["tokens"])
    counts.unread = dict(saved["unread"])
    for task, reasons in saved["dropped"].items():
      counts.dropped[task] = collections.Counter(reasons)
    return counts


@dataclasses.dataclass(frozen=True)
class Rules:
  """How every lane makes rows.

  Attributes:
    components: Of the mixture.
    lengths: As in the recipe.
    sizes: Tokens of an example's (inputs, targets) -> its tokens on each side of a row.
    limits: Tokens of a row, on each side.
    lookahead: Of the packer; 0 for one example a row.
  """

  components: Sequence[mixing.Component]
  lengths: tuple[int, int]
  sizes: Callable[[int, int], tuple[int, ...]]
  limits: tuple[int, ...]
  lookahead: int


class Lane:
  """One stream of rows.

  Attributes:
    next: The first position that it has not taken in.
    inbox: Examples that were read and not taken in; no part of its state.
    counts: Of what it has taken in since this process began.
    rows: Task to rows on disk, of what it has taken in.
  """

  def __init__(self, first: int, rules: Rules):
    self.next = first
    self.inbox: collections.deque[tokens.Tokenised] = collections.deque()
    self.counts = Counts()
    self.rows: dict[str, int] = {}
    self._rules = rules
    self._ready: collections.deque[list[int]] = collections.deque()
    self._waiting: dict[int, tokens.Tokenised] = {}
    self._packer = packing.Packer(rules.limits, lookahead=rules.lookahead or 1)
    self._unused = 0

  def __len__(self) -> int:
    """How many rows are ready."""
    return len(self._ready)

  def pop(self) -> tuple[list[int], list[tokens.Tokenised]]:
    """The next row: its positions and their examples."""
    row = self._ready.popleft()
    examples = [self._waiting.pop(position) for position in row]
    self.counts.tokens += sum(len(one.inputs) + len(one.targets) for one in examples)
    return row, examples

  def take(self, lanes: int) -> None:
    """Takes in one example of the inbox.

    Args:
      lanes: How many there are.

    Raises:
      UserError: Nothing of what came so far could be used.
    """
    example = self.inbox.popleft()
    self.next = example.position + lanes
    task = self._rules.components[example.component].task
    if example.fault:
      self.counts.dropped[task][example.fault] += 1
      self._unused += 1
      if self._unused == _GIVE_UP:
        raise self._nothing_fits(example)
      return
    self._unused = -1 << 60  # the limits let something through
    self.rows[task] = example.rows
    self.counts.seen[task] += 1
    if example.problems:
      self.counts.unread[task] = dict(example.problems)
    if example.trimmed:
      self.counts.dropped[task]["trimmed"] += 1
    self._waiting[example.position] = example
    if self._rules.lookahead:
      self._ready.extend(self._packer.add(example.position, self._sizes(example)))
    else:
      self._ready.append([example.position])

  def state(self) -> dict[str, Any]:
    """JSON; `restore` is its inverse."""
    ready = [list(row) for row in self._ready]
    return {"next": self.next, "ready": ready, "open": self._packer.pending()}

  def restore(
    self, state: Mapping[str, Any], again: Callable[[Iterable[int]], list[tokens.Tokenised]]
  ) -> None:
    """Continues from a state.

    Args:
      state: Of the same lane.
      again: The examples of positions, which were read before.
    """
    waiting = [position for row in state["ready"] for position in row] + list(state["open"])
    self.next = state["next"]
    self._ready.extend([list(row) for row in state["ready"]])
    self._waiting = dict(zip(waiting, again(waiting), strict=True))
    if self._rules.lookahead:
      self._packer = packing.Packer.restore(
        state["open"],
        [self._sizes(self._waiting[position]) for position in state["open"]],
        limits=self._rules.limits,
        lookahead=self._rules.lookahead,
      )

  def _sizes(self, example: tokens.Tokenised) -> tuple[int, ...]:
    return self._rules.sizes(len(example.inputs), len(example.targets))

  def _nothing_fits(self, example: tokens.Tokenised) -> errors.UserError:
    reasons: collections.Counter = collections.Counter()
    for counter in self.counts.dropped.values():
      reasons.update(counter)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    inputs, targets = self._rules.lengths
    return errors.UserError(
      f"TASK_FEATURE_LENGTHS = {{'inputs': {inputs}, 'targets': {targets}}}: none of the first"
      f" {_GIVE_UP} examples can be used ({told}); the last has {len(example.inputs)} and"
      f" {len(example.targets)} tokens"
    )
