"""Lowers and compiles a run's training step for devices that are not there, and measures it.

XLA's CPU compiler lays a program out over any number of virtual devices as the compilers of
accelerators do, with the same partitioner.  Nothing is run.  What it says of temporary arrays is
an upper bound: it fuses less and does not scatter what it has reduced.  Of a step of PaLM 540B on
512 TPU v4 it said 19.9 GiB where TPU's own compiler (libtpu 0.0.42, which takes minutes) said 10.2.

`plan.virtual` starts this module as a process of its own, since the number of virtual devices is
fixed when JAX starts: `python -m flan_tune.plan.step`, a request on stdin, a JSON object on stdout.
"""

import contextlib
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import assembly, config, partition
from flan_tune.models import registry
from flan_tune.plan import exchanges, request
from flan_tune.train import loop
from flan_tune.train import step as step_lib

_GROUPS = 8  # of tasks, whose losses are told apart: no number of them costs anything


class Parts(NamedTuple):
  """What a run's step is made of, without arrays: network, optimiser, and its state as shapes."""

  network: Any
  tx: Any
  state: step_lib.TrainState

  def placed(self, mesh: Any) -> Any:
    """Where each array of the state lies on a mesh of devices, or an abstract one."""
    return partition.shardings(self.state, self.network.axes, mesh)


def parts(run: config.Run) -> Parts:
  """The parts of a run's step."""
  network = registry.build(run.model)
  tx = assembly.make_optimizer(run, network.axes)
  create = functools.partial(step_lib.create, tx=tx, learning=run.optimizer.trainable)
  return Parts(network, tx, jax.eval_shape(create, network.shapes))


def bytes_of(tree: Any, shardings: Any) -> int:
  """What one device holds of a tree of shapes."""
  pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
  return sum(
    math.prod(where.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
    for leaf, where in pairs
  )


def bytes_of_device(run: config.Run, parts: Parts, mesh: Any) -> dict[str, int]:
  """What one device holds of parameters, optimiser's state, gradients and the batch."""
  state, placed = parts.state, parts.placed(mesh)
  rows = assembly.batch_shapes(run, parts.network.features)
  rows_placed = dict.fromkeys(rows, jax.sharding.NamedSharding(mesh, partition.BATCH))
  return {
    "parameters": bytes_of((state.params, state.frozen), (placed.params, placed.frozen)),
    "optimizer": bytes_of(state.opt_state, placed.opt_state),
    "gradients": bytes_of(state.params, placed.params),
    "batch": bytes_of(rows, rows_placed),
  }


def measure(run: config.Run) -> dict[str, Any]:
  """Compiles the step for all of JAX's devices: bytes of one device, and its exchanges."""
  if run.model.dtype == "bfloat16":
    # A CPU's program holds bfloat16 as float32, twice its size, and float16, which no run may
    # have, as it is.
    model = dataclasses.replace(run.model)
    object.__setattr__(model, "dtype", "float16")
    run = dataclasses.replace(run, model=model)
  mesh = partition.make_mesh(run.train.mesh, jax.devices())
  network, tx, state = made = parts(run)
  placed, rows = made.placed(mesh), assembly.batch_shapes(run, network.features)
  rows_placed = dict.fromkeys(rows, jax.sharding.NamedSharding(mesh, partition.BATCH))
  settings = assembly.step_settings(run, network, tx, _GROUPS)
  step = loop.compiled_step(placed, **settings)
  with jax.set_mesh(mesh):
    compiled = step.lower(_at(state, placed), _at(rows, rows_placed)).compile()
  memory = compiled.memory_analysis()
  return {
    **bytes_of_device(run, made, mesh),
    "temporary": memory.temp_size_in_bytes,
    # What comes out and does not take the place of what went in: metrics.
    "new": memory.output_size_in_bytes - memory.alias_size_in_bytes,
    "collectives": [
      dataclasses.asdict(one) for one in exchanges.read(compiled.as_text(), dict(mesh.shape))
    ],
  }


def _at(tree: Any, shardings: Any) -> Any:
  put = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
  return jax.tree.map(put, tree, shardings)


def _answer(told: Mapping[str, Any]) -> dict[str, Any]:
  return measure(request.from_json(told))


if __name__ == "__main__":
  with contextlib.redirect_stdout(sys.stderr):  # what libraries print is no part of the answer
    answer = _answer(json.load(sys.stdin))
  json.dump(answer, sys.stdout)
