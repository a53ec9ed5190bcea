"""Several processes that train one model: who they are, what they agree on, how they end.

One process per host (or per accelerator), all started with the same command and each with its
number.  With one process everything here is trivial and costs nothing.

with hosts.joined(coordinator="node0:9999", processes=2, process=1):
  ...                                            # JAX now sees the devices of both
  hosts.everyone({"tokens": 7})                  # [{"tokens": 7}, {"tokens": 9}]
"""

import contextlib
import dataclasses
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax

from flan_tune import errors
from flan_tune.hosts import place as place_lib
from flan_tune.hosts.channel import Channel

# A process that ends because another one is gone; sysexits' EX_UNAVAILABLE.  The same command goes
# on from the last checkpoint.
GONE = 69
_USER_ERROR, _INTERRUPTED = 2, 130  # as the command line has them

# How collectives fail when another process is gone, before anybody has told this one.
_BROKEN = re.compile(r"gloo|nccl|collective|unavailable|connection|socket|peer", re.IGNORECASE)


class Agreed(Exception):
  """An early end in good order, which all processes come to alike."""


def _unsaid() -> int | None:
  raise LookupError("nobody has said how to find it")


@dataclasses.dataclass
class _Process:
  """This process among others; `channel` is None while it is alone."""

  channel: Channel | None = None
  resumes: Callable[[], int | None] = _unsaid
  silence: float = 0.0


_this = _Process()


def count() -> int:
  """How many processes take part."""
  return 1 if _this.channel is None else _this.channel.place.processes


def number() -> int:
  """Which one this is."""
  return 0 if _this.channel is None else _this.channel.place.process


def is_first() -> bool:
  """Whether this is the process that writes reports and speaks for all."""
  return number() == 0


def name_of(process: int) -> str:
  """The host that a process is on."""
  return socket.gethostname() if _this.channel is None else _this.channel.names[process]


def everyone(value: Any) -> list[Any]:
  """All processes' values (JSON), in their order.  Each must call this as often as the others."""
  return [value] if _this.channel is None else _this.channel.everyone(value)


def ask_to_stop() -> None:
  """Has all processes stop after a step they agree on: `may_begin` says no after it."""
  if _this.channel is not None:
    _this.channel.ask_to_stop()


def may_begin(step: int) -> bool:
  """Whether to do `step`, which is the next one; the same answer in all processes.

  Costs a lock, and a moment's waiting for the others once somebody has asked to stop.
  """
  return True if _this.channel is None else _this.channel.may_begin(step)


def resumes_from(find: Callable[[], int | None]) -> None:
  """Says how to find the step that a run resumes from, for the sentence about a host that died."""
  _this.resumes = find


def start(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
  *,
  arrival: float | None = None,
  silence: float | None = None,
) -> None:
  """Joins the other processes, if there are any; before JAX is used.

  Args:
    coordinator: HOST:PORT at which process 0 listens, for JAX's traffic, too.
    processes: How many there are.
    process: Which one this is, from 0.  Arguments left out are found as `place.find` says.
    arrival: Seconds for all to come; $FLAN_TUNE_ARRIVAL_SECONDS, or 300.
    silence: Seconds without a sign of life after which a host is taken for dead;
      $FLAN_TUNE_SILENCE_SECONDS, or 60.  A process that is killed is noticed at once.

  Raises:
    UserError: A mistake in these, or the others do not come.
  """
  place = place_lib.find(coordinator, processes, process)
  if place is None:
    return
  arrival = arrival or _seconds("FLAN_TUNE_ARRIVAL_SECONDS", 300.0)
  silence = silence or _seconds("FLAN_TUNE_SILENCE_SECONDS", 60.0)
  _this.silence = silence
  channel = Channel(place, arrival=arrival, silence=silence, ended=_end)
  os.environ.setdefault("no_grpc_proxy", "127.0.0.1")
  jax.config.update("jax_check_proxy_envs", False)  # its service is reached through this host
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  # It would take SIGTERM from `train.stopping`.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      channel.jax_address,
      place.processes,
      place.process,
      local_device_ids=place.devices,
      cluster_detection_method="deactivate",
      coordinator_bind_address=channel.jax_address if place.process == 0 else None,
      initialization_timeout=int(arrival) + 1,
      # Late enough for the channel to be first: JAX ends processes with a stack trace.
      heartbeat_timeout_seconds=int(2 * silence) + 60,
      shutdown_timeout_seconds=60,
    )
  except RuntimeError as error:
    channel.fail("JAX could not be started", GONE)
    raise errors.UserError(f"jax.distributed: {str(error).splitlines()[0]}") from None
  _hush()
  _this.channel = channel


