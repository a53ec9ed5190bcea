"""Neither `import flan_tune` nor a training run on the Grain feed loads TensorFlow.

TensorFlow need not be installed for that to be tested: packages of its name, first on the path,
write down who imports them and then behave as if they were missing.
"""

import json
import os
import subprocess
import sys

import pytest

TENSORFLOW = ("tensorflow", "tensorflow_datasets", "tensorflow_text", "seqio", "t5")
# What makes an import slow.  tensorboardX imports torch where there is one, so a run may.
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "grain", "scipy", "matplotlib", "torch")

TRIPWIRE = """
import pathlib, traceback
with (pathlib.Path(__file__).parents[1] / "importers.txt").open("a") as file:
  file.write("".join(traceback.format_stack()))
raise ImportError(__name__ + " is not to be imported here")
"""


@pytest.fixture
def run(tmp_path, users_environment, repository):
  """Runs Python with the tripwires in place; returns what it printed."""
  for name in (*TENSORFLOW, "torch"):
    (tmp_path / "tripwires" / name).mkdir(parents=True)
    (tmp_path / "tripwires" / name / "__init__.py").write_text(TRIPWIRE)

  def python(*arguments: str) -> str:
    path = os.pathsep.join([str(tmp_path / "tripwires"), str(repository)])
    done = subprocess.run(
      [sys.executable, *arguments],
      env={**users_environment, "PYTHONPATH": path},
      cwd=tmp_path,
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  return python


@pytest.fixture
def importers(tmp_path):
  """The call stacks of whoever stepped on a tripwire."""
  record = tmp_path / "tripwires" / "importers.txt"
  return lambda: record.read_text() if record.exists() else ""


def test_the_tripwire_notices_an_optional_import(run, importers):
  run("-c", "try:\n  import tensorflow\nexcept ImportError:\n  pass")
  assert "import tensorflow" in importers() or "<string>" in importers()


@pytest.mark.parametrize("module", ["flan_tune", "flan_tune.cli"])
def test_importing_loads_nothing_heavy(run, importers, module):
  loaded = run("-c", f"import sys, {module}; print(*sys.modules, sep='\\n')").split()
  assert module in loaded
  assert not set(loaded) & {*HEAVY, *TENSORFLOW}
  assert not importers()


@pytest.mark.slow
def test_a_training_run_on_the_grain_feed_loads_no_tensorflow(
  run, importers, tmp_path, tiny_quickstart
):
  """A whole run, from reading to the report, with one worker process that renders."""
  folder = tmp_path / "run"
  own = [f"--gin.MODEL_DIR={folder}", "--gin.TRAIN_STEPS=2", "--gin.NUM_WORKERS=1"]
  run("-m", "flan_tune.cli", *tiny_quickstart, *own)
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
  culprits = [line for line in importers().splitlines() if "tripwires/t" in line]
  assert not [line for line in culprits if "tripwires/torch/" not in line], importers()
