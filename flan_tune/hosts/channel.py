"""A process's connection to the hub, kept by a thread of its own, whatever the others do."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from flan_tune import errors
from flan_tune.hosts import hub, wire
from flan_tune.hosts.place import Place

# What goes wrong with connections is told by this module, in sentences.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
_NOTE_SECONDS = 5.0  # for the others to hear of this one's end


class Channel:
  """What this process and the others tell each other.

  Args:
    place: Of this process.
    arrival: Seconds to wait for all processes to come.
    silence: Seconds without a sign of life after which one is taken for dead.
    ended: Called in the channel's thread when another process has died or failed, with a sentence
      about it and its exit code, or None if it died.

  Attributes:
    names: Of the hosts, by process.
    jax_address: Where this process reaches JAX's coordination service.
  """

  def __init__(
    self,
    place: Place,
    *,
    arrival: float,
    silence: float,
    ended: Callable[[str, int | None], None],
  ):
    self.place = place
    self.names: list[str] = []
    self._arrival = arrival
    self._silence = silence
    self._ended = ended
    self._rounds = itertools.count()
    self._answers: dict[int, concurrent.futures.Future] = {}
    self._welcome: concurrent.futures.Future = concurrent.futures.Future()
    self._noted = threading.Event()
    self._servers: list[asyncio.Server] = []
    self._quiet = 0
    self._leaving = False
    self._lock = threading.Lock()
    self._begun = 0
    self._asked = False
    self._decided: concurrent.futures.Future = concurrent.futures.Future()
    self._loop = asyncio.new_event_loop()
    self._thread = threading.Thread(target=self._loop.run_forever, name="hosts", daemon=True)
    self._thread.start()
    try:
      self._join()
    except BaseException:
      self.close()
      raise

  def everyone(self, value: Any) -> list[Any]:
    """The values of all processes, in their order; each calls this as often as the others do."""
    number, answer = next(self._rounds), concurrent.futures.Future()
    self._answers[number] = answer
    self._send({"value": number, "of": value})
    return answer.result()

  def ask_to_stop(self) -> None:
    """Has all processes stop after a step that they agree on."""
    self._send({"stop": True})

  def may_begin(self, step: int) -> bool:
    """Whether `step` is to be done, too; waits while the last one is being agreed on."""
    with self._lock:
      if not self._asked:
        self._begun = step
        return True
    return step <= self._decided.result()

  def fail(self, sentence: str, code: int) -> None:
    """Tells the others that this process ends, and why; returns when they know."""
    self._leaving = True
    self._send({"fault": sentence, "code": code})
    self._noted.wait(_NOTE_SECONDS)

  def leave(self) -> None:
    """Says farewell: the end of this process is no fault."""
    self._leaving = True
    self._send({"bye": True})
    self._noted.wait(_NOTE_SECONDS)
    self.close()

  def close(self) -> None:
    """Closes all connections; to the others this looks like a death unless `leave` was called."""
    self._leaving = True
    self._wait(self._hang_up())
    self._loop.call_soon_threadsafe(self._loop.stop)
    self._thread.join()
    self._loop.close()

  def _join(self) -> None:
    place = self.place
    if place.process:
      # JAX's coordination service listens beside process 0; this relay and the hub lead there.
      server = self._wait(asyncio.start_server(self._relay, "127.0.0.1", 0))
      jax_port = server.sockets[0].getsockname()[1]
    else:
      jax_port = _free_port()
      gathering = hub.Hub(place.processes, silence=self._silence, jax_port=jax_port)
      try:
        server = self._wait(gathering.serve("", place.port))
      except OSError as error:
        raise errors.UserError(
          f"--coordinator {place.host}:{place.port}: process 0 cannot listen there"
          f" ({error.strerror}); choose another port"
        ) from None
    self._servers.append(server)
    self.jax_address = f"127.0.0.1:{jax_port}"
    self._wait(self._open(time.monotonic() + self._arrival))
    try:
      self._welcome.result(self._arrival)
    except TimeoutError:
      raise errors.UserError(
        f"--processes {place.processes}: not all have come to {place.host}:{place.port} within"
        f" {self._arrival:g} seconds; start the missing ones, or give their true number"
      ) from None

  async def _open(self, deadline: float) -> None:
    host = "127.0.0.1" if self.place.process == 0 else self.place.host
    while True:
      try:
        connecting = asyncio.open_connection(host, self.place.port, limit=wire.LINE)
        reader, self._writer = await asyncio.wait_for(connecting, deadline - time.monotonic())
        break
      except OSError as error:
        if time.monotonic() > deadline:
          raise errors.UserError(
            f"--coordinator {host}:{self.place.port}: not reached within {self._arrival:g}"
            f" seconds ({str(error) or 'no answer'}); is process 0 running there?"
          ) from None
        await asyncio.sleep(0.2)
    hello = {"hello": self.place.process, "processes": self.place.processes}
    self._writer.write(wire.line(hello | {"name": socket.gethostname()}))
    self._tasks = [asyncio.ensure_future(self._listen(reader)), asyncio.ensure_future(self._beat())]

  async def _hang_up(self) -> None:
    for server in self._servers:
      server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
      task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

  async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
      await wire.relay(reader, writer, self.place.host, self.place.port)

  async def _listen(self, reader: asyncio.StreamReader) -> None:
    with contextlib.closing(self._writer):
      while (message := await wire.receive(reader)) is not None:
        self._quiet = 0
        self._take(message)
    self._hub_lost("its connection was closed")

  def _take(self, message: dict[str, Any]) -> None:
    match message:
      case {"welcome": names}:
        self.names = names
        self._welcome.set_result(None)
      case {"refused": sentence}:
        self._leaving = True
        self._welcome.set_exception(errors.UserError(sentence))
      case {"values": number, "of": values}:
        self._answers.pop(number).set_result(values)
      case {"ask": _}:
        with self._lock:
          self._asked = True
          begun = self._begun
        self._send({"begun": begun})
      case {"decided": step}:
        self._decided.set_result(step)
      case {"noted": _}:
        self._noted.set()
      case {"dead": process, "name": name, "why": why}:
        self._end(f"host {name} (process {process} of {self.place.processes}) is gone: {why}", None)
      case {"ended": process, "name": name, "sentence": sentence, "code": code}:
        where = f"host {name} (process {process} of {self.place.processes})"
        self._end(f"{where} has stopped: {sentence}", code)

  def _end(self, sentence: str, code: int | None) -> None:
    if self._leaving:
      return
    self._leaving = True
    if self.names:
      # A thread: what is done at the end may take a while, and others are told meanwhile.
      threading.Thread(target=self._ended, args=(sentence, code), daemon=True).start()
    else:
      self._welcome.set_exception(errors.UserError(sentence))

  def _hub_lost(self, why: str) -> None:
    name = self.names[0] if self.names else self.place.host
    self._end(f"host {name} (process 0 of {self.place.processes}) is gone: {why}", None)

  async def _beat(self) -> None:
    while True:
      await asyncio.sleep(self._silence / wire.BEATS)
      self._writer.write(wire.line({"beat": True}))
      self._quiet += 1
      if self._quiet > wire.BEATS:
        self._hub_lost(f"no sign of life for {self._silence:g} seconds")

  def _send(self, message: dict[str, Any]) -> None:
    self._loop.call_soon_threadsafe(self._writer.write, wire.line(message))

  def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _free_port() -> int:
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]
