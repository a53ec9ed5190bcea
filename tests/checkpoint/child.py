"""Processes that save checkpoints until they are killed; run by the tests beside it.

python child.py limited FOLDER           saves step 1, then step 2 under a limit on file sizes
python child.py die FOLDER MOMENT...     in FOLDER/MOMENT saves step 1; is killed during step 2
python child.py forever FOLDER SEED...   in FOLDER/SEED saves steps 1, 2, 3, ... until it is killed
python child.py background FOLDER SEED...   the same, while it trains

For each moment or seed a process is forked, so that all that takes long is imported once; printed
are its exit code and the last step that it called whole.
"""

import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable

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


def forked(act: Callable[[], None], *, seconds: float | None) -> None:
  """Runs `act` in a process of its own, kills it so long after its first word, if at all."""
  reading, writing_end = os.pipe()
  if (child := os.fork()) == 0:
    os.dup2(writing_end, 1)
    os.close(reading)
    act()
    os._exit(0)
  os.close(writing_end)
  with os.fdopen(reading) as said:
    first = said.readline()
    if seconds is not None:
      time.sleep(seconds)
      os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    steps = (first + said.read()).split()
  print(os.waitstatus_to_exitcode(status), *steps[-1:], flush=True)


if __name__ == "__main__":
  warnings.simplefilter("ignore")  # JAX's, of forks: it has not begun to work
  action, folder, *names = sys.argv[1:]
  folder = pathlib.Path(folder)
  match action:
    case "limited":
      limited(folder)
    case "die":
      for moment in names:
        forked(lambda moment=moment: die(folder / moment, moment), seconds=None)
    case _:
      act = {"forever": forever, "background": background}[action]
      for seed in names:
        pause = random.Random(int(seed)).uniform(0, 0.3)
        forked(lambda seed=seed: act(folder / seed), seconds=pause)
