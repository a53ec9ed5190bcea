"""The feed: every example once, whole, in an order that nothing but the seed decides."""

import collections
import concurrent.futures
import gc
import itertools
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import util

import numpy as np
import pytest

import flan_tune as ft
from flan_tune import batch, cards, converters, errors, vocab
from flan_tune.data import feed, mixing, reader, tokens

LENGTHS = {"inputs": 128, "targets": 48}


def _feed(**settings) -> feed.Feed:
  given = {"lengths": LENGTHS, "batch_size": 4, "seed": 3, "shots": 2} | settings
  return ft.batches(given.pop("name", "playground"), **given)


def _take(batches: feed.Feed, count: int) -> list[feed.Batch]:
  return list(itertools.islice(batches, count))


def _assert_equal(left: list[feed.Batch], right: list[feed.Batch]) -> None:
  assert [one.examples for one in left] == [one.examples for one in right]
  for ours, theirs in zip(left, right, strict=True):
    for name, array in ours.arrays.items():
      np.testing.assert_array_equal(array, theirs.arrays[name], err_msg=name)


def test_batches_hold_the_examples_of_the_stream_whole():
  """Each row's segments decode to the rendered examples of the positions it names."""
  batches = _feed()
  vocabulary = batches._recipe.vocabulary
  examples = list(ft.examples("playground", seed=3, shots=2, limit=600))
  for drawn in _take(batches, 4):
    for row, positions in enumerate(drawn.examples):
      for segment, position in enumerate(positions, start=1):
        example = batches._examples.rendered[position]
        for side, text in (("encoder_input", example.inputs), ("decoder_target", example.targets)):
          stem = side.split("_")[0]
          here = drawn.arrays[f"{stem}_segment_ids"][row] == segment
          ids = drawn.arrays[f"{side}_tokens"][row][here]
          assert ids[-1] == vocabulary.eos_id
          assert ids[:-1].tolist() == vocabulary.encode(text)
        if example.shots == 0 == examples[position].shots:  # the feed prunes exemplars to fit
          assert example == examples[position]


def test_decoder_only_rows_hold_the_same_examples_with_one_limit():
  """Inputs and targets of an example one after the other; a row shares its length among them."""
  batches = _feed(features="decoder_only")
  vocabulary = batches._recipe.vocabulary
  drawn = next(batches)
  assert drawn.arrays["decoder_target_tokens"].shape == (4, sum(LENGTHS.values()))
  for row, positions in enumerate(drawn.examples):
    for segment, position in enumerate(positions, start=1):
      example = batches._examples.rendered[position]
      here = drawn.arrays["decoder_segment_ids"][row] == segment
      sides = [
        [*vocabulary.encode(text), vocabulary.eos_id] for text in (example.inputs, example.targets)
      ]
      assert drawn.arrays["decoder_target_tokens"][row][here].tolist() == sum(sides, [])
      assert drawn.arrays["decoder_loss_weights"][row][here].sum() == len(sides[1])
  assert batch.fill(drawn.arrays).both > 0.8


def test_every_position_is_used_once_and_none_is_lost():
  batches = _feed()
  used = [p for drawn in _take(batches, 30) for row in drawn.examples for p in row]
  assert len(set(used)) == len(used)
  state = batches.state()
  (stream,) = state["streams"]
  waiting = {p for row in stream["ready"] for p in row} | set(stream["open"])
  dropped = sum(sum(reasons.values()) for reasons in state["counts"]["dropped"].values())
  assert len(set(used) | waiting) + dropped == stream["next"]


@pytest.mark.parametrize("features", converters.CONVERTERS)
@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_restored_feed_goes_on_as_if_never_interrupted(after, features):
  batches = _feed(features=features)
  _take(batches, after)
  state = json.loads(json.dumps(batches.state()))
  rest = _take(batches, 5)
  restored = _feed(features=features, state=state)
  _assert_equal(_take(restored, 5), rest)
  assert restored.state() == batches.state()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(num_workers):
  """Nor does Ctrl-C, which a terminal sends to them, too, and which is the training's to answer."""
  others = _workers()
  batches = _feed(num_workers=num_workers)
  first = _take(batches, 1)
  ours = _workers() - others
  for worker in ours:
    os.kill(worker, signal.SIGINT)
  time.sleep(0.2)  # for them to end
  assert len(ours & _workers()) == num_workers
  _assert_equal(first + _take(batches, 2), _take(_feed(), 3))


