"""Recording: sums divided last, numbers left out, and a clock that tells where time went."""

import threading
import time
import types

import numpy as np
import pytest

from flan_tune import flops
from flan_tune.train import clock as clock_lib
from flan_tune.train import recorder

LENGTHS = (12, 8)


def batch(tokens: int, rows: int = 2):
  """Of one row with `tokens` on both sides; the others are padding."""
  inputs, targets = (np.zeros((rows, length), np.int32) for length in LENGTHS)
  inputs[0, :tokens] = targets[0, :tokens] = 7
  arrays = {"encoder_input_tokens": inputs, "decoder_target_tokens": targets}
  return types.SimpleNamespace(arrays=arrays)


class Now:
  """Seconds that pass when told to."""

  def __init__(self):
    self.seconds = 0.0

  def __call__(self) -> float:
    return self.seconds

  def sleep(self, seconds: float) -> None:
    self.seconds += seconds


@pytest.fixture
def now() -> Now:
  return Now()


@pytest.fixture
def written() -> list[recorder.Interval]:
  return []


@pytest.fixture
def recording(now, written) -> recorder.Recorder:
  clock = clock_lib.Clock(now)
  return recorder.Recorder(2, lambda step, interval: written.append(interval), clock=clock)


def test_means_are_over_tokens_not_over_steps(recording, written):
  """Metrics are (sum, count), divided last."""
  for number, (total, count) in enumerate([(10.0, 10.0), (90.0, 30.0)], start=1):
    recording(number, None, {"loss": (np.float32(total), np.float32(count))}, batch(3))
  assert [one.means() for one in written] == [{"loss": 2.5}]
  assert (written[0].steps, written[0].rows) == (2, 4)


def test_vectors_are_summed_place_by_place(recording, written):
  for number in (1, 2):
    sums = np.float32([1, 2, 0]) * number, np.float32([1, 1, 0])
    recording(number, None, {"loss": (np.float32(3), np.float32(2)), "by_group": sums}, batch(3))
  total, count = written[0].sums["by_group"]
  np.testing.assert_array_equal(total, [3, 6, 0])
  np.testing.assert_array_equal(count, [2, 2, 0])
  assert written[0].means() == {"loss": 1.5}


def test_sums_of_many_tokens_do_not_stop_growing(recording, written):
  """2^24 + 1 is no float32."""
  for number, total in enumerate([2.0**24, 1.0], start=1):
    sums = np.float32([total]), np.float32([total])
    recording(number, None, {"loss": (np.float32(total), np.float32(total)), "v": sums}, batch(3))
  assert written[0].sums["loss"][0] == written[0].sums["v"][0][0] == 2**24 + 1


def test_a_step_that_is_not_watched_on_enters_no_mean_but_the_counts(now, written):
  seen = []

  def watch(step, sums, batch):
    seen.append((step, float(sums["loss"][0])))
    return step != 1

  recording = recorder.Recorder(2, lambda step, one: written.append(one), watch=watch)
  recording(1, None, {"loss": (np.float32("nan"), np.float32(1))}, batch(3))
  recording(2, None, {"loss": (np.float32(4), np.float32(2))}, batch(5))
  assert written[0].means() == {"loss": 2}
  assert written[0].steps == 2 and written[0].fill.tokens == 16
  assert [step for step, _ in seen] == [1, 2]


def test_what_the_watch_raises_ends_the_loop_with_the_record_unwritten(written):
  def watch(step, sums, batch):
    raise ValueError(f"step {step}")

  recording = recorder.Recorder(2, lambda step, one: written.append(one), watch=watch)
  recording(1, None, {"loss": (np.float32(1), np.float32(1))}, batch(3))
  with pytest.raises(ValueError, match="step 1"):
    recording.close(1)
  assert not written


