"""One process of several that save and restore together; run by the tests beside it.

python peer.py PORT COUNT NUMBER FOLDER MESH ACTION...

    save          checkpoints 1 and 2, in the background; prints "saved"
    restore       the newest one, in the mesh given; prints its step, and the bytes read
    die           checkpoint 1; then the last process kills itself while it stores checkpoint 2
    full          checkpoint 1; then the disk of the last process is full
    unshared      the last process looks for the folder elsewhere
"""

import errno
import os
import pathlib
import signal
import sys

PORT, COUNT, NUMBER, FOLDER, MESH, *ACTIONS = sys.argv[1:]
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


def mesh() -> jax.sharding.Mesh:
  sizes = [int(size) for size in MESH.split("x")]
  return jax.sharding.Mesh(np.asarray(jax.devices()).reshape(sizes), ("data", "model"))


def shardings() -> dict:
  spec = jax.sharding.PartitionSpec
  return {n: jax.sharding.NamedSharding(mesh(), spec(*cut)) for n, (_, _, cut) in SHAPES.items()}


def whole(step: int) -> dict[str, np.ndarray]:
  return {
    name: (np.arange(np.prod(shape)).reshape(shape) * step + step).astype(jnp.dtype(dtype))
    for name, (shape, dtype, _) in SHAPES.items()
  }


def state(step: int) -> dict:
  placed = {
    name: jax.make_array_from_callback(array.shape, shardings()[name], array.__getitem__)
    for name, array in whole(step).items()
  }
  return {"step": jnp.int32(step), "params": placed}


def save(steps: int = 2) -> None:
  double = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)
  documents = {"data": {"process": NUMBER}}
  with saver.Saver(FOLDER, keep=5) as writer:
    for step in range(1, steps + 1):
      now = state(step)
      writer.save(step, now, documents=documents, score=step / 10)
      double(now["params"])  # takes their memory
  print("saved", flush=True)


def restore() -> None:
  read = []
  original = pieces._Reads.__init__

  def counting(self, *args) -> None:
    original(self, *args)
    read.append(self.num_bytes)

  pieces._Reads.__init__ = counting
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state(0))
  placed = {"step": None, "params": shardings()}
  restored = orbax_io.restore(FOLDER, shapes, shardings=placed)
  expected = whole(restored.step)
  assert int(restored.state["step"]) == restored.step
  for name, array in restored.state["params"].items():
    assert array.sharding == shardings()[name]
    for shard in array.addressable_shards:
      assert np.asarray(shard.data).tobytes() == expected[name][shard.index].tobytes(), name
  assert restored.documents == {"data": {"process": 0}}
  print("restored", restored.step, sum(read), flush=True)


def last_one(act) -> None:
  """Saves checkpoint 1 as always, and 2 with a last process that does something of its own."""
  save(steps=1)
  agreement.TIMEOUT_SECONDS = 4.0
  writing._SEEN_WITHIN_SECONDS = 0.5
  folder = act() if NUMBER == COUNT - 1 else FOLDER
  try:
    orbax_io.save(folder, 2, state(2), documents={"data": {}})
  except errors.UserError as error:
    print(error, flush=True)


def die() -> pathlib.Path:
  def fatal(*args) -> None:
    pieces.write(*args)
    os.kill(os.getpid(), signal.SIGKILL)

  writing.write_arrays = fatal
  return FOLDER


def full() -> pathlib.Path:
  def fail(*args) -> None:
    pieces.write(*args)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  writing.write_arrays = fail
  return FOLDER


if __name__ == "__main__":
  if COUNT > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{PORT}", num_processes=COUNT, process_id=NUMBER)
  for action in ACTIONS:
    match action:
      case "save":
        save()
      case "restore":
        restore()
      case "die":
        last_one(die)
      case "full":
        last_one(full)
      case _:
        last_one(lambda: FOLDER.with_name("elsewhere"))
  if COUNT > 1 and "die" not in ACTIONS:  # the farewell would wait for the dead
    jax.distributed.shutdown()
  sys.stdout.flush()
  os._exit(0)
