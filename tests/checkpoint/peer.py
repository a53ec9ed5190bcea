"""One process of several that save and restore together; run by the tests beside it.

python peer.py PORT COUNT NUMBER FOLDER ACTION:NAME:MESH...

    save          checkpoints 1 and 2 of FOLDER/NAME, in the background
    restore       the newest one, once 2 is there; prints its name and step, and the bytes read
    faults        checkpoint 1; then 2, when the disk of the last process is full; 3, which that one
                  looks for elsewhere; 4 again in order; 5, while it kills itself
"""

import errno
import os
import pathlib
import signal
import sys
import time

PORT, COUNT, NUMBER, FOLDER, *ACTIONS = sys.argv[1:]
COUNT, NUMBER, FOLDER = int(COUNT), int(NUMBER), pathlib.Path(FOLDER)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from flan_tune import errors  # noqa: E402
from flan_tune.checkpoint import agreement, orbax_io, pieces, saver, writing  # noqa: E402

SHAPES = {
  "w": ((8, 16), "float32", ("data", "model")),
  "v": ((16,), "bfloat16", ("model",)),
  "u": ((4, 3, 8), "float32", (None, None, "data")),
  "s": ((5,), "int32", ()),
}


def shardings(mesh: str) -> dict:
  sizes = [int(size) for size in mesh.split("x")]
  axes = jax.sharding.Mesh(np.asarray(jax.devices()).reshape(sizes), ("data", "model"))
  spec = jax.sharding.PartitionSpec
  return {n: jax.sharding.NamedSharding(axes, spec(*cut)) for n, (_, _, cut) in SHAPES.items()}


def whole(step: int) -> dict[str, np.ndarray]:
  return {
    name: (np.arange(np.prod(shape)).reshape(shape) * step + step).astype(jnp.dtype(dtype))
    for name, (shape, dtype, _) in SHAPES.items()
  }


def state(step: int, mesh: str) -> dict:
  placed = {
    name: jax.make_array_from_callback(array.shape, shardings(mesh)[name], array.__getitem__)
    for name, array in whole(step).items()
  }
  return {"step": jnp.int32(step), "params": placed}


def save(folder: pathlib.Path, mesh: str, *, steps: int = 2) -> None:
  double = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)
  documents = {"data": {"process": NUMBER}}
  with saver.Saver(folder, keep=5) as writer:
    for step in range(1, steps + 1):
      now = state(step, mesh)
      writer.save(step, now, documents=documents, score=step / 10)
      double(now["params"])  # takes their memory


def restore(folder: pathlib.Path, mesh: str) -> None:
  end = time.monotonic() + 60
  while not (folder / "checkpoint_2").is_dir() and time.monotonic() < end:
    time.sleep(0.1)  # others are still writing it
  read = []
  original = pieces._Reads.__init__

  def counting(self, *args) -> None:
    original(self, *args)
    read.append(self.num_bytes)

  pieces._Reads.__init__ = counting
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state(0, mesh))
  placed = {"step": None, "params": shardings(mesh)}
  restored = orbax_io.restore(folder, shapes, shardings=placed)
  pieces._Reads.__init__ = original
  expected = whole(restored.step)
  assert int(restored.state["step"]) == restored.step
  for name, array in restored.state["params"].items():
    assert array.sharding == shardings(mesh)[name]
    for shard in array.addressable_shards:
      assert np.asarray(shard.data).tobytes() == expected[name][shard.index].tobytes(), name
  assert restored.documents == {"data": {"process": 0}}
  print(folder.name, restored.step, sum(read), flush=True)


def faults(folder: pathlib.Path, mesh: str) -> None:
  save(folder, mesh, steps=1)
  writing._SEEN_WITHIN_SECONDS = 0.5
  original, last = writing.write_arrays, NUMBER == COUNT - 1

  def attempt(step: int, act=original, where: pathlib.Path = folder) -> None:
    writing.write_arrays = act if last else original
    try:
      orbax_io.save(where if last else folder, step, state(step, mesh), documents={"data": {}})
    except errors.UserError as error:
      print(error, flush=True)

  def full(*args) -> None:
    original(*args)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def fatal(*args) -> None:
    original(*args)
    os.kill(os.getpid(), signal.SIGKILL)

  attempt(2, full)
  attempt(3, where=folder.with_name("elsewhere"))
  attempt(4)
  agreement.TIMEOUT_SECONDS = 4.0
  attempt(5, fatal)
  os._exit(0)  # the farewell would wait for the dead


if __name__ == "__main__":
  if COUNT > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{PORT}", num_processes=COUNT, process_id=NUMBER)
  for action in ACTIONS:
    name, folder, mesh = action.split(":")
    {"save": save, "restore": restore, "faults": faults}[name](FOLDER / folder, mesh)
  if COUNT > 1:
    jax.distributed.shutdown()
  os._exit(0)
