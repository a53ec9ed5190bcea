"""Which devices a plan is for: named ones, or those that are here."""

import math
import os
from typing import NamedTuple

import jax

from flan_tune import chips, efficiency, errors


class Hardware(NamedTuple):
  """Chips of one kind.

  Attributes:
    chip: What one can do.
    count: How many.
    told: Where its FLOP/s are from.
  """

  chip: chips.Chip
  count: int
  told: str


def chosen(name: str | None, count: int | None, *, peak_flops: float | None) -> Hardware:
  """The chips that flags ask for; without a name those that are here.

  Args:
    name: As `chips.find` takes it.
    count: How many; one of a name, all of those here.
    peak_flops: FLOP/s of one device instead of the table's, as PEAK_FLOPS says.

  Raises:
    UserError: No such chip, or the devices here are of no kind that the table has.
  """
  if name is not None:
    found = Hardware(chips.find(name), count or 1, "its data sheet")
  else:
    found = _here(peak_flops)
    if count is not None:
      if not found.chip.kinds:
        raise errors.UserError(
          f"--chips={count}: say of which kind with --chip, one of {', '.join(chips.CHIPS)}"
        )
      found = found._replace(count=count)
  if peak_flops:
    chip = found.chip._replace(flops=float(peak_flops))
    found = found._replace(chip=chip, told="PEAK_FLOPS")
  return found


def _here(peak_flops: float | None) -> Hardware:
  devices = jax.devices()
  kind = devices[0].device_kind
  chip = chips.of_device(kind)
  if chip:
    return Hardware(chip, max(1, len(devices) // chip.per_chip), "its data sheet")
  if devices[0].platform != "cpu":
    raise errors.UserError(
      f"--chip: the devices here are {kind!r}, of which nothing is known; name a kind, one of"
      f" {', '.join(chips.CHIPS)}"
    )
  # The devices of a CPU share its cores and its memory, however many JAX makes of it.  What its
  # memory and its own exchanges take is not known, and counts as nothing.
  share = len(devices)
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // share
  flops = peak_flops or efficiency.measured() / share
  cpu = chips.Chip("cpu", (), flops, memory, math.inf, math.inf, dtype="float32")
  return Hardware(cpu, share, "a matrix product measured now")
