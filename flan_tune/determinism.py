"""Bit-equal results from run to run: what must be set before JAX starts its backends.

CPUs and TPUs need nothing: there XLA adds up in an order that the program and the devices fix.
On GPUs it may add up with atomic operations (in a scatter, the gradient of an embedding), and may
choose the fastest of several kernels by trying them, which can come out differently every time
(openxla/xla: docs/determinism.md).
"""

import os
import shlex

import jax
from jax._src import xla_bridge  # the one place that says whether backends have been started

from flan_tune import errors

# Flag to the ways of writing what it must be.  Every build of XLA knows these, whatever the backend
# (one it does not know would end the process; a test starts one).  The first excludes operations
# without a deterministic implementation, and most autotuning; the second all autotuning.
FLAGS = {"xla_gpu_deterministic_ops": ("true", "1"), "xla_gpu_autotune_level": ("0",)}
_VARIABLE = "XLA_FLAGS"


def require() -> None:
  """Sets XLA's flags for this process and those it starts.

  Raises:
    UserError: XLA_FLAGS says otherwise, or JAX has read it already.
  """
  given = _given()
  for name, allowed in FLAGS.items():
    if given.get(name, allowed[0]) not in allowed:
      raise errors.UserError(
        f"DETERMINISTIC = True: {_VARIABLE} has --{name}={given[name]}, with which runs differ;"
        f" take it out or set it to {allowed[0]}"
      )
  missing = " ".join(f"--{name}={FLAGS[name][0]}" for name in FLAGS if name not in given)
  if missing and _is_too_late():
    raise errors.UserError(
      f"DETERMINISTIC = True: JAX has started its GPUs without the flags for it; set {_VARIABLE} to"
      f" {missing!r} before Python starts"
    )
  if missing:
    os.environ[_VARIABLE] = f"{os.environ.get(_VARIABLE, '')} {missing}".strip()


def _is_too_late() -> bool:
  if not xla_bridge.backends_are_initialized():
    return False
  return any(device.platform in ("gpu", "cuda", "rocm") for device in jax.devices())


def _given() -> dict[str, str]:
  """Flags by name; a switch without a value is true, as XLA has it, and the last one counts."""
  try:
    words = shlex.split(os.environ.get(_VARIABLE, ""))
  except ValueError as error:  # a quotation that does not end
    raise errors.UserError(f"DETERMINISTIC = True: {_VARIABLE} cannot be read: {error}") from None
  if words and not words[0].startswith("-"):
    raise errors.UserError(
      f"DETERMINISTIC = True: {_VARIABLE} names a file, {words[0]!r}; give the flags themselves"
    )
  pairs = (word.removeprefix("--").partition("=") for word in words)
  return {name: (value.lower() if sign else "true") for name, sign, value in pairs}
