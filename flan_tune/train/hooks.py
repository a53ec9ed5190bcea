"""What happens between steps: recording, evaluating, saving, stopping.

Hooks do not know models, files or screens: they are given functions to call.
"""

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import batch as batch_lib
from flan_tune.train import step as step_lib

Metrics = dict[str, Any]


class NonFinite(Exception):
  """Loss or gradient is not a number; nothing of that step was saved.

  Attributes:
    step: The step.
    metric: Which metric.
    batch: The batch it happened on.
  """

  def __init__(self, step: int, metric: str, batch: Any):
    super().__init__(f"step {step}: {metric} is not finite")
    self.step, self.metric, self.batch = step, metric, batch


class Stopped(Exception):
  """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state at `step`."""

  def __init__(self, step: int):
    super().__init__(f"stopped after step {step}")
    self.step = step


class Interval(NamedTuple):
  """Sums over the steps between two lines of the log."""

  steps: int
  sums: dict[str, tuple[float, float]]
  fill: batch_lib.Fill
  seconds: float

  def means(self) -> dict[str, float]:
    """Metric to mean."""
    return {name: total / count if count else 0.0 for name, (total, count) in self.sums.items()}


class Recorder:
  """Sums metrics, checks that they are finite, and writes a record every `period` steps.

  It reads the metrics of a step while the next one runs, so that the device never waits for the
  host; `flush` reads what is left, which saving and the end do first.

  Args:
    period: Steps between records.
    write: Called with (step, Interval).
  """

  def __init__(self, period: int, write: Callable[[int, Interval], None]):
    self._period = period
    self._write = write
    self._waiting: tuple[int, Metrics, Any] | None = None
    self._reset()

  def due(self, step: int) -> bool:
    """Every step."""
    return True

  def __call__(self, step: int, state: step_lib.TrainState, metrics: Metrics, batch: Any) -> None:
    """Takes in the metrics of `step`, looking at those of the step before."""
    self.flush()
    self._waiting = (step, metrics, batch)
    if step % self._period == 0:
      self.flush()
      self.write(step)

  def flush(self) -> None:
    """Reads the metrics that wait.

    Raises:
      NonFinite: One of them is not a number.
    """
    if self._waiting is None:
      return
    (step, metrics, batch), self._waiting = self._waiting, None
    for name, (total, count) in jax.device_get(metrics).items():
      if not np.isfinite(total):
        raise NonFinite(step, name, batch)
      before = self._sums.get(name, (0.0, 0.0))
      self._sums[name] = (before[0] + float(total), before[1] + float(count))
    self._fill += batch_lib.fill(batch.arrays)
    self._steps += 1

  def write(self, step: int) -> None:
    """Writes what was summed since the last record, if anything."""
    if self._steps:
      seconds = time.monotonic() - self._since
      self._write(step, Interval(self._steps, self._sums, self._fill, seconds))
    self._reset()

  def pause(self) -> None:
    """Call before work that is not training, so that its time does not count."""
    self._paused = time.monotonic()

  def go_on(self) -> None:
    """Call after that work."""
    self._since += time.monotonic() - self._paused

  def _reset(self) -> None:
    self._sums: dict[str, tuple[float, float]] = {}
    self._fill = batch_lib.Fill()
    self._steps = 0
    self._since = time.monotonic()


@dataclasses.dataclass
class Every:
  """Calls `act(step, state)` every `period` steps, and after the last one; 0 means never.

  When `act` returns True, training ends there.
  """

  period: int
  act: Callable[[int, step_lib.TrainState], bool | None]
  recorder: Recorder

  def due(self, step: int) -> bool:
    """Whether `step` is a multiple of the period."""
    return bool(self.period) and step % self.period == 0

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: Mapping[str, Any], batch: Any
  ) -> bool | None:
    """Acts on a state whose metrics are known to be finite."""
    if not self.period:
      return None
    self.recorder.flush()
    self.recorder.pause()
    with jax.transfer_guard("allow"):
      ended = self.act(step, state)
    self.recorder.go_on()
    return ended


class StopOnSignal:
  """Saves and raises `Stopped` at the end of the step during which a signal came.

  Use as a context manager: it puts the former handlers back.  A second signal is not held up.

  Args:
    save: Called with (step, state).
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self, save: Callable[[int, step_lib.TrainState], None], recorder: Recorder):
    self._save = save
    self._recorder = recorder
    self._asked = False
    self._former: dict[int, Any] = {}

  def __enter__(self) -> "StopOnSignal":
    for number in self.SIGNALS:
      self._former[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._former.items():
      signal.signal(number, handler)

  def _ask(self, number: int, frame: Any) -> None:
    self._asked = True
    signal.signal(number, self._former[number])

  def due(self, step: int) -> bool:
    """As soon as a signal came."""
    return self._asked

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: Mapping[str, Any], batch: Any
  ) -> None:
    """Saves and stops, if asked to."""
    if not self._asked:
      return
    self._recorder.flush()
    with jax.transfer_guard("allow"):
      self._save(step, state)
    raise Stopped(step)
