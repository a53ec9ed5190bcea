"""The hub: where all processes of a run meet, a thread of the first one.

Every process, the first included, keeps a connection to it.  The kernel closes that of a process
that dies, so the hub knows at once and tells the others; a host that loses power or its network
stays silent, and is taken for dead after a time.  JAX's coordination service is reached through
the same port.
"""

import asyncio
import contextlib
import dataclasses
from typing import Any

from flan_tune.hosts import wire


@dataclasses.dataclass
class _Member:
  """A process that has come."""

  name: str
  writer: asyncio.StreamWriter
  leaving: bool = False
  gone: bool = False
  quiet: int = 0  # beats since its last message


class Hub:
  """Serves the connections of a run's processes; everything happens in one event loop.

  Args:
    processes: How many belong to the run.
    silence: Seconds without a sign of life after which a process is taken for dead.
    jax_port: Where JAX's coordination service listens, on this host.
  """

  def __init__(self, processes: int, *, silence: float, jax_port: int):
    self._processes = processes
    self._silence = silence
    self._jax_port = jax_port
    self._members: dict[int, _Member] = {}
    self._values: dict[int, dict[int, Any]] = {}
    self._begun: dict[int, int] = {}
    self._asked = False

  async def serve(self, host: str, port: int) -> asyncio.Server:
    """Begins to listen.

    Raises:
      OSError: It cannot, there.
    """
    server = await asyncio.start_server(self._accept, host, port, limit=wire.LINE)
    self._beating = asyncio.ensure_future(self._beat())  # the loop itself holds tasks weakly
    return server

  async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
      first = await reader.read(1)
      if first == b"{":  # our messages are JSON objects, JAX's begin with PRI
        await self._greet(reader, writer)
      else:
        await wire.relay(reader, writer, "127.0.0.1", self._jax_port, begun=first)

  async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    message = await wire.receive(reader, begun=b"{")
    refused = self._refused(message) if message else "no greeting"
    if message is None or refused:
      writer.write(wire.line({"refused": refused}))
      return
    process = message["hello"]
    self._members[process] = _Member(message["name"], writer)
    if len(self._members) == self._processes:
      names = [self._members[k].name for k in range(self._processes)]
      self._tell({"welcome": names})
    await self._attend(process, reader)

  def _refused(self, hello: dict[str, Any]) -> str | None:
    """Why a process may not take part."""
    process, processes = hello["hello"], hello["processes"]
    if processes != self._processes:
      return (
        f"--processes {processes} (or JAX_NUM_PROCESSES): process 0 was started with"
        f" {self._processes}; give all of them the same number"
      )
    if process in self._members:
      return (
        f"--process {process} (or JAX_PROCESS_ID): is there already, on host"
        f" {self._members[process].name}; give every process a number of its own"
      )
    return None

  async def _attend(self, process: int, reader: asyncio.StreamReader) -> None:
    member = self._members[process]
    while (message := await wire.receive(reader)) is not None:
      member.quiet = 0
      self._take(process, message)
    member.gone = True
    self._lose(process, "its connection was closed")

  def _lose(self, process: int, why: str) -> None:
    member = self._members[process]
    if not member.leaving:
      member.leaving = True
      self._tell({"dead": process, "name": member.name, "why": why}, but=process)

  def _take(self, process: int, message: dict[str, Any]) -> None:
    match message:
      case {"value": number, "of": value}:
        found = self._values.setdefault(number, {})
        found[process] = value
        if len(found) == self._processes:
          del self._values[number]
          self._tell({"values": number, "of": [found[k] for k in range(self._processes)]})
      case {"stop": _} if not self._asked:
        self._asked = True
        self._tell({"ask": True})
      case {"begun": step}:
        self._begun[process] = step
        if len(self._begun) == self._processes:
          self._tell({"decided": max(self._begun.values())})
      case {"fault": sentence, "code": code}:
        member = self._members[process]
        member.leaving = True
        told = {"ended": process, "name": member.name, "sentence": sentence, "code": code}
        self._tell(told, but=process)
        member.writer.write(wire.line({"noted": True}))
      case {"bye": _}:
        self._members[process].leaving = True
        # The hub goes with the first process, so that one is the last to leave.
        if all(one.leaving for one in self._members.values()):
          self._tell({"noted": True})
        elif process:
          self._members[process].writer.write(wire.line({"noted": True}))

  def _tell(self, message: dict[str, Any], *, but: int | None = None) -> None:
    line = wire.line(message)
    for process, one in self._members.items():
      if process != but and not one.gone:
        one.writer.write(line)

  async def _beat(self) -> None:
    while True:
      await asyncio.sleep(self._silence / wire.BEATS)
      self._tell({"beat": True})
      for process, member in list(self._members.items()):
        # Beats are counted, not seconds: while this process is held up itself, none come in.
        member.quiet += 1
        if member.quiet > wire.BEATS:
          self._lose(process, f"no sign of life for {self._silence:g} seconds")
