"""kill -9 at any moment of a save leaves the last good checkpoint, in a real process."""

import contextlib
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from flan_tune.checkpoint import orbax_io

CHILD = pathlib.Path(__file__).with_name("child.py")
# Where a save dies, and the step that must be usable afterwards.
MOMENTS = {
  "writing.write_arrays": 1,  # the temporary folder is there, and empty
  "manifest.write_json": 1,  # the arrays are written
  "manifest.write": 1,  # everything is written but the manifest
  "folders.commit": 2,  # everything is written: the reader only has to put it in its place
  "Path.rename": 1,  # step 1 is saved again: the old one is moved away, the new one not yet there
  "shutil.rmtree": 1,  # the new one is there, the old one not yet removed
}


@contextlib.contextmanager
def children(commands, environment):
  """Runs processes beside each other, and never leaves one behind."""
  running = [
    subprocess.Popen(
      [sys.executable, str(CHILD), *map(str, command)],
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
      env=environment,
    )
    for command in commands
  ]
  try:
    yield running
  finally:
    for process in running:
      process.kill()
      process.wait()
      process.stdout.close()


def assert_usable(folder, *, at_least):
  """The newest checkpoint is whole, its numbers are its step's, and saving goes on."""
  assert orbax_io.latest(folder) is not None
  shapes = {"step": jax.ShapeDtypeStruct((), np.int32)}
  params = orbax_io.restore_params(folder)
  template = shapes | {"params": params}
  restored = orbax_io.restore(folder, template)
  assert restored.step >= at_least
  for leaf in jax.tree.leaves(restored.state):
    assert (np.asarray(leaf) == restored.step).all()
  assert restored.documents == {"data": {"rows": restored.step}}
  orbax_io.save(folder, restored.step + 1, restored.state, keep=1)
  assert orbax_io.steps(folder) == [restored.step + 1]
  assert not [path for path in folder.iterdir() if ".tmp-" in path.name]


@pytest.mark.slow
def test_death_at_every_moment_of_a_save_leaves_the_last_one(tmp_path, users_environment):
  commands = [("die", tmp_path / moment, moment) for moment in MOMENTS]
  with children(commands, users_environment) as running:
    assert [process.wait() for process in running] == [-signal.SIGKILL] * len(MOMENTS)
  for moment, step in MOMENTS.items():
    leftovers = [path for path in (tmp_path / moment).iterdir() if ".tmp-" in path.name]
    assert leftovers, moment
    assert orbax_io.latest(tmp_path / moment).name == f"checkpoint_{step}", moment
    assert_usable(tmp_path / moment, at_least=step)


def kill_at_random(tmp_path, environment, action, *, number, seed):
  draws, done = random.Random(seed), {}
  folders = [tmp_path / str(i) for i in range(number)]
  with children([(action, folder) for folder in folders], environment) as running:
    for process, folder in zip(running, folders, strict=True):
      first = process.stdout.readline()
      time.sleep(draws.uniform(0, 0.3))
      process.kill()
      process.wait()
      done[folder] = int((first + process.stdout.read()).split()[-1])
  for folder, step in done.items():
    assert_usable(folder, at_least=step)


@pytest.mark.slow
def test_death_at_random_moments_leaves_the_last_one(tmp_path, users_environment):
  kill_at_random(tmp_path, users_environment, "background", number=5, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["forever", "background"])
def test_death_at_many_random_moments_leaves_the_last_one(tmp_path, users_environment, action):
  for seed in range(1, 7):
    kill_at_random(tmp_path / str(seed), users_environment, action, number=4, seed=seed)
