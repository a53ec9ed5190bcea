"""Where a run's time goes: to data, steps, evaluations and saves.

Only differences of a clock that never goes backwards are used, so setting the machine's time while
a run goes on changes nothing.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import jax

STEP = "step"  # whatever is not said to be something else
KINDS = ("data", STEP, "eval", "save", "compile")


class Clock:
  """Adds up seconds by kind; one thread may use it.

  Time spent on data counts as such only while the device waits: what is read during a step is the
  step's, so that a reader who sees much of "data" knows that a faster feed would help.
  """

  def __init__(self, now: Callable[[], float] = time.monotonic):
    """Starts with "step".

    Args:
      now: Seconds, never going backwards.
    """
    self._now = now
    self._began = self._last = now()
    self._kinds = [STEP]
    self._sums: dict[str, float] = collections.defaultdict(float)
    self._waiter = futures.ThreadPoolExecutor(1, thread_name_prefix="clock")
    self._finished: futures.Future[float] | None = None

  @property
  def age(self) -> float:
    """Seconds since it was made."""
    return self._now() - self._began

  @contextlib.contextmanager
  def spending(self, kind: str) -> Iterator[None]:
    """What is done within is of this kind; what is of another kind within that is of the other."""
    start = self._turn()
    self._kinds.append(kind)
    try:
      yield
    finally:
      end = self._turn()
      self._kinds.pop()
      if kind == "data":
        self._give_back(start, end)

  def running(self, results: Any) -> None:
    """Says that the device has begun to compute `results`, arrays that nobody will donate."""
    self._finished = self._waiter.submit(self._time_of, results)

  def take(self) -> dict[str, float]:
    """Seconds by kind since the last take, or since it was made."""
    self._turn()
    sums, self._sums = self._sums, collections.defaultdict(float)
    # Compiling is met once a run, and would be a zero in every other record.
    return {kind: sums[kind] for kind in KINDS if sums[kind] or kind != "compile"}

  def _turn(self) -> float:
    now = self._now()
    self._sums[self._kinds[-1]] += now - self._last
    self._last = now
    return now

  def _give_back(self, start: float, end: float) -> None:
    """Makes what of a stretch on data lay within a step the step's."""
    if self._finished is None:
      return
    finished = self._finished.result() if self._finished.done() else end
    hidden = min(max(finished - start, 0.0), end - start)
    self._sums["data"] -= hidden
    self._sums[STEP] += hidden

  def _time_of(self, results: Any) -> float:
    # A step that fails tells the loop so; here it has ended like any other.
    with contextlib.suppress(Exception):
      jax.block_until_ready(results)
    return self._now()
