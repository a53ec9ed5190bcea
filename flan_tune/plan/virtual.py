"""Compiles a step in a process of its own, with as many virtual devices as a plan wants."""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from flan_tune import config
from flan_tune.plan import request

MEMORY = 3 * 2**30  # bytes that a process may take; .7 GiB do for 540B on 512 devices
_LOOK = 0.5  # seconds between looks at its time and memory
# A busy machine may take so many times longer than the processor's time that a process has.
_PATIENCE = 4
# Its program is not run: what makes one fast is left out, and what a CPU would rather have in
# float32 stays in the 16 bits of an accelerator.
_XLA = (
  "--xla_backend_optimization_level=0",
  "--xla_disable_hlo_passes=change-op-data-type,all-reduce-promotion",
)


class Failed(Exception):
  """The step was not compiled; says why in a few words."""


def measured(run: config.Run, *, devices: int, seconds: float) -> dict[str, Any]:
  """What `plan.step.measure` says of a run on so many devices.

  Args:
    run: The configuration.
    devices: How many.
    seconds: Of the processor's time; a few times as many may go by where others want it, too.

  Raises:
    Failed: Not within `seconds` or the memory it may take, or the compiler refused.
  """
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": " ".join([f"--xla_force_host_platform_device_count={devices}", *_XLA]),
  }
  with subprocess.Popen(
    [sys.executable, "-m", "flan_tune.plan.step"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment,
  ) as process:
    try:
      answer, complaint = _watched(process, json.dumps(request.to_json(run)), seconds)
    finally:
      process.kill()
  if process.returncode < 0:
    raise Failed(f"compiling was ended by signal {-process.returncode}")
  if process.returncode:
    last = complaint.strip().splitlines()[-1:] or [f"code {process.returncode}"]
    raise Failed(f"compiling failed: {last[0][:200]}")
  return json.loads(answer)


def _watched(process: subprocess.Popen[str], question: str, seconds: float) -> tuple[str, str]:
  """What a process says on stdout and stderr, if it ends in time and takes no more than MEMORY."""
  began = time.monotonic()
  told: str | None = question
  while True:
    try:
      return process.communicate(told, timeout=min(_LOOK, seconds))
    except subprocess.TimeoutExpired:
      told = None  # is on its way
    gone = time.monotonic() - began
    if gone >= _PATIENCE * seconds or _processor_time(process.pid, gone) >= seconds:
      raise Failed(f"compiling took more than {seconds:.0f} s")
    if _memory_of(process.pid) > MEMORY:
      raise Failed(f"compiling took more than {MEMORY / 2**30:.0f} GiB")


def _processor_time(process: int, gone: float) -> float:
  """Seconds; `gone` where the system does not tell, as outside Linux."""
  try:
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
  except (OSError, IndexError, ValueError):
    return gone


def _memory_of(process: int) -> int:
  """Resident bytes; 0 where the system does not tell, as outside Linux."""
  try:
    pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
  except (OSError, IndexError):
    return 0
  return int(pages) * os.sysconf("SC_PAGE_SIZE")
