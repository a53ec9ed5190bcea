"""What happens between steps: recording, and acts such as evaluating and saving.

Hooks do not know models, files or screens: they are given functions to call.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import batch as batch_lib
from flan_tune import flops
from flan_tune.train import clock as clock_lib
from flan_tune.train import step as step_lib

Metrics = dict[str, Any]
Sums = dict[str, tuple[Any, Any]]
# (step, name -> (sum, count) on the host, batch) -> whether they may enter a mean.
Watch = Callable[[int, Sums, Any], bool]


class Interval(NamedTuple):
  """Sums over the steps between two records.

  Attributes:
    steps: How many.
    rows: Of their batches, those that this process has.
    sums: Metric to sum and count: numbers, or two arrays of one length.
    fill: Of these rows.
    seconds: By kind, as `clock.Clock.take` gives them.
    work: Real tokens and pairs in these rows.
    slots: All that the device computed for these rows.
  """

  steps: int
  rows: int
  sums: Sums
  fill: batch_lib.Fill
  seconds: dict[str, float]
  work: flops.Work
  slots: flops.Work

  @property
  def training_seconds(self) -> float:
    """Steps and what they waited for; evaluating, saving and compiling are not in it."""
    return self.seconds["step"] + self.seconds["data"]

  def means(self) -> dict[str, float]:
    """Metric to mean, of those that are numbers."""
    return {
      name: total / count if count else 0.0
      for name, (total, count) in self.sums.items()
      if not np.ndim(total)
    }


class Recorder:
  """Sums metrics, has them watched, and writes a record every `period` steps, or earlier.

  It reads the metrics of a step while the next one runs, so that the device never waits for the
  host; `close` reads what is left.  Evaluating and saving do this first, so that what is saved has
  been watched and stands in a record, and a resumed run has the records of an uninterrupted one.

  Args:
    period: Steps between records, at most.
    write: Called with (step, Interval).
    watch: Sees each step's metrics once, in order, and may raise; where it says False, they enter
      no mean.  By default all do.
    clock: What the loop's time is measured with.
  """

  def __init__(
    self,
    period: int,
    write: Callable[[int, Interval], None],
    *,
    watch: Watch = lambda step, sums, batch: True,
    clock: clock_lib.Clock | None = None,
  ):
    self.clock = clock or clock_lib.Clock()
    self._period = period
    self._write = write
    self._watch = watch
    self._waiting: tuple[int, Metrics, Any] | None = None
    self._reset()

  def due(self, step: int) -> bool:
    """Every step."""
    return True

  def __call__(self, step: int, state: step_lib.TrainState, metrics: Metrics, batch: Any) -> None:
    """Takes in the metrics of `step`, looking at those of the step before."""
    self._read()
    self._waiting = (step, metrics, batch)
    if step % self._period == 0:
      self.close(step)

  def _read(self) -> None:
    if self._waiting is None:
      return
    (step, metrics, batch), self._waiting = self._waiting, None
    sums = jax.device_get(metrics)  # one wait for all of them
    # Counted whatever they are worth: the step took its time.
    self._steps += 1
    self._rows += len(batch.arrays["decoder_target_tokens"])
    self._fill += batch_lib.fill(batch.arrays)
    self._work += flops.of_batch(batch.arrays)
    self._slots += _slots(batch.arrays)
    if self._watch(step, sums, batch):
      for name, (total, count) in sums.items():
        before = self._sums.get(name, (0.0, 0.0))
        # In float64: a float32 sum of a million tokens stops growing by ones.
        self._sums[name] = (before[0] + _wide(total), before[1] + _wide(count))

  def close(self, step: int) -> None:
    """Writes what was summed since the last record, if anything; what `watch` raises passes."""
    self._read()
    if self._steps:
      interval = Interval(
        self._steps,
        self._rows,
        self._sums,
        self._fill,
        self.clock.take(),
        self._work,
        self._slots,
      )
      self._write(step, interval)
    self._reset()

  def _reset(self) -> None:
    self._sums: Sums = {}
    self._fill = batch_lib.Fill()
    self._work = self._slots = flops.Work()
    self._steps = self._rows = 0


def _wide(value: Any) -> Any:
  return np.asarray(value, np.float64) if np.ndim(value) else float(value)


def _slots(arrays: Mapping[str, np.ndarray]) -> flops.Work:
  targets = arrays["decoder_target_tokens"]
  inputs = arrays.get("encoder_input_tokens")
  features = "decoder_only" if inputs is None else "encoder_decoder"
  lengths = {"inputs": 0 if inputs is None else inputs.shape[1], "targets": targets.shape[1]}
  return flops.slots(features, len(targets), lengths)


@dataclasses.dataclass
class Every:
  """Calls `act(step, state)` every `period` steps, and after the last one; 0 means never.

  When `act` returns True, training ends there.

  Attributes:
    kind: What the clock is told the time goes to.
  """

  period: int
  act: Callable[[int, step_lib.TrainState], bool | None]
  recorder: Recorder
  kind: str = "eval"

  def due(self, step: int) -> bool:
    """Whether `step` is a multiple of the period."""
    return bool(self.period) and step % self.period == 0

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: Mapping[str, Any], batch: Any
  ) -> bool | None:
    """Acts on a state whose metrics have been watched and recorded."""
    if not self.period:
      return None
    self.recorder.close(step)
    with self.recorder.clock.spending(self.kind), jax.transfer_guard("allow"):
      return self.act(step, state)


class Once:
  """Calls `act(step)` when the device has done the first step of this process."""

  def __init__(self, act: Callable[[int], None]):
    self._act: Callable[[int], None] | None = act

  def due(self, step: int) -> bool:
    """At first."""
    return self._act is not None

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: Mapping[str, Any], batch: Any
  ) -> None:
    """Waits for the step, and acts."""
    act, self._act = self._act, None
    if act:
      jax.block_until_ready(metrics)
      act(step)
