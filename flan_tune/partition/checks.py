"""Mistakes of mesh, batch and microbatches, told before anything is compiled."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.partition import placement


class Dimension(NamedTuple):
  """A dimension of activations.

  Attributes:
    name: Its logical axis, a key of `RULES`.
    title: What a user calls it.
  """

  name: str
  title: str
  size: int


def check(
  mesh: Any,
  shapes: Any,
  axes: placement.Table,
  *,
  batch_size: int,
  microbatches: int = 1,
  dimensions: Iterable[Dimension] = (),
) -> None:
  """Raises UserError unless mesh, model and batch fit each other; compiles nothing.

  Args:
    mesh: As `make_mesh` makes it (which has refused what does not fit the devices), or abstract.
    shapes: The network's parameters.
    axes: The network's table.
    batch_size: Rows of a batch.
    microbatches: Parts in which its gradients are computed.
    dimensions: Of activations, as `layout.dimensions` lists them.
  """
  placement.shardings(shapes, axes, mesh)
  for one in dimensions:
    placement.divide(one.size, one.name, mesh, title=f"{one.title} = {one.size}")
  check_batch(batch_size, mesh, microbatches=microbatches)


def check_batch(batch_size: int, mesh: Any, *, microbatches: int = 1) -> None:
  """Raises UserError unless each microbatch divides over the `data` and `fsdp` axes."""
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  told = f"data={mesh.shape['data']} x fsdp={mesh.shape['fsdp']}"
  if batch_size % ways:
    raise errors.UserError(
      f"BATCH_SIZE = {batch_size} does not divide over {told}; use a multiple of {ways}"
    )
  if isinstance(microbatches, bool) or not isinstance(microbatches, int) or microbatches < 1:
    raise errors.UserError(f"MICROBATCHES = {microbatches!r} is not a whole number of 1 or more")
  if batch_size % (microbatches * ways):
    rows = batch_size // ways
    fits = " or ".join(str(n) for n in range(1, rows + 1) if rows % n == 0)
    raise errors.UserError(
      f"MICROBATCHES = {microbatches}: BATCH_SIZE = {batch_size} is {rows} rows for each place of"
      f" {told}, so MICROBATCHES can be {fits}"
    )
