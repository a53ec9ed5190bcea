"""Rows of a batch: which ones a process needs, and how they get onto the devices."""

import bisect
import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from flan_tune.partition.placement import BATCH


def rows_of(mesh: Mesh, batch_size: int) -> list[int]:
  """Numbers of the global batch's rows that lie on devices of this process, ascending.

  Processes whose devices differ only along `model` need the same ones.
  """
  return _rows_under(NamedSharding(mesh, BATCH), batch_size)


def _rows_under(sharding: NamedSharding, batch_size: int) -> list[int]:
  cuts = sharding.addressable_devices_indices_map((batch_size,)).values()
  return sorted({row for cut in cuts if cut for row in range(*cut[0].indices(batch_size))})


def place(array: Any, sharding: Any) -> jax.Array:
  """An array that every process has, in host memory or on a device of its own, where it goes.

  `jax.device_put` would first compare the copies of several processes: on the devices, whole.

  Args:
    array: Of any shape.
    sharding: None for the default device.
  """
  spread = isinstance(array, jax.Array) and not array.is_fully_addressable
  if sharding is None or sharding.is_fully_addressable or spread:
    return jax.device_put(array, sharding)
  host = np.asarray(array)
  return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def put(arrays: Any, sharding: Any, *, batch_size: int | None = None) -> Any:
  """Host arrays as global arrays, whose first dimension is the batch's rows.

  Args:
    arrays: A tree of NumPy arrays; of each, this process has all rows or, in order, those that
      `rows_of` names.
    sharding: Of every array.
    batch_size: Rows of the whole batch; None where every process has all of them.
  """
  if sharding.is_fully_addressable:  # one process
    return jax.device_put(arrays, sharding)
  place = functools.partial(_assemble, sharding=sharding, batch_size=batch_size)
  return jax.tree.map(place, arrays)


def _assemble(array: np.ndarray, *, sharding: NamedSharding, batch_size: int | None) -> jax.Array:
  count = len(array) if batch_size is None else batch_size
  rows = range(count) if len(array) == count else _rows_under(sharding, count)
  if len(array) != len(rows):
    raise ValueError(f"{len(array)} rows of a batch of {count}; this process needs {len(rows)}")

  def cut(index: Any) -> np.ndarray:
    start, stop, _ = index[0].indices(count)
    first = bisect.bisect_left(rows, start)
    return array[(slice(first, first + stop - start), *index[1:])]

  # As explicit as `device_put`, which the loop's guard lets through.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.make_array_from_callback((count, *array.shape[1:]), sharding, cut)
