"""A process that saves checkpoints until it is killed; run by the tests beside it.

python child.py forever FOLDER        saves steps 1, 2, 3, ... and prints each
python child.py background FOLDER     trains; saves every other step meanwhile, and prints the whole
python child.py die FOLDER MOMENT     saves step 1, then kills itself during step 2
python child.py limited FOLDER        saves step 1, then step 2 under a limit on file sizes
"""

import os
import pathlib
import resource
import shutil
import signal
import sys

import jax
import numpy as np

from flan_tune import errors
from flan_tune.checkpoint import folders, manifest, orbax_io, saver, writing


def state(step: int) -> dict:
  """Whose numbers all are the step."""
  arrays = {f"layer_{i}": np.full((20, 50), step, np.float32) for i in range(12)}
  return {"step": np.int32(step), "params": {"w": np.full((300, 300), step, np.float32), **arrays}}


def save(folder: pathlib.Path, step: int) -> None:
  orbax_io.save(folder, step, state(step), documents={"data": {"rows": step}}, keep=2)


def forever(folder: pathlib.Path) -> None:
  step = 0
  while True:
    step += 1
    save(folder, step)
    print(step, flush=True)


def background(folder: pathlib.Path) -> None:
  """Each step takes the memory of the state before, whose files may still be written."""
  add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
  now, saved = jax.tree.map(jax.numpy.asarray, state(0)), None
  with saver.Saver(folder, keep=2) as writer:
    while True:
      now = add(add(now))
      step = int(now["step"])
      writer.save(step, now, documents={"data": {"rows": step}})
      if saved is not None:  # the save before is whole: this one waited for it
        print(saved, flush=True)
      saved = step


def die(folder: pathlib.Path, moment: str) -> None:
  """Dies where the save would call the function that the moment names."""
  save(folder, 1)
  owner, _, name = moment.rpartition(".")
  owner = {
    "writing": writing,
    "manifest": manifest,
    "folders": folders,
    "shutil": shutil,
    "Path": pathlib.Path,
  }[owner]
  original, calls = getattr(owner, name), []

  def fatal(*args, **kwargs):
    calls.append(args)
    # The first rename moves the old checkpoint of the step away; before the second, there is none.
    if len(calls) == (2 if owner is pathlib.Path else 1):
      os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

  setattr(owner, name, fatal)
  save(folder, 1 if moment in ("Path.rename", "shutil.rmtree") else 2)


def limited(folder: pathlib.Path) -> None:
  save(folder, 1)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
  try:
    save(folder, 2)
  except errors.UserError as error:
    print(error)


if __name__ == "__main__":
  action = {"forever": forever, "background": background, "die": die, "limited": limited}[
    sys.argv[1]
  ]
  action(pathlib.Path(sys.argv[2]), *sys.argv[3:])