def test_another_seed_gives_other_batches():
  left, right = _take(_feed(seed=3), 1), _take(_feed(seed=4), 1)
  tokens = [one[0].arrays["encoder_input_tokens"] for one in (left, right)]
  assert not np.array_equal(*tokens)


def test_unpacked_rows_hold_one_example():
  for drawn in _take(_feed(pack=False), 3):
    assert all(len(row) == 1 for row in drawn.examples)


def test_what_is_too_long_is_dropped_and_counted_by_task_and_side():
  batches = _feed(lengths={"inputs": 40, "targets": 10})
  _take(batches, 20)
  reasons = collections.Counter()
  for task, counted in batches.counts.dropped.items():
    assert task.startswith("playground_")
    reasons.update(counted)
  assert set(reasons) == {"inputs too long", "targets too long"}


def test_trimming_keeps_every_example_and_counts_it():
  batches = _feed(lengths={"inputs": 24, "targets": 6}, long="trim")
  for drawn in _take(batches, 10):
    for side in ("encoder_input_tokens", "decoder_target_tokens"):
      segments = drawn.arrays[side.split("_")[0] + "_segment_ids"]
      ends = (drawn.arrays[side] == 1).sum()
      assert ends == sum(len(set(row[row > 0])) for row in segments)
  reasons = {reason for counted in batches.counts.dropped.values() for reason in counted}
  assert reasons == {"trimmed"}


def test_limits_that_drop_everything_say_so():
  with pytest.raises(errors.UserError, match=r"'inputs': 3.*none of the first 1000.*too long"):
    next(_feed(lengths={"inputs": 3, "targets": 48}))


def test_a_state_of_another_mixture_is_refused():
  state = _feed().state()
  with pytest.raises(errors.UserError, match="another mixture"):
    _feed(name="playground_cot", state=state)
  with pytest.raises(errors.UserError, match="another features"):
    _feed(features="decoder_only", state=state)


SHARES = {
  "one host": [[0, 1, 2, 3]],
  "two": [[0, 1], [2, 3]],
  "four": [[0], [1], [2], [3]],
  "two with the same rows": [[0, 1, 2, 3], [0, 1, 2, 3]],
  "two, rows not in a piece": [[0, 2], [1, 3]],
}


class _Hosts:
  """Feeds of several hosts, each in a thread, as they are in a run."""

  def __init__(self, shares, **settings):
    self.shares = shares
    self._values = [""] * len(shares)
    self._barrier = threading.Barrier(len(shares))
    recipe = _feed()._recipe
    make = lambda host: feed.Feed(
      recipe,
      batch_size=4,
      lookahead=24,
      rows=shares[host],
      everyone=self._everyone(host),
      **settings,
    )
    self.feeds = [make(host) for host in range(len(shares))]

  def _everyone(self, host):
    def gather(value):
      self._values[host] = json.dumps(value)
      self._barrier.wait()
      found = [json.loads(one) for one in self._values]
      self._barrier.wait()
      return found

    return gather

  def each(self, act):
    with concurrent.futures.ThreadPoolExecutor(len(self.feeds)) as pool:
      return list(pool.map(act, self.feeds))

  def take(self, count: int) -> list[feed.Batch]:
    """Batches put together from the rows of all hosts."""
    parts = self.each(lambda one: _take(one, count))
    return [self._joined([part[number] for part in parts]) for number in range(count)]

  def _joined(self, parts: list[feed.Batch]) -> feed.Batch:
    rows = {}
    for share, part in zip(self.shares, parts, strict=True):
      for place, row in enumerate(share):
        rows[row] = ({k: v[place] for k, v in part.arrays.items()}, part.examples[place])
    arrays = {name: np.stack([rows[row][0][name] for row in range(4)]) for name in rows[0][0]}
    tasks = sorted({task for part in parts for task in part.tasks})
    return feed.Batch(arrays, [rows[row][1] for row in range(4)], tasks)


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
def test_batches_and_state_do_not_depend_on_the_hosts(shares, lanes):
  alone, several = _Hosts(SHARES["one host"], lanes=lanes), _Hosts(shares, lanes=lanes)
  _assert_equal(several.take(3), alone.take(3))
  (state,) = alone.each(feed.Feed.state)
  assert several.each(feed.Feed.state) == [state] * len(shares)
  by_lane = several.each(feed.Feed.tokens_by_lane)
  assert {one.tokens_given(by_lane) for one in several.feeds} == {state["counts"]["tokens"]}
  for other in ("one host", "four"):
    resumed = _Hosts(SHARES[other], lanes=lanes, state=json.loads(json.dumps(state)))
    assert resumed.each(feed.Feed.state) == [state] * len(SHARES[other])
    rest = resumed.take(2)
    again = _Hosts(shares, lanes=lanes, state=state)
    _assert_equal(rest, again.take(2))
    assert resumed.each(feed.Feed.state)[0] == again.each(feed.Feed.state)[0]
  _assert_equal(rest, alone.take(2))
  assert resumed.each(feed.Feed.total_counts)[0].as_json() == alone.feeds[0].counts.as_json()