def _hush() -> None:
  """Keeps what C++ prints off our standard output: Gloo reports every connection there."""
  with contextlib.suppress(OSError, ValueError):  # not a file
    if sys.stdout.fileno() == 1:
      sys.stdout.flush()
      kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, 1)
      os.close(nowhere)
      encoding = sys.stdout.encoding
      sys.stdout = os.fdopen(kept, "w", buffering=1, encoding=encoding, errors="replace")


def finish() -> None:
  """Ends in order, when all processes have come so far."""
  if (channel := _this.channel) is None:
    return
  channel.everyone(None)
  jax.distributed.shutdown()
  channel.everyone(None)
  channel.leave()
  _this.channel = None


@contextlib.contextmanager
def joined(
  coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> Iterator[None]:
  """Works together with the other processes; what ends one ends all.

  Arguments and errors are those of `start`.  Among several processes an error within, unless it is
  `Agreed`, does not come out: it is told, here and to the others, and this process ends with its
  exit code.
  """
  start(coordinator, processes, process)
  try:
    yield
  except Agreed:
    finish()
    raise
  except BaseException as error:
    if _this.channel is None:
      raise
    _fail(_this.channel, error)
  finish()


def _fail(channel: Channel, error: BaseException) -> None:
  """Ends this process for its own error, or as another's death demands."""
  if isinstance(error, Exception) and not isinstance(error, errors.UserError):
    # The death of another process shows here first as a broken connection.
    time.sleep(_this.silence * 1.5 if _BROKEN.search(str(error)) else 1.0)
  sentence, code = str(error), 1
  if isinstance(error, errors.UserError):
    code = _USER_ERROR
  elif isinstance(error, KeyboardInterrupt):
    sentence, code = "interrupted", _INTERRUPTED
  elif isinstance(error, SystemExit):
    sentence, code = f"exit {error.code}", error.code if isinstance(error.code, int) else 1
  else:
    sentence = f"{type(error).__name__}: {(str(error) or '?').splitlines()[0]}"
    traceback.print_exception(error)
  channel.fail(sentence, code)
  _exit(sentence, code)


_ending = threading.Lock()


def _end(sentence: str, code: int | None) -> None:
  """Ends this process because of another one; called in a thread."""
  if code is not None:
    _exit(sentence, code)
  where = ["from its last checkpoint"]

  def ask() -> None:
    with contextlib.suppress(Exception):
      step = _this.resumes()
      where[0] = "from its beginning" if step is None else f"from step {step}"

  asking = threading.Thread(target=ask, daemon=True)
  asking.start()
  asking.join(5.0)  # of a disk that hangs, too
  _exit(
    f"{sentence}; training stops, and the same command goes on {where[0]}, on as many hosts as you"
    " like",
    GONE,
  )


def _exit(sentence: str, code: int) -> None:
  """Says why and ends, without the ends of JAX and its threads, which would wait for the others."""
  if not _ending.acquire(blocking=False):
    time.sleep(60)  # another thread is ending this process
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  show = "\033[?25h" if sys.stderr.isatty() else ""  # a progress bar may have hidden the cursor
  with contextlib.suppress(Exception):
    print(f"{show}flan-tune: {sentence}", file=sys.stderr, flush=True)
  os._exit(code)


def _seconds(variable: str, default: float) -> float:
  text = os.environ.get(variable)
  try:
    seconds = default if not text else float(text)
  except ValueError:
    seconds = 0.0
  if not seconds > 0:
    raise errors.UserError(f"{variable} = {text!r}: expected seconds, above 0")
  return seconds
