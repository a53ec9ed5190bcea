"""A short training of a toy, for tests that count what a process compiles; prints JSON.

`python -m tests.one_run FOLDER` keeps programs in FOLDER; without one nothing is kept.
"""

import hashlib
import json
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

from flan_tune import compilation, optim, partition
from flan_tune.train import clock, loop, recorder, step

AXES = (("in/kernel", ("embed", "mlp")), ("out/kernel", ("mlp", "embed")))
ROWS, WIDTH = 8, 16


def loss_fn(params, batch, key):
  x = jax.nn.one_hot(batch["decoder_target_tokens"], WIDTH)
  mask = jax.random.bernoulli(key, 0.9, x.shape)
  y = jnp.tanh((x * mask) @ params["in"]["kernel"]) @ params["out"]["kernel"]
  loss = jnp.sum((y - x) ** 2)
  return loss, {"loss": (loss, jnp.float32(x.size))}


def init():
  keys = jax.random.split(jax.random.key(0))
  return {
    "in": {"kernel": jax.random.normal(keys[0], (WIDTH, 2 * WIDTH))},
    "out": {"kernel": jax.random.normal(keys[1], (2 * WIDTH, WIDTH))},
  }


def batches():
  for number in range(100):
    tokens = np.random.default_rng(number).integers(1, WIDTH, (ROWS, 4), np.int32)
    yield types.SimpleNamespace(arrays={"decoder_target_tokens": tokens})


def parts():
  """What `loop.fit` needs, and the shapes of the state."""
  tx = optim.adafactor(0.01, axes=AXES)
  mesh = partition.make_mesh("data=-1")
  shapes = jax.eval_shape(lambda: step.create(init(), tx))
  sharding = partition.shardings(shapes, AXES, mesh)
  settings = {
    "loss_fn": loss_fn,
    "tx": tx,
    "mesh": mesh,
    "batch_sharding": jax.sharding.NamedSharding(mesh, partition.BATCH),
    "state_sharding": sharding,
    "seed": 3,
  }
  return settings, shapes


def train(num_steps: int = 4) -> dict:
  """Compilations, seconds to the first step, losses, and a checksum of the state."""
  settings, _ = parts()
  create = lambda: step.create(init(), settings["tx"])
  losses, firsts = [], []
  ticking = clock.Clock()
  record = lambda number, interval: losses.append(interval.means()["loss"])
  recording = recorder.Recorder(1, record, clock=ticking)
  with compilation.Tally() as tally:
    state = jax.jit(create, out_shardings=settings["state_sharding"])()
    hooks = (recorder.Once(lambda _: firsts.append(ticking.age)), recording)
    state = loop.fit(state, batches(), num_steps=num_steps, clock=ticking, hooks=hooks, **settings)
  data = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))
  return {
    "compiled": tally.compiled,
    "taken": tally.taken,
    "first": firsts[0],
    "losses": losses,
    "state": hashlib.sha256(data).hexdigest(),
  }


def main() -> None:
  """Trains, and prints what happened."""
  if sys.argv[1:]:
    compilation.keep(pathlib.Path(sys.argv[1]), say=lambda text: print(text, file=sys.stderr))
  print(json.dumps(train()))


if __name__ == "__main__":
  main()
