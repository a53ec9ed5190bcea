"""A trace of chosen steps: what the devices and the host did, and when."""

import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import jax

from flan_tune import errors

_FLAG = "--profile"


class Steps(NamedTuple):
  """The steps of a trace, both included."""

  first: int
  last: int


def steps(text: str, *, num_steps: int) -> Steps:
  """Reads FIRST:LAST, or one step.

  Args:
    num_steps: Of the run.

  Raises:
    UserError: It is none, or is not within the run.
  """
  found = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
  if not found:
    raise errors.UserError(f"{_FLAG}={text}: expected FIRST:LAST, two steps, as in 10:12")
  chosen = Steps(int(found[1]), int(found[2] or found[1]))
  if chosen.first < 1:
    raise errors.UserError(f"{_FLAG}={text}: steps count from 1")
  if chosen.last < chosen.first:
    raise errors.UserError(
      f"{_FLAG}={text}: ends before it begins; did you mean {chosen.last}:{chosen.first}?"
    )
  if chosen.last > num_steps:
    raise errors.UserError(
      f"{_FLAG}={text}: the run ends at step {num_steps}; choose earlier steps or raise TRAIN_STEPS"
    )
  return chosen


def of_flag(
  text: str | None,
  folder: pathlib.Path,
  *,
  begun: int,
  last: int,
  say: Callable[[str], None] = print,
) -> "Profile":
  """The hook for what the flag says; without a flag one that is never due.

  Args:
    text: As `steps` reads it.
    folder: Of the run; traces are in its folder `profile`.
    begun: The step that the run goes on from.
    last: Of the run.
    say: As `Profile` has it.
  """
  chosen = None if text is None else steps(text, num_steps=last)
  if chosen and begun >= last:
    raise errors.UserError(
      f"{_FLAG}={text}: the run has ended at step {begun}; raise TRAIN_STEPS to have more to trace"
    )
  return Profile(chosen, start=begun, folder=folder / "profile", say=say)


class Profile:
  """A hook that traces chosen steps into a folder; a context manager around the loop.

  The trace is closed whatever ends the loop.  A signal that comes within it, or a training that
  ends early, cuts it short.

  Args:
    chosen: From `steps`; None for no trace.
    start: The step that the run goes on from.
    folder: Gets the trace in a folder of its own, named after the time.
    say: Told where the trace is.

  Raises:
    UserError: The first step has been done before.
  """

  def __init__(
    self, chosen: Steps | None, *, start: int, folder: pathlib.Path, say: Callable[[str], None]
  ):
    if chosen and chosen.first <= start:
      raise errors.UserError(
        f"{_FLAG}={chosen.first}:{chosen.last}: the run goes on after step {start}; choose steps"
        f" from {start + 1}"
      )
    self._chosen, self._start = chosen, start
    self._folder, self._say = folder, say
    self._tracing = False

  def due(self, step: int) -> bool:
    """Before the first step and after the last."""
    return self._chosen is not None and step in (self._chosen.first - 1, self._chosen.last)

  def __call__(self, step: int, state: Any, metrics: Mapping[str, Any], batch: Any) -> None:
    """Begins or ends the trace once the device has done `step`."""
    if self._chosen is None:
      return
    jax.block_until_ready(metrics)
    if step == self._chosen.first - 1:
      self._begin()
    elif step >= self._chosen.last:
      self._end(f"steps {self._chosen.first} to {self._chosen.last}")

  def __enter__(self) -> Self:
    if self._chosen and self._chosen.first == self._start + 1:  # no hook is called before it
      self._begin()
    return self

  def __exit__(self, *_: object) -> None:
    if self._chosen:
      self._end(f"steps from {self._chosen.first} on, cut short")

  def _begin(self) -> None:
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(str(self._folder))
    except (OSError, RuntimeError) as error:
      self._say(f"{_FLAG}: no trace is taken: {error}.")
      return
    self._tracing = True

  def _end(self, what: str) -> None:
    if not self._tracing:
      return
    self._tracing = False
    try:
      jax.profiler.stop_trace()
    except (OSError, RuntimeError) as error:
      self._say(f"{_FLAG}: the trace could not be written to {self._folder}: {error}.")
      return
    found = max(self._folder.rglob("*.trace.json.gz"), default=None)
    self._say(
      f"Trace of {what}: {found or self._folder}; open it at ui.perfetto.dev, or the folder with"
      f" tensorboard --logdir {self._folder}."
    )