def test_a_host_makes_the_examples_of_its_lanes_alone(monkeypatch):
  made, recipe = [], _feed()._recipe
  original = tokens.Examples._instruction

  def spy(self, position, component):
    if self.recipe is recipe:  # threads of other tests' feeds may still read ahead
      made.append(position)
    return original(self, position, component)

  monkeypatch.setattr(tokens.Examples, "_instruction", spy)
  batches = feed.Feed(recipe, batch_size=4, lanes=4, rows=[1, 2])
  for drawn in _take(batches, 5):
    assert [{p % 4 for p in row} for row in drawn.examples] == [{1}, {2}]
  assert {position % 4 for position in made} == {1, 2}
  assert len(set(made)) == len(made)


def test_lanes_pack_as_well_as_one_stream():
  recipe = _feed()._recipe
  for lanes in (1, 8):
    batches = feed.Feed(recipe, batch_size=8, lanes=lanes, lookahead=128)
    assert sum((batch.fill(one.arrays) for one in _take(batches, 20)), batch.Fill()).both > 0.85


def test_a_state_from_before_there_were_lanes_is_continued():
  batches = _feed()
  _take(batches, 2)
  state = batches.state()
  (stream,) = state.pop("streams")
  state.pop("lanes")
  _assert_equal(_take(_feed(state=state | stream), 3), _take(batches, 3))


def test_lanes_divide_the_batch_and_stay_as_they_were():
  recipe = _feed()._recipe
  with pytest.raises(errors.UserError, match="DATA_LANES = 3: must .* divide BATCH_SIZE = 4"):
    feed.Feed(recipe, batch_size=4, lanes=3)
  state = feed.Feed(recipe, batch_size=4, lanes=2).state()
  with pytest.raises(errors.UserError, match="DATA_LANES = 4: .* was made with 2"):
    feed.Feed(recipe, batch_size=4, lanes=4, state=state)


@pytest.mark.parametrize("features", converters.CONVERTERS)
@pytest.mark.parametrize("pack", [True, False])
def test_groups_say_what_each_target_token_belongs_to(features, pack):
  batches = _feed(features=features, pack=pack)
  known = cards.load().tasks
  for drawn in _take(batches, 3):
    assert drawn.groups is not None
    assert drawn.groups.shape == drawn.arrays["decoder_target_tokens"].shape
    assert drawn.groups.dtype == np.int32
    weights = drawn.arrays["decoder_loss_weights"]
    segments = drawn.arrays.get("decoder_segment_ids", np.ones_like(drawn.groups))
    for row, positions in enumerate(drawn.examples):
      for segment, position in enumerate(positions, start=1):
        example = batches._examples.rendered[position]
        here = (segments[row] == segment) & (weights[row] > 0)
        (number,) = set(drawn.groups[row][here].tolist())
        assert batches.groups[number] == (known[example.task].group, example.kind)


class _Process:
  """A worker that has been killed, as far as can be seen from outside."""

  name, pid, exitcode = "grain-process-prefetch", 1, -9

  def kill(self):
    pass

  def join(self, timeout):
    pass


def _stuck(first: int, until: threading.Event):
  yield first
  until.wait()


def test_a_dead_worker_is_noticed_though_grain_waits_for_it_for_ever(monkeypatch):
  monkeypatch.setattr(reader, "_PATIENCE", 0.1)
  until = threading.Event()
  watched = reader._Watched(_stuck(7, until), 1)
  assert next(watched) == 7
  monkeypatch.setattr(multiprocessing, "active_children", lambda: [_Process()])
  began = time.monotonic()
  with pytest.raises(reader._Died, match="killed"):
    next(watched)
  assert time.monotonic() - began < 5
  until.set()