def test_work_is_of_real_tokens_and_slots_of_all(recording, written):
  recording(1, None, {}, batch(3))
  recording(2, None, {}, batch(5))
  assert written[0].work == flops.Work(8, 8, 9 + 25, 9 + 25, 9 + 25)
  assert written[0].slots == flops.slots("encoder_decoder", 4, {"inputs": 12, "targets": 8})


def test_a_decoder_only_batch_has_no_inputs(recording, written):
  arrays = {"decoder_target_tokens": np.ones((2, 20), np.int32)}
  for number in (1, 2):
    recording(number, None, {}, types.SimpleNamespace(arrays=arrays))
  assert written[0].slots == written[0].work == flops.Work(targets=80, decoder_pairs=4 * 400)


def test_an_interval_knows_its_time_by_kind(recording, written, now):
  now.sleep(3)
  with recording.clock.spending("data"):
    now.sleep(2)
  recorder.Every(1, lambda *_: now.sleep(5), recording)(1, None, {}, None)
  recorder.Every(1, lambda *_: now.sleep(7), recording, "save")(1, None, {}, None)
  recording(2, None, {}, batch(3))
  assert written[0].seconds == {"data": 2, "step": 3, "eval": 5, "save": 7}
  assert written[0].training_seconds == 5
  now.sleep(1)
  assert recording.clock.take() == {"data": 0, "step": 1, "eval": 0, "save": 0}


def test_every_step_stands_in_one_record_that_a_checkpoint_does_not_cut(now):
  """So a run that goes on from step 3 writes the rest of the same records."""

  def records(first: int) -> list[tuple[int, int]]:
    found = []
    recording = recorder.Recorder(4, lambda step, one: found.append((step, one.steps)))
    save = recorder.Every(3, lambda *_: None, recording, "save")
    for step in range(first, 8):
      recording(step, None, {"loss": (np.float32(1), np.float32(1))}, batch(3))
      if save.due(step) or step == 7:
        save(step, None, {}, None)
    return found

  assert records(1) == [(3, 3), (4, 1), (6, 2), (7, 1)]
  assert records(4) == records(1)[1:]


def test_a_save_within_an_evaluation_is_a_save(now):
  clock = clock_lib.Clock(now)
  with clock.spending("eval"):
    now.sleep(2)
    with clock.spending("save"):
      now.sleep(3)
    now.sleep(4)
  assert clock.take() == {"data": 0, "step": 0, "eval": 6, "save": 3}
  assert clock.age == 9


def test_an_error_ends_what_time_was_spent_on(now):
  clock = clock_lib.Clock(now)
  with pytest.raises(KeyError), clock.spending("eval"):
    raise KeyError
  now.sleep(1)
  assert clock.take()["step"] == 1


class Running:
  """Results that a device has not finished until told to."""

  def __init__(self):
    self.done = threading.Event()

  def block_until_ready(self):
    self.done.wait(10)
    return self


def test_reading_while_a_step_runs_is_the_steps_time(now):
  clock, results = clock_lib.Clock(now), Running()
  clock.running(results)
  with clock.spending("data"):
    now.sleep(2)
  assert clock.take()["data"] == 0  # still running
  with clock.spending("data"):
    now.sleep(3)
    results.done.set()
    while not clock._finished.done():  # the other thread looks at the time
      time.sleep(0.001)
    now.sleep(1)
  assert clock.take() == {"data": 1, "step": 3, "eval": 0, "save": 0}


def test_a_step_that_fails_is_not_told_by_the_clock(now):
  class Failed(Running):
    def block_until_ready(self):
      raise RuntimeError("out of memory")

  clock = clock_lib.Clock(now)
  clock.running(Failed())
  clock._finished.result(10)
  with clock.spending("data"):
    now.sleep(2)
  assert clock.take()["data"] == 2


def test_once_is_once():
  seen = []
  once = recorder.Once(seen.append)
  for step in (5, 6):
    if once.due(step) or step == 6:
      once(step, None, {}, None)
  assert seen == [5]
