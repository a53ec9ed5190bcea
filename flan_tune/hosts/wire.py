"""What goes over the connections between processes: lines of JSON, and JAX's own traffic."""

import asyncio
import contextlib
import json
from typing import Any

LINE = 1 << 30  # bytes of the longest line: the state of a feed of many lanes has some megabytes
BEATS = 6  # signs of life in the time after which silence means death
_CHUNK = 1 << 16


def line(message: dict[str, Any]) -> bytes:
  """A message as it is sent.

  Nobody waits until it has been taken: a host without power takes nothing, and what waits for it
  would not notice that it is silent.  That something cannot be sent is told by reading.
  """
  return json.dumps(message).encode() + b"\n"


async def receive(reader: asyncio.StreamReader, *, begun: bytes = b"") -> dict[str, Any] | None:
  """The next message; None where the other side has closed the connection, or talks nonsense.

  Args:
    begun: What was read of it already.
  """
  try:
    told = begun + await reader.readline()
    return json.loads(told) if told.endswith(b"\n") else None
  except (OSError, ValueError):
    return None


async def relay(
  reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, *, begun=b""
) -> None:
  """Passes a connection on, both ways; `begun` was read of it already.

  When the far end goes, the near end is left waiting: JAX's client aborts its process with a stack
  trace as soon as it sees that the coordinator is gone, before anything can be told or saved.
  """
  try:
    far_reader, far_writer = await asyncio.open_connection(host, port)
  except OSError:
    return
  with contextlib.closing(far_writer):
    far_writer.write(begun)
    back = asyncio.create_task(_pump(far_reader, writer))
    try:
      await _pump(reader, far_writer)
    finally:
      back.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
  with contextlib.suppress(OSError):
    while chunk := await reader.read(_CHUNK):
      with contextlib.suppress(OSError):  # nobody there: read on, until the near end closes
        writer.write(chunk)
        await writer.drain()
