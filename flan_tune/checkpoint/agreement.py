"""How the processes of one run agree on a checkpoint, beside what their devices are doing.

They leave each other notes with the coordination service of `jax.distributed`: collectives of the
devices would get in between those of the training step.  With one process, it talks to itself.
"""

import collections
import contextlib
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from flan_tune import errors

# Long enough for the slowest disk; a host that dies is found by the trainer much sooner.
TIMEOUT_SECONDS = 1800.0

_SLICE_SECONDS = 5.0
_numbers: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)


def is_first() -> bool:
  """Whether this is the process that acts for all."""
  return jax.process_index() == 0


class Unanswered(errors.UserError):
  """Another process did not answer in time, or the coordinator is gone."""


class Talk:
  """Notes about one piece of work that all processes do together.

  Args:
    kind: Of work, such as "save"; the first of a kind in one process is the first in all others.
    subject: For what is said when another process does not answer.
  """

  def __init__(self, kind: str, subject: str):
    self._subject = subject
    self._place = f"flan_tune/{kind}/{next(_numbers[kind])}"
    self._notes: dict[str, str] = {}
    self.first = is_first()
    self._alone = jax.process_count() == 1

  def leave(self, note: str, content: Any) -> None:
    """Leaves a note, of what JSON can hold, for all others."""
    text = json.dumps(content)
    if self._alone:
      self._notes[note] = text
      return
    with self._plain_errors():
      _client().key_value_set(f"{self._place}/{note}", text)

  def find(self, note: str, *, of: int = 0, patience: int = 1) -> Any:
    """Waits for a note, which process `of` leaves, for so many times the usual time.

    Raises:
      Unanswered: It did not come.
    """
    if self._alone:
      return json.loads(self._notes[note])
    end = time.monotonic() + patience * TIMEOUT_SECONDS
    while (left := end - time.monotonic()) > 0:
      milliseconds = max(1, int(min(left, _SLICE_SECONDS) * 1000))
      with self._plain_errors(), _no_answer_yet():
        return json.loads(_client().blocking_key_value_get(f"{self._place}/{note}", milliseconds))
    raise Unanswered(
      f"{self._subject}: process {of} did not answer process {jax.process_index()} within"
      f" {patience * TIMEOUT_SECONDS:.0f} s; it may have died, or its disk may hang"
    )

  def report(self, content: Any) -> None:
    """Leaves what this process has to say; the first one, which has no need to, reads `reports`."""
    self.leave(f"report/{jax.process_index()}", content)

  def reports(self) -> list[Any]:
    """What the others have to say, in their order; waits for them."""
    return [self.find(f"report/{k}", of=k) for k in range(1, jax.process_count())]

  def forget(self) -> None:
    """Takes the notes away, when all have read them."""
    if not self._alone:
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_delete(self._place)

  @contextlib.contextmanager
  def _plain_errors(self) -> Iterator[None]:
    try:
      yield
    except jax.errors.JaxRuntimeError as error:
      lost = f"{self._subject}: the coordinator of this run cannot be reached"
      raise Unanswered(f"{lost}: {str(error).splitlines()[0]}") from error


def by_the_first(kind: str, subject: str, act: Callable[[], Any]) -> Any:
  """What `act` gives in the first process, of what JSON can hold, in all; also its `UserError`."""
  talk = Talk(kind, subject)
  if not talk.first:
    told = talk.find("outcome")
    if "error" in told:
      raise errors.UserError(told["error"])
    return told["value"]
  try:
    value = act()
  except errors.UserError as error:
    talk.leave("outcome", {"error": str(error)})
    raise
  except BaseException as error:
    talk.leave("outcome", {"error": f"{subject}: process 0: {error!r}"})
    raise
  talk.leave("outcome", {"value": value})
  return value


def here() -> str:
  """This process, for a message."""
  return f"process {jax.process_index()} ({socket.gethostname()}, {os.getpid()})"


def _client() -> Any:
  return ocp.multihost.get_jax_distributed_client()


@contextlib.contextmanager
def _no_answer_yet() -> Iterator[None]:
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if "DEADLINE_EXCEEDED" not in str(error):
      raise
