"""Ending a run when it is asked to: the state is saved first, by all hosts after the same step."""

import signal
from collections.abc import Callable, Mapping
from typing import Any

import jax

from flan_tune import hosts
from flan_tune.train import recorder as recorder_lib
from flan_tune.train import step as step_lib


class Stopped(hosts.Agreed):
  """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state at `step`."""

  def __init__(self, step: int):
    super().__init__(f"stopped after step {step}")
    self.step = step


class StopOnSignal:
  """Saves and raises `Stopped` at the end of the step during which a signal came.

  Of several hosts one signal stops all, after the first step that none of them has passed.  They
  agree by messages beside the training, so that steps are not held up before a signal comes.

  Use as a context manager: it puts the former handlers back.  A second signal is not held up.

  Args:
    save: Called with (step, state); returns when they are kept.
    start: The step from which training goes on.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(
    self,
    save: Callable[[int, step_lib.TrainState], None],
    recorder: recorder_lib.Recorder,
    *,
    start: int = 0,
  ):
    self._save = save
    self._recorder = recorder
    self._start = start
    self._asked = False
    self._due = False
    self._former: dict[int, Any] = {}

  def __enter__(self) -> "StopOnSignal":
    hosts.may_begin(self._start + 1)  # a signal's answer is this step at the earliest
    for number in self.SIGNALS:
      self._former[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._former.items():
      signal.signal(number, handler)

  def _ask(self, number: int, frame: Any) -> None:
    self._asked = True
    hosts.ask_to_stop()
    signal.signal(number, self._former[number])

  def settle(self, step: int) -> None:
    """Raises `Stopped` if a signal has come, here or on another host, too late for a last step.

    All hosts call it, when the state of their last step is kept.
    """
    if any(hosts.everyone(self._asked)):
      raise Stopped(step)

  def due(self, step: int) -> bool:
    """As soon as a signal came, here or on another host, and all can stop after `step`."""
    self._due = not hosts.may_begin(step + 1) if hosts.count() > 1 else self._asked
    return self._due

  def __call__(
    self, step: int, state: step_lib.TrainState, metrics: Mapping[str, Any], batch: Any
  ) -> None:
    """Saves and stops, if asked to."""
    if not self._due:
      return
    self._recorder.close(step)
    with self._recorder.clock.spending("save"), jax.transfer_guard("allow"):
      self._save(step, state)
    raise Stopped(step)
