"""Batches in a resumable order: Grain reads and tokenises, packers pack, state is a few ints.

    positions 0, 1, 2, ... -> (workers) Tokenised -> lanes, each with a packer -> rows -> batches

A position's example is a pure function of the seed, and Grain hands the workers' results back in
order, so batches do not depend on the number of workers.  Nor do they on the number of hosts: one
reads the lanes of its own rows (see `lanes`).  The state names positions only: for each lane the
next one to read and those waiting in open rows; restoring renders the waiting ones again.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flan_tune import cards, converters, errors
from flan_tune.data import lanes as lanes_lib
from flan_tune.data import mixing, reader, tokens

Counts = lanes_lib.Counts
Lane = lanes_lib.Lane


class Batch(NamedTuple):
  """A batch, or a host's rows of it, and where it came from.

  Attributes:
    arrays: T5X feature names to [batch, length] arrays (see `batch` and `lm_batch`).
    examples: For each row the positions in the stream, in order.
    tasks: Task names in the batch, sorted.
    groups: What each target token belongs to: int32 [batch, length], numbers into `Feed.groups`;
      any of them at padding, which has no weight.
  """

  arrays: dict[str, np.ndarray]
  examples: list[list[int]]
  tasks: list[str]
  groups: np.ndarray | None = None


class Feed(Iterator[Batch]):
  """Endless batches of a mixture.

  Args:
    recipe: What examples are made of.
    batch_size: Rows in a batch, of all hosts.
    pack: Several examples a row; otherwise one.
    lookahead: How far the packer may look (see `packing.Packer`).
    num_workers: Processes that render and tokenise; 0 does it here, in threads.
    features: What the model reads: a key of `converters.CONVERTERS`.
    state: From `state()`, to continue exactly there, on any number of hosts.
    lanes: Independent streams that make up a batch; as many as there may be hosts, so that each
      reads only its share.
    rows: Which rows of the batch this host needs; all by default.
    everyone: A value to that of all hosts, which call it alike.

  Attributes:
    groups: (group of the card, kind of the example), which `Batch.groups` numbers.

  Raises:
    UserError: The state is another mixture's, or the lanes do not divide the batch.
  """

  def __init__(
    self,
    recipe: tokens.Recipe,
    *,
    batch_size: int,
    pack: bool = True,
    lookahead: int = 256,
    num_workers: int = 0,
    features: str = "encoder_decoder",
    state: Mapping[str, Any] | None = None,
    lanes: int = 1,
    rows: Sequence[int] | None = None,
    everyone: Callable[[Any], list[Any]] = lambda value: [value],
  ):
    if lanes < 1 or batch_size % lanes:
      raise errors.UserError(
        f"DATA_LANES = {lanes}: must be at least 1 and divide BATCH_SIZE = {batch_size}"
      )
    self._recipe = recipe
    self._pack = pack
    self._lookahead = lookahead
    self._features = features
    self._num_lanes = lanes
    self._everyone = everyone
    self._converter = converters.CONVERTERS[features]
    self._lengths: dict[str, int] = dict(zip(("inputs", "targets"), recipe.lengths, strict=True))
    self._examples = tokens.Examples(recipe)
    self._rows: dict[str, int] = {}  # of what was taken in before, as the state has it
    self._on_disk: dict[str, int] = {}  # of what was read
    self._before = Counts()
    self._share = batch_size // lanes
    self._wanted = range(batch_size) if rows is None else sorted(rows)
    self._lanes = self._make_lanes()
    self.groups, self._group_of = groups_of(recipe.components)
    if state is not None:
      self._restore(state)
    starts = {number: lane.next for number, lane in self._lanes.items()}
    self._reader = reader.Reader(self._examples, tokens.Turns(starts, lanes), num_workers)

  def _make_lanes(self) -> dict[int, Lane]:
    """Those of the wanted rows, by number."""
    rules = lanes_lib.Rules(
      self._recipe.components,
      self._recipe.lengths,
      self._converter.sizes,
      self._converter.limits(self._lengths),
      self._lookahead if self._pack else 0,
    )
    numbers = sorted({row // self._share for row in self._wanted})
    return {number: Lane(number, rules) for number in numbers}

  def __next__(self) -> Batch:
    made: dict[int, tuple[list[int], list[tokens.Tokenised]]] = {}
    for number, lane in self._lanes.items():
      while len(lane) < self._share:
        self._advance(lane)
      made |= {number * self._share + row: lane.pop() for row in range(self._share)}
    return self._batch([made[row] for row in self._wanted])

  @property
  def counts(self) -> Counts:
    """Of the lanes of this host, and of all lanes up to where it was restored."""
    counts = Counts()
    for part in (self._before, *(lane.counts for lane in self._lanes.values())):
      counts.add(part)
    return counts

  def total_counts(self) -> Counts:
    """Of all hosts, each of which must call this."""
    return Counts.from_json(self.state()["counts"])

  def tokens_by_lane(self) -> dict[str, int]:
    """Real tokens in the batches given out here since this feed was made, as JSON."""
    return {str(number): lane.counts.tokens for number, lane in self._lanes.items()}

  def tokens_given(self, by_lane: Iterable[Mapping[str, int]]) -> int:
    """Real tokens in all batches up to here, from the `tokens_by_lane` of all hosts."""
    every: dict[str, int] = {}
    for lanes in by_lane:  # hosts that need the same rows have the same lanes
      every |= lanes
    return self._before.tokens + sum(every.values())

  def state(self) -> dict[str, Any]:
    """JSON from which an equal feed continues with the batch after the last one returned.

    It is the same for any number of hosts; each must call this.
    """
    shares = self._everyone(
      {
        str(number): lane.state() | {"rows": lane.rows, "counts": lane.counts.as_json()}
        for number, lane in self._lanes.items()
      }
    )
    every = functools.reduce(lambda a, b: a | b, shares)
    counts = Counts()
    counts.add(self._before)
    rows, streams = dict(self._rows), []
    for number in range(self._num_lanes):
      stream = dict(every[str(number)])
      counts.add(Counts.from_json(stream.pop("counts")))
      rows |= stream.pop("rows")
      streams.append(stream)
    return {
      **self._identity(),
      "lanes": self._num_lanes,
      "rows": dict(sorted(rows.items())),
      "streams": streams,
      "counts": counts.as_json(),
    }

  @property
  def recipe(self) -> tokens.Recipe:
    """What examples are made of."""
    return self._recipe

  def plan_rates(self) -> dict[str, float]:
    """Task to its planned share of the examples."""
    return mixing.task_rates(self._recipe.components)

  def _restore(self, state: Mapping[str, Any]) -> None:
    for key, value in self._identity().items():
      if state.get(key) != value:
        raise errors.UserError(
          f"the checkpoint's data order was made with another {key}; restore it with the same"
          " mixture, data, vocabulary and lengths, or start a new MODEL_DIR"
        )
    made_with = state.get("lanes", 1)
    if made_with != self._num_lanes:
      raise errors.UserError(
        f"DATA_LANES = {self._num_lanes}: the checkpoint's data order was made with {made_with};"
        " restore it with as many, or start a new MODEL_DIR"
      )
    self._rows, self._on_disk = dict(state["rows"]), dict(state["rows"])
    streams = state.get("streams", [state])  # those of one lane stood at the top once
    for number, lane in self._lanes.items():
      lane.restore(streams[number], self._again)
    self._before = Counts.from_json(state["counts"])

  def _identity(self) -> dict[str, Any]:
    """All that the sequence of examples depends on, besides the data themselves."""
    recipe = self._recipe
    return {
      "mixture": [list(one) for one in recipe.components],
      "wording": tokens.wording(recipe.components),
      "lengths": list(recipe.lengths),
      "seed": recipe.seed,
      "split": recipe.split,
      "shots": recipe.shots,
      "long": recipe.long,
      "lookahead": self._lookahead,
      "features": self._features,
      "vocabulary": [recipe.vocabulary.fingerprint, recipe.vocabulary.extra_ids],
      "objective": recipe.objective,
      "mode_tokens": recipe.mode_tokens,
    }

  def _again(self, positions: Iterable[int]) -> list[tokens.Tokenised]:
    """Examples that were read before the run was stopped."""
    examples = [self._examples.map(position) for position in positions]
    for example in examples:
      task = self._recipe.components[example.component].task
      if example.fault:
        raise errors.UserError(
          f"{task}: an example that was there before the run was stopped is not usable now"
          f" ({example.fault}); bring the data back as they were, or start a new MODEL_DIR"
        )
      self._check_rows(task, example.rows)
    return examples

  def _check_rows(self, task: str, rows: int) -> None:
    if self._on_disk.setdefault(task, rows) != rows:
      raise errors.UserError(
        f"{task}: has {rows} rows on disk, had {self._on_disk[task]} before the run was stopped;"
        " bring the data back as they were, or start a new MODEL_DIR"
      )

  def _advance(self, lane: Lane) -> None:
    """Has a lane take in one example, which may have to be read, with those of other lanes."""
    while not lane.inbox:
      example = next(self._reader)
      if example.position < 0:
        continue
      if not example.fault:
        self._check_rows(self._recipe.components[example.component].task, example.rows)
      self._lanes[example.position % self._num_lanes].inbox.append(example)
    lane.take(self._num_lanes)

  def _batch(self, made: list[tuple[list[int], list[tokens.Tokenised]]]) -> Batch:
    examples = [row for _, row in made]
    pairs = [[(one.inputs, one.targets) for one in row] for row in examples]
    if self._pack:
      arrays = self._converter.packed(pairs, self._lengths)
    else:
      arrays = self._converter.unpacked([pair for (pair,) in pairs], self._lengths)
    used = {one.component for row in examples for one in row}
    tasks = sorted({self._recipe.components[number].task for number in used})
    groups = self._numbered(arrays, examples)
    return Batch(arrays, [positions for positions, _ in made], tasks, groups)

  def _numbered(
    self, arrays: Mapping[str, np.ndarray], examples: Sequence[Sequence[tokens.Tokenised]]
  ) -> np.ndarray:
    """The groups of a batch's target tokens: int32 [batch, length]."""
    table = np.zeros((len(examples), 1 + max(map(len, examples))), np.int32)
    for row, several in enumerate(examples):
      table[row, 1 : 1 + len(several)] = self._group_of[[one.component for one in several]]
    segments = arrays.get("decoder_segment_ids", np.ones_like(arrays["decoder_target_tokens"]))
    return np.take_along_axis(table, segments, axis=1)


def recipe(plan: mixing.Plan, **settings: Any) -> tokens.Recipe:
  """A recipe for a planned mixture; `settings` are the other attributes of `tokens.Recipe`."""
  return tokens.Recipe(components=plan.components, **settings)


def groups_of(
  components: Sequence[mixing.Component],
) -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
  """The pairs of group and kind, and which of them each component has."""
  known = cards.load().tasks
  pairs = [(known[one.task].group, one.kind) for one in components]
  found = tuple(sorted(set(pairs)))
  numbers = {pair: number for number, pair in enumerate(found)}
  return found, np.array([numbers[pair] for pair in pairs], np.int32)
