"""Trains small models on every mesh of eight devices and prints how far their losses lie apart.

    python scripts/mesh_table.py [--steps 20] [--devices 8 4 2] [--families t5 palm] [--kinds cut]

Every line is a run of a few seconds beside the same run on one device: the same seed, batches of
the playground, dropout on.  A processor stands for the devices.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

if __name__ == "__main__":
  # Read once, when JAX starts.  One thread an operation: sums come out in the same order each time.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ.setdefault(
    "XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false"
  )

import jax
import numpy as np
import optax

import flan_tune as ft
from flan_tune import optim, partition
from flan_tune.models import layout, palm, registry, t5
from flan_tune.train import loop
from flan_tune.train import step as step_lib

LIMIT = 1e-5  # relative difference of a step's loss
# Every dimension divides by 8, and no more.
SIZES = {"vocab_size": 2112, "emb_dim": 32, "num_heads": 8, "head_dim": 4, "mlp_dim": 64}
LENGTHS = {"inputs": 64, "targets": 24}
BATCH_SIZE = 16
RATE = 1e-3
FAMILIES = ["t5", "palm"]
# scan_layers, shard_length, microbatches.
KINDS = {"looped": (False, False, 1), "scanned": (True, False, 1), "cut": (True, True, 2)}


class Model(NamedTuple):
  """What is trained.

  Attributes:
    family: "t5" or "palm".
    scan_layers: Layers stacked, or one by one.
    shard_length: Activations between layers cut along length, too.
    microbatches: Parts of a batch.
  """

  family: str
  scan_layers: bool = False
  shard_length: bool = False
  microbatches: int = 1

  def config(self) -> Any:
    """The network's."""
    choices: dict[str, Any] = {
      **SIZES,
      "dropout_rate": 0.1,
      "scan_layers": self.scan_layers,
      "shard_length": self.shard_length,
    }
    if self.family == "t5":
      return t5.T5Config(num_encoder_layers=2, num_decoder_layers=2, **choices)
    return palm.PaLMConfig(num_layers=2, **choices)

  def __str__(self) -> str:
    parts = [self.family, "scanned" if self.scan_layers else "looped"]
    parts += ["length cut"] * self.shard_length
    parts += [f"{self.microbatches} microbatches"] * (self.microbatches > 1)
    return ", ".join(parts)


def meshes(count: int) -> list[str]:
  """Every mesh of so many devices, as a line."""
  sizes = [n for n in (1, 2, 4, 8) if count % n == 0]
  return [
    f"data={data},fsdp={fsdp},model={model}"
    for data, fsdp, model in itertools.product(sizes, repeat=3)
    if data * fsdp * model == count
  ]


def parts(
  model: Model, tx: optax.GradientTransformation | None = None
) -> tuple[Any, optax.GradientTransformation, Callable[[], step_lib.TrainState]]:
  """The network, the optimiser, and what makes a state before its first step."""
  network = registry.build(model.config())
  # Low enough that these small matrices are factored as large ones are.
  tx = tx or optim.adafactor(RATE, axes=network.axes, min_dim_size_to_factor=8)
  return network, tx, lambda: step_lib.create(network.init(jax.random.key(0)), tx)


def run(
  model: Model,
  mesh: jax.sharding.Mesh,
  *,
  steps: int = 20,
  tx: optax.GradientTransformation | None = None,
  initial: Any = None,
  compiler_options: Mapping[str, Any] | None = None,
) -> np.ndarray:
  """The loss of every step of a run, nats a token, float64 [steps].

  Args:
    model: What is trained.
    mesh: Where.
    steps: How many.
    tx: The optimiser; Adafactor by default.
    initial: What the last of `parts` makes, in host memory; by default it is made on the mesh.
    compiler_options: Of XLA.
  """
  network, tx, create = parts(model, tx)
  source = batches(network.features)
  check(model, network, mesh)
  sharding = partition.shardings(jax.eval_shape(create), network.axes, mesh)
  rows = jax.sharding.NamedSharding(mesh, partition.BATCH)
  step_fn = loop.compiled_step(
    sharding,
    loss_fn=network.loss,
    tx=tx,
    seed=0,
    prepare=network.prepare,
    microbatches=model.microbatches,
  )
  losses, compiled = [], None
  with jax.set_mesh(mesh):
    made = jax.jit(create, out_shardings=sharding)
    state = made() if initial is None else jax.device_put(initial, sharding)
    for batch in itertools.islice(source, steps):
      arrays = partition.put(batch.arrays, rows)
      compiled = compiled or step_fn.lower(state, arrays).compile(compiler_options)
      state, metrics = compiled(state, arrays)
      losses.append(np.divide(*jax.device_get(metrics["loss"]), dtype=np.float64))
  return np.array(losses)


def check(model: Model, network: Any, mesh: jax.sharding.Mesh) -> None:
  """As a run does before it compiles."""
  lengths = {"row": sum(LENGTHS.values())} if model.family == "palm" else LENGTHS
  partition.check(
    mesh,
    network.shapes,
    network.axes,
    batch_size=BATCH_SIZE,
    microbatches=model.microbatches,
    dimensions=layout.dimensions(network.config, lengths),
  )


def batches(features: str) -> Iterator[Any]:
  """The playground, packed."""
  return ft.batches(
    "playground", lengths=LENGTHS, batch_size=BATCH_SIZE, shots=1, features=features
  )


def on(count: int, text: str) -> jax.sharding.Mesh:
  """A mesh of the first devices."""
  return partition.make_mesh(text, jax.devices()[:count])


def difference(ours: np.ndarray, reference: np.ndarray) -> float:
  """The largest relative difference of a step."""
  return float(np.max(np.abs(ours - reference) / np.abs(reference)))


def main() -> int:
  """Prints the table; 1 where a mesh is beyond the limit."""
  parser = argparse.ArgumentParser(description="Losses on every mesh beside one device's.")
  parser.add_argument("--steps", type=int, default=20)
  parser.add_argument("--devices", type=int, nargs="+", default=[8, 4, 2])
  parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
  parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
  parser.add_argument("--only", default="", help="meshes that have this in their line")
  args = parser.parse_args()
  models = [Model(family, *KINDS[kind]) for family in args.families for kind in args.kinds]
  print(f"{'model':36}{'mesh':26}{'loss, first':>12}{'last':>9}{'difference':>12}{'s':>7}")
  worst = 0.0
  for model in models:
    reference = run(model, on(1, "data=1"), steps=args.steps)
    for count, mesh in [(n, one) for n in args.devices for one in meshes(n) if args.only in one]:
      start = time.monotonic()
      ours = run(model, on(count, mesh), steps=args.steps)
      worst = max(worst, apart := difference(ours, reference))
      seconds = time.monotonic() - start
      print(
        f"{model!s:36}{mesh:26}{ours[0]:12.5f}{ours[-1]:9.5f}{apart:12.1e}{seconds:7.1f}",
        flush=True,
      )
  print(f"Largest relative difference of {args.steps} steps' losses: {worst:.1e}")
  return int(worst > LIMIT)


if __name__ == "__main__":
  sys.exit(main())
