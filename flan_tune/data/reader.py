"""Examples in the order of their places, read by Grain; a dead worker process is replaced.

    places 0, 1, 2, ... -> `Turns` -> positions -> (workers) `Examples` -> Tokenised

The order depends on nothing but the lanes, so a reader that is opened again at the place where
another one died goes on as that one would have.
"""

import collections
import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from multiprocessing import util
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
    examples = dataset.mp_prefetch(settings, worker_init_fn=_serve)
    return _Watched(iter(examples), self._num_workers)

  def _bury(self, death: _Died) -> None:
    told = f"a worker process of the feed (NUM_WORKERS = {self._num_workers}) has died ({death})"
    self._deaths.append(self._place)
    if len(self._deaths) == _LIVES and self._place - self._deaths[0] < _HEALTHY:
      raise errors.UserError(
        f"{told}, the {_LIVES}rd in a row: the machine may lack memory; lower NUM_WORKERS and"
        " start again, which goes on from the last checkpoint"
      ) from None
    _log.warning("%s; another one takes its place, and no example is lost", told)


def _serve(worker: int, workers: int) -> None:
  """Makes this process a worker: it ends with the one that started it, which answers Ctrl-C.

  Grain's workers wait for a killed parent for ever, with their memory and its open files; and a
  terminal sends Ctrl-C to them, too, who would end with tracebacks and be replaced.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  if parent := multiprocessing.parent_process():
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(process: Any) -> None:
  process.join()
  os._exit(1)


class _Workers:
  """The first `count` worker processes that Grain starts after this object is made."""

  def __init__(self, count: int) -> None:
    self._count = count
    self._others = {one.pid for one in multiprocessing.active_children()}
    self._found: dict[int | None, Any] = {}

  def failed(self) -> int | None:
    """The exit code of one that has failed, if one has."""
    if len(self._found) < self._count:  # later ones are another feed's
      for one in multiprocessing.active_children():
        if one.name.startswith(_WORKER) and one.pid not in self._others:
          self._found[one.pid] = one
    codes = [one.exitcode for one in self._found.values()]
    return next((code for code in codes if code), None)

  def end(self) -> None:
    """Ends those that are left."""
    for one in self._found.values():
      one.kill()
      one.join(_PATIENCE)


class _Watched(Iterator[Any]):
  """An iterator of Grain's over worker processes, which does not outwait them.

  A thread of its own waits for Grain, since that may be for ever.  It holds no reference to this
  object: with the last one outside, thread and workers end.
  """

  def __init__(self, source: Iterator[Any], num_workers: int):
    self._found: queue.Queue = queue.Queue(64)
    self._workers = _Workers(num_workers)
    self._over = threading.Event()
    weakref.finalize(self, self._over.set)
    what = (source, self._found, self._workers, self._over)
    threading.Thread(target=_fetch, args=what, daemon=True).start()

  def __next__(self) -> Any:
    dead_since = None
    while True:
      try:
        kind, value = self._found.get(timeout=1.0)
      except queue.Empty:
        dead_since = None if self._workers.failed() is None else dead_since or time.monotonic()
        if dead_since is not None and time.monotonic() - dead_since > _PATIENCE:
          raise self._end() from None
        continue
      if kind == "element":
        return value
      if isinstance(value, errors.UserError) or not (
        self._workers.failed() or _CRASHED in str(value)
      ):
        raise value
      raise self._end() from None

  def _end(self) -> _Died:
    code = self._workers.failed()
    self._over.set()
    self._workers.end()
    return _Died("killed" if code == -9 else f"exit code {code}")


def _fetch(source: Any, found: queue.Queue, workers: _Workers, over: threading.Event) -> None:
  """Puts what `source` gives until `over`, and closes it."""
  closed = threading.Event()
  # Before Grain ends its workers as this process exits (priority 1): both at once would collide.
  at_exit = util.Finalize(None, _have_closed, args=(over, closed), exitpriority=2)
  try:
    with contextlib.closing(source):
      _pass_on(source, found, workers, over)
  finally:
    closed.set()
    at_exit.cancel()


def _have_closed(over: threading.Event, closed: threading.Event) -> None:
  over.set()
  closed.wait(_PATIENCE)


def _pass_on(source: Any, found: queue.Queue, workers: _Workers, over: threading.Event) -> None:
  try:
    while not over.is_set():
      _put(found, ("element", next(source)), workers, over)
  except BaseException as error:
    _put(found, ("error", error), workers, over)


def _put(found: queue.Queue, item: Any, workers: _Workers, over: threading.Event) -> None:
  while not over.is_set():
    if found.empty() or found.full():
      workers.failed()  # so that all of them are known
    try:
      return found.put(item, timeout=1.0)
    except queue.Full:
      continue
  return None
