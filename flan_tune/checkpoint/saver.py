"""Checkpoints written while training goes on."""

import concurrent.futures
import copy
import logging
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

from flan_tune import errors
from flan_tune.checkpoint import orbax_io

_log = logging.getLogger(__name__)


class Saver:
  """Writes the checkpoints of one run, one at a time, in the order in which they are asked for.

  Use as a context manager: leaving it waits for what is under way.  In a run of several processes
  every process has one, and calls it at the same steps.

  Args:
    folder: The folder of checkpoints; made if need be.
    keep: How many of the newest checkpoints stay; None: all of them.
    keep_every: Checkpoints whose step is a multiple of this stay, too.
    background: Whether files are written by a thread while training goes on.

  Raises:
    UserError: A number is less than 1.
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    *,
    keep: int | None = None,
    keep_every: int | None = None,
    background: bool = True,
  ):
    orbax_io.check_kept(keep=keep, keep_every=keep_every)
    self._folder = pathlib.Path(folder).absolute()
    self._rules = {"keep": keep, "keep_every": keep_every}
    self._background = background
    self._under_way: concurrent.futures.Future[pathlib.Path] | None = None

  def __enter__(self) -> "Saver":
    return self

  def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
    if error is None:
      self.wait()
      return
    try:
      self.wait()
    except errors.UserError as failure:  # must not hide why the run ends
      _log.error("%s", failure)

  def save(
    self, step: int, state: Any, *, documents: Mapping[str, Any], score: float | None = None
  ) -> None:
    """Begins to write checkpoint `step`; on return, `state` may be donated or overwritten.

    Waits for the save before.  If that one failed, this state is written first, so that nothing
    is lost, and then the failure is raised.

    Args:
      step: Updates done.
      state: A tree of arrays, which may be sharded over processes.
      documents: What JSON can hold, by name; those of the first process are written.
      score: Marks this checkpoint as the best one, once it is whole.

    Raises:
      UserError: The save before this one failed, or without `background` this one.
    """
    documents = copy.deepcopy(dict(documents))  # the feed, too, goes on
    orbax_io.check_documents(documents)
    failed = self._failure()
    save = lambda arrays: orbax_io.save_arrays(
      self._folder, step, arrays, documents=documents, score=score, **self._rules
    )
    if failed is None and self._background:
      arrays = orbax_io.copied(state)
      self._under_way = _in_thread(lambda: save(arrays), name=f"saving checkpoint {step}")
      return
    path = save(orbax_io.shared(state))
    if failed is not None:
      raise errors.UserError(f"{failed}; {path.name} has been saved since") from failed

  def wait(self) -> None:
    """Returns when all files of all saves are whole.

    Raises:
      UserError: The last save failed; told once.
    """
    if failed := self._failure():
      raise failed

  def has_failed(self) -> bool:
    """Whether the last save has failed, so far as is known; `save` and `wait` say how."""
    last = self._under_way
    return last is not None and last.done() and last.exception() is not None

  def _failure(self) -> errors.UserError | None:
    if self._under_way is None:
      return None
    try:
      self._under_way.result()
    except errors.UserError as error:
      return error
    finally:
      if self._under_way.done():  # and not Ctrl-C while waiting
        self._under_way = None
    return None


def _in_thread(act: Any, *, name: str) -> concurrent.futures.Future[pathlib.Path]:
  future = concurrent.futures.Future()

  def work() -> None:
    try:
      future.set_result(act())
    except BaseException as error:
      future.set_exception(error)

  # No daemon: a process that ends in whatever way it can still choose finishes its checkpoint.
  threading.Thread(target=work, name=name, daemon=False).start()
  return future
