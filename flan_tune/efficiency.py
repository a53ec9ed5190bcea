"""How well a run uses its machine: utilisation, real tokens a second, memory of the devices.

Utilisation is that of Chowdhery et al. 2022, section 4.1: operations that the model needs, nothing
computed again counted, over what the devices could do in the same time.
"""

import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from flan_tune import chips, flops

_WIDTH = 1024  # of the measured product: large enough for full speed, 2 GFLOP
_MEASURING = 0.15  # seconds


class Peak(NamedTuple):
  """What the devices of a run could do.

  Attributes:
    flops: FLOP/s of all of them together.
    source: Where the figure is from, in words.
  """

  flops: float
  source: str


class Memory(NamedTuple):
  """Bytes in use now and at most so far, of the fullest device of this process."""

  used: int | None
  peak: int | None


class Measured(Protocol):
  """What `train.recorder.Interval` says of some steps."""

  @property
  def steps(self) -> int:
    """How many."""
    ...

  @property
  def rows(self) -> int:
    """Of their batches, in this process."""
    ...

  @property
  def seconds(self) -> Mapping[str, float]:
    """By kind."""
    ...

  @property
  def training_seconds(self) -> float:
    """Of steps and what they waited for."""
    ...

  @property
  def work(self) -> flops.Work:
    """Real tokens and pairs in these rows."""
    ...

  @property
  def slots(self) -> flops.Work:
    """All that was computed for these rows."""
    ...


class Meter:
  """Turns what was recorded into what is logged.

  Args:
    config: Sizes of the network.
    batch_size: Rows of a batch, of all processes together: each counts its own, and takes those
      of the others for alike.
    peak: From `peak`; None leaves utilisation out.
    trained_share: Share of the parameters that learn.
  """

  def __init__(self, config: Any, *, batch_size: int, peak: Peak | None, trained_share: float = 1):
    self._config = config
    self._batch_size = batch_size
    self._peak = peak
    self._share = trained_share

  @property
  def source(self) -> str:
    """What utilisation is measured against, in words."""
    return self._peak.source if self._peak else "unknown; PEAK_FLOPS would say it"

  def record(self, interval: Measured) -> dict[str, float]:
    """The figures of some steps by their names in metrics.jsonl.

    Times are seconds by kind.  The rates are over the time of steps and the data they waited for:
    how long evaluating, saving and compiling take says nothing of them.
    """
    seconds = max(interval.training_seconds, 1e-9)
    scale = interval.steps * self._batch_size / max(interval.rows, 1)
    record = {"tokens_per_second": scale * interval.work.tokens / seconds}
    if self._peak:
      operations = functools.partial(flops.training, self._config, trained_share=self._share)
      most = self._peak.flops * seconds / scale
      record["utilisation"] = operations(interval.slots) / most
      record["useful_utilisation"] = operations(interval.work) / most
    memory = memory_of(jax.local_devices())
    for name, value in (
      ("device_memory_bytes", memory.used),
      ("device_memory_peak_bytes", memory.peak),
    ):
      if value is not None:
        record[name] = value
    return record | {f"seconds_{kind}": value for kind, value in interval.seconds.items()}


def peak(stated: float | None = None, devices: Sequence[Any] | None = None) -> Peak | None:
  """What the devices could do: as stated, by the table of chips, or measured on a CPU.

  None for an accelerator that the table lacks; then PEAK_FLOPS says it.

  Args:
    stated: PEAK_FLOPS, of one device.
    devices: Of all processes; by default all there are.
  """
  devices = jax.devices() if devices is None else devices
  first, count = devices[0], len(devices)
  if stated:
    return Peak(stated * count, f"{count} x {stated:.4g} FLOP/s, as PEAK_FLOPS says")
  if chip := chips.of_device(first.device_kind):
    told = f"{count} x {chip.flops:.4g} FLOP/s ({chip.dtype}) of {chip.name} by its data sheet"
    return Peak(chip.flops * count, told)
  if first.platform != "cpu":
    return None
  # The devices of a CPU share its cores, however many JAX makes of it.
  hosts = len({device.process_index for device in devices})
  told = f"{hosts} x {measured():.4g} FLOP/s of a float32 matrix product measured at the start"
  return Peak(measured() * hosts, told)


@functools.cache
def measured() -> float:
  """FLOP/s of this machine's CPU in float32: the best of some products, once a process."""
  with jax.transfer_guard("allow"), jax.default_device(jax.local_devices(backend="cpu")[0]):
    one = jnp.ones((_WIDTH, _WIDTH), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(one, one).block_until_ready()
    best, until = float("inf"), time.monotonic() + _MEASURING
    while (begun := time.monotonic()) < until:
      product(one, one).block_until_ready()
      best = min(best, time.monotonic() - begun)
  return 2 * _WIDTH**3 / best


def memory_of(devices: Sequence[Any]) -> Memory:
  """Of the fullest device; where devices do not say, as CPUs, of this process as a whole."""
  found = [stats for device in devices if (stats := device.memory_stats())]
  if not found:
    return Memory(_resident(), _most_resident())
  most = lambda key: max((stats[key] for stats in found if key in stats), default=None)
  return Memory(most("bytes_in_use"), most("peak_bytes_in_use"))


def _resident() -> int | None:
  return _status("VmRSS")


def _most_resident() -> int | None:
  return _status("VmHWM")


def _status(key: str) -> int | None:
  """A size of this process in bytes, where the system is Linux."""
  try:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  except OSError:
    return None
  found = next((line for line in lines if line.startswith(f"{key}:")), None)
  return int(found.split()[1]) * 1024 if found else None
