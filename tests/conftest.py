"""Strict settings and fixtures for all tests.

Real rows and reference numbers are outside the repository: tests that need them skip, saying why.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile

# What JAX and NumPy read once, when they are imported: so it is set here, before any test module.
# Nothing below imports JAX, and tests of the NumPy and string modules run without it.
_SETTINGS = {
  "JAX_PLATFORMS": "cpu",  # an explicit JAX_PLATFORMS wins: `JAX_PLATFORMS=cuda pytest -m gpu`
  # Adding [b, t] to [t] by accident is the bug shapes cannot show: rank promotion raises.
  "JAX_NUMPY_RANK_PROMOTION": "raise",
  # Eight CPU devices stand for a mesh.  One thread an operation: pytest-xdist runs one worker a
  # core, tensors are tiny, and sums come out in the same order on every machine.
  "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false",
  "OMP_NUM_THREADS": "1",
  "OPENBLAS_NUM_THREADS": "1",
  "MPLBACKEND": "agg",  # no screen
}
for _name, _value in _SETTINGS.items():
  os.environ.setdefault(_name, _value)
# Test after test, and run after run, compiles the same tiny programs: what one compiled, the next
# finds.  A folder for each process, with links to what earlier runs kept: JAX writes entries in
# place, and another process could read half of one.
_KEPT = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "compiled"
_KEPT.mkdir(parents=True, exist_ok=True)
_FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="compiled_", dir=_KEPT.parent))
with contextlib.suppress(FileNotFoundError):  # another process has emptied it
  for _entry in _KEPT.iterdir():
    os.link(_entry, _FOLDER / _entry.name)
_MOST_BYTES = 1 << 30
_COMPILED = {
  "JAX_COMPILATION_CACHE_DIR": str(_FOLDER),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
  "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  # Those have a path in the folder, which would make every entry one of this process alone.
  "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
}
os.environ.update(_COMPILED)
os.environ.pop("FLAN_TUNE_PATH", None)  # a developer's own cards must not shadow the tested ones

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# The same examples in every run and no time limit: a red test is never the machine's mood.
hypothesis.settings.register_profile(
  "strict",
  deadline=None,
  derandomize=True,
  print_blob=True,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("strict")


def pytest_unconfigure() -> None:
  """Keeps what this process compiled."""
  entries = list(_FOLDER.iterdir())
  if sum(entry.stat().st_size for entry in entries) > _MOST_BYTES:  # mostly of former versions
    shutil.rmtree(_KEPT, ignore_errors=True)
  for entry in entries:
    with contextlib.suppress(OSError):  # another process has put it there, or emptied all
      os.link(entry, _KEPT / entry.name)
  shutil.rmtree(_FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  """The root of the checkout."""
  return pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="session")
def users_environment(tmp_path_factory) -> dict[str, str]:
  """A user's shell, for commands run as processes: of the settings above only the platform."""
  # By value, because a worker of pytest-xdist inherits the settings as if they were the user's.
  ours = _SETTINGS | _COMPILED
  own = {name: value for name, value in os.environ.items() if ours.get(name) != value}
  # Nothing is left in the home folder of who runs the tests.
  return {"JAX_PLATFORMS": "cpu", **own, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="session")
def tiny_quickstart() -> list[str]:
  """Arguments of `flan-tune train`: the quickstart, as small as it goes.

  A test adds `--gin.MODEL_DIR` and `--gin.TRAIN_STEPS`.
  """
  shrunk = {
    "EMB_DIM": 16,
    "NUM_HEADS": 2,
    "MLP_DIM": 32,
    "NUM_ENCODER_LAYERS": 1,
    "NUM_DECODER_LAYERS": 1,
    "BATCH_SIZE": 2,
    "EVAL_PERIOD": 0,
    "EVAL_BATCH_SIZE": 8,
    "FINAL_EXAMPLES": 1,
    "MAX_DECODE_TOKENS": 4,
    "LOG_PERIOD": 1,
    "LOOKAHEAD": 16,
  }
  return [
    "train",
    "--gin_file=experiments/quickstart.gin",
    *(f"--gin.{name}={value}" for name, value in shrunk.items()),
  ]


@pytest.fixture(scope="session")
def finished_run(tiny_quickstart, tmp_path_factory) -> pathlib.Path:
  """The folder of a tiny run of four steps; tests copy it before they change it."""
  from flan_tune import cli

  folder = tmp_path_factory.mktemp("finished") / "run"
  settings = ("TRAIN_STEPS=4", "CHECKPOINT_PERIOD=2", "BATCH_SIZE=8", f"MODEL_DIR={folder}")
  assert cli.main([*tiny_quickstart, *(f"--gin.{one}" for one in settings)]) == 0
  return folder


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
  """The folder of real rows in their upstream layouts, from FLAN_TUNE_DATA."""
  folder = os.environ.get("FLAN_TUNE_DATA", "")
  if not folder or not pathlib.Path(folder).is_dir():
    pytest.skip("FLAN_TUNE_DATA names no folder of real rows")
  return pathlib.Path(folder)


@pytest.fixture(scope="session")
def golden_dir() -> pathlib.Path:
  """The folder of numbers computed by T5X and Hugging Face."""
  named = os.environ.get("FLAN_TUNE_GOLDEN", "")
  data = os.environ.get("FLAN_TUNE_DATA", "")
  folder = pathlib.Path(named) if named else pathlib.Path(data).parent / "golden"
  if not (named or data) or not folder.is_dir():
    pytest.skip("neither FLAN_TUNE_GOLDEN nor FLAN_TUNE_DATA/../golden holds reference numbers")
  return folder
