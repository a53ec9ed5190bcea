"""Examples in the order of their places, read by Grain; a dead worker process is replaced.

    places 0, 1, 2, ... -> `Turns` -> positions -> (workers) `Examples` -> Tokenised

The order depends on nothing but the lanes, so a reader that is opened again at the place where
another one died goes on as that one would have.
"""

import collections
import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grain
from absl import flags

from flan_tune import errors
from flan_tune.data import tokens

_LAST = 1 << 48  # as good as endless, and safe in C's long
# So many workers in a row may die, each before so many examples have come; then it is no accident.
_LIVES, _HEALTHY = 3, 1000
# How long a worker may have been dead without Grain's noticing: one that is killed in the middle
# of a write leaves Grain waiting for the rest for ever (measured: examples above 4 kB, full pipe).
_PATIENCE = 5.0
_WORKER = "grain-process"  # begins the names of Grain's worker processes
_CRASHED = "terminated unexpectedly"  # what Grain says of one, where it notices

_log = logging.getLogger(__name__)


class _Died(Exception):
  """A worker process is gone; the argument says how."""


class Reader(Iterator[tokens.Tokenised]):
  """The examples of some lanes, taking turns.

  Args:
    examples: What makes them.
    turns: Which position stands at which place.
    num_workers: Processes; 0 for this one.
  """

  def __init__(self, examples: tokens.Examples, turns: tokens.Turns, num_workers: int):
    self._examples = examples
    self._turns = turns
    self._num_workers = num_workers
    self._place = 0
    self._deaths: collections.deque[int] = collections.deque(maxlen=_LIVES)
    self._source = self._open()

  def __next__(self) -> tokens.Tokenised:
    """The next example.

    Raises:
      UserError: Worker processes die again and again.
    """
    while True:
      try:
        example = next(self._source)
      except _Died as death:
        self._bury(death)
        self._source = self._open()
        continue
      self._place += 1
      return example

  def _open(self) -> Iterator[tokens.Tokenised]:
    places = grain.MapDataset.range(self._place, _LAST).map(self._turns)
    # One thread: rendering is Python and holds the interpreter lock.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=64)
    dataset = places.map(self._examples).to_iter_dataset(options)
    if not self._num_workers:
      return iter(dataset)
    if not flags.FLAGS.is_parsed():  # Grain asks absl's flags, which only absl programs parse
      flags.FLAGS.mark_as_parsed()
    settings = grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=256)
    return _Watched(iter(dataset.mp_prefetch(settings)))

  def _bury(self, death: _Died) -> None:
    told = f"a worker process of the feed (NUM_WORKERS = {self._num_workers}) has died ({death})"
    self._deaths.append(self._place)
    if len(self._deaths) == _LIVES and self._place - self._deaths[0] < _HEALTHY:
      raise errors.UserError(
        f"{told}, the {_LIVES}rd in a row: the machine may lack memory; lower NUM_WORKERS and"
        " start again, which goes on from the last checkpoint"
      ) from None
    _log.warning("%s; another one takes its place, and no example is lost", told)


class _Watched(Iterator[Any]):
  """An iterator of Grain's over worker processes, which does not outwait them.

  A thread of its own waits for Grain, since that may be for ever.
  """

  def __init__(self, source: Iterator[Any]):
    self._found: queue.Queue = queue.Queue(64)
    self._others = {one.pid for one in multiprocessing.active_children()}
    self._workers: dict[int | None, Any] = {}
    self._over = threading.Event()
    threading.Thread(target=self._fetch, args=(source,), daemon=True).start()

  def __next__(self) -> Any:
    dead_since = None
    while True:
      try:
        kind, value = self._found.get(timeout=1.0)
      except queue.Empty:
        dead_since = None if self._dead() is None else dead_since or time.monotonic()
        if dead_since is not None and time.monotonic() - dead_since > _PATIENCE:
          raise self._end() from None
        continue
      if kind == "element":
        return value
      if isinstance(value, errors.UserError) or not (self._dead() or _CRASHED in str(value)):
        raise value
      raise self._end() from None

  def _fetch(self, source: Iterator[Any]) -> None:
    try:
      while not self._over.is_set():
        self._put("element", next(source))
    except BaseException as error:
      self._put("error", error)

  def _put(self, kind: str, value: Any) -> None:
    while not self._over.is_set():
      if self._found.empty() or self._found.full():
        self._dead()  # so that all workers are known
      try:
        return self._found.put((kind, value), timeout=1.0)
      except queue.Full:
        continue
    return None

  def _dead(self) -> int | None:
    """The exit code of a worker that has failed, if one has."""
    for worker in multiprocessing.active_children():
      if worker.name.startswith(_WORKER) and worker.pid not in self._others:
        self._workers[worker.pid] = worker
    codes = [worker.exitcode for worker in self._workers.values()]
    return next((code for code in codes if code), None)

  def _end(self) -> _Died:
    """Ends the workers that are left."""
    code = self._dead()
    self._over.set()
    for worker in self._workers.values():
      worker.kill()
      worker.join(_PATIENCE)
    return _Died("killed" if code == -9 else f"exit code {code}")
