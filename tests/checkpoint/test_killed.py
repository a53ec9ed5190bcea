"""kill -9 at any moment of a save leaves the last good checkpoint, in a real process."""

import pathlib
import signal
import subprocess
import sys

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


def killed(environment, action, folder, names):
  """Exit codes and last words of processes, each in its folder."""
  command = [sys.executable, str(CHILD), action, str(folder), *names]
  done = subprocess.run(
    command, capture_output=True, text=True, env=environment, timeout=200, check=False
  )
  ended = [line.split() for line in done.stdout.splitlines()]
  assert [code for code, *_ in ended] == [str(-signal.SIGKILL)] * len(names), done.stderr[-2000:]
  return [words for _, *words in ended]


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
  killed(users_environment, "die", tmp_path, list(MOMENTS))
  for moment, step in MOMENTS.items():
    leftovers = [path for path in (tmp_path / moment).iterdir() if ".tmp-" in path.name]
    assert leftovers, moment
    assert orbax_io.latest(tmp_path / moment).name == f"checkpoint_{step}", moment
    assert_usable(tmp_path / moment, at_least=step)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["forever", "background"])
def test_death_at_many_random_moments_leaves_the_last_one(tmp_path, users_environment, action):
  seeds = [str(seed) for seed in range(24)]
  for seed, (step,) in zip(seeds, killed(users_environment, action, tmp_path, seeds), strict=True):
    assert_usable(tmp_path / seed, at_least=int(step))