def test_workers_that_die_again_and_again_end_the_run_with_a_sentence(monkeypatch, caplog):
  def dies():
    raise reader._Died("killed")
    yield

  monkeypatch.setattr(reader.Reader, "_open", lambda self: dies())
  with (
    caplog.at_level(logging.WARNING),
    pytest.raises(errors.UserError, match=r"\(NUM_WORKERS = 2\) has died \(killed\), the 3rd"),
  ):
    next(_feed(num_workers=2))
  assert [one.message.partition(";")[2] for one in caplog.records] == [
    " another one takes its place, and no example is lost"
  ] * 2


def test_at_exit_workers_are_ended_before_grain_ends_them():
  """Both at once collide: a good run would end with a traceback."""

  def slow():
    while True:
      yield 7
      time.sleep(0.01)

  source = slow()
  watched = reader._Watched(source, 1)
  assert next(watched) == 7
  util._run_finalizers(2)  # Grain's have priority 1
  assert source.gi_frame is None  # closed


@pytest.mark.slow
def test_a_killed_worker_costs_no_example(caplog):
  others = _workers()
  batches = _feed(num_workers=2, batch_size=32)
  first = _take(batches, 1)
  time.sleep(1.0)  # until its pipe is full, and it is in the middle of a write
  ours = _workers() - others
  assert len(ours) == 2
  os.kill(min(ours), signal.SIGKILL)
  _assert_equal(first + _take(batches, 40), _take(_feed(batch_size=32), 41))
  assert "has died (killed)" in caplog.text


def _workers() -> set[int]:
  """Those of all feeds in this process."""
  return {one.pid or 0 for one in multiprocessing.active_children() if "grain" in one.name}


@pytest.mark.slow
def test_workers_end_with_the_last_reference_to_their_feed():
  others = _workers()
  batches = _feed(num_workers=2)
  next(batches)
  assert len(_workers() - others) == 2
  del batches
  gc.collect()
  deadline = time.monotonic() + 30
  while _workers() - others and time.monotonic() < deadline:
    time.sleep(0.1)
  assert not _workers() - others


def test_shares_follow_the_plan():
  batches = _feed(batch_size=16)
  _take(batches, 40)
  seen = batches.counts.seen
  total = sum(seen.values())
  for task, rate in batches.plan_rates().items():
    assert abs(seen[task] / total - rate) < 0.4 * rate + 0.005


def test_packed_rows_of_real_text_are_full(data_dir, monkeypatch):
  """Chain-of-thought rows at 512/128, half of them few-shot; SeqIO's rule fills .631."""
  mixing.open_rows.cache_clear()
  monkeypatch.setenv("FLAN_TUNE_DATA", str(data_dir))
  plan = mixing.plan("flan_cot")
  chosen = [one for one in plan.components if not one.inverted]
  total = sum(one.rate for one in chosen)
  recipe = tokens.Recipe(
    components=tuple(one._replace(rate=one.rate / total) for one in chosen),
    vocabulary=vocab.Vocabulary(data_dir / "t5-vocab" / "cc_all.32000" / "sentencepiece.model"),
    lengths=(512, 128),
    seed=0,
  )
  assert sum(one.rate for one in recipe.components if one.setting == "fs_opt") == pytest.approx(0.5)
  batches = _take(feed.Feed(recipe, batch_size=8), 60)
  assert sum((batch.fill(one.arrays) for one in batches), batch.Fill()).both >= 0.9


@pytest.mark.slow
def test_the_whole_collection_reads_the_same_for_any_number_of_workers(data_dir, monkeypatch):
  """All rows at hand; another seed gives others."""
  mixing.open_rows.cache_clear()
  monkeypatch.setenv("FLAN_TUNE_DATA", str(data_dir))

  def first(seed: int, num_workers: int) -> list[list[int]]:
    batches = ft.batches(
      "flan_2022",
      vocabulary=data_dir / "t5-vocab" / "cc_all.32000" / "sentencepiece.model",
      lengths={"inputs": 512, "targets": 128},
      batch_size=8,
      seed=seed,
      num_workers=num_workers,
    )
    arrays = [one.arrays["encoder_input_tokens"].tolist() for one in _take(batches, 6)]
    return arrays

  alone = first(0, 0)
  assert first(0, 0) == alone
  assert first(0, 2) == alone
  assert first(1, 0) != alone
