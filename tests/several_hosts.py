"""A tiny run on several processes of this machine, started, killed and looked at by tests.

`python -m tests.several_hosts` shows it: two train, one is killed, one, two and four go on.
"""

import atexit
import json
import os
import pathlib
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import numpy as np

from flan_tune.checkpoint import orbax_io

STEPS = 12
_SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "kill_campaign.py"
SETTINGS = runpy.run_path(str(_SCRIPT))["T5"] | {
  "DATA_LANES": 4,
  "TRAIN_STEPS": STEPS,
  "CHECKPOINT_PERIOD": 4,
  "KEEP_CHECKPOINTS": 10,
  "COMPILATION_CACHE": False,  # one for all runs instead
}
_COMPILED = tempfile.mkdtemp(prefix="flan_tune_several_hosts_")
atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)


def environment() -> dict[str, str]:
  """A user's, with one CPU device a process."""
  out = {"XLA_FLAGS", "FLAN_TUNE_PATH"}
  left = {k: v for k, v in os.environ.items() if k not in out and not k.startswith("JAX_")}
  return left | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": _COMPILED,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "XDG_CACHE_HOME": _COMPILED,
    "FLAN_TUNE_ARRIVAL_SECONDS": "120",
  }


def free_address() -> str:
  """Where process 0 may listen."""
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{one.getsockname()[1]}"


def arguments(folder: pathlib.Path, settings: Mapping[str, object] = {}) -> list[str]:
  """Of `flan-tune`; `settings` overrule SETTINGS."""
  given = SETTINGS | dict(settings) | {"MODEL_DIR": repr(str(folder))}
  bindings = [f"--gin.{name}={value}" for name, value in given.items()]
  return ["train", "--gin_file=experiments/quickstart.gin", *bindings]


class Run:
  """The processes of one start of a run.

  Args:
    folder: Its MODEL_DIR.
    count: Of processes; one is started without a word of others.
    settings: Gin macros, which overrule SETTINGS.
  """

  def __init__(self, folder: pathlib.Path, count: int, settings: Mapping[str, object] = {}):
    self.folder = folder
    command = [sys.executable, "-m", "flan_tune.cli", *arguments(folder, settings)]
    address = free_address()
    self.processes = []
    for number in range(count):
      among = [f"--coordinator={address}", f"--processes={count}", f"--process={number}"]
      self.processes.append(
        subprocess.Popen(
          command + (among if count > 1 else []),
          env=environment(),
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          text=True,
        )
      )

  def wait_for(self, found: Callable[[], bool], seconds: float = 240.0) -> None:
    """Returns when it is there, all processes still running."""
    deadline = time.monotonic() + seconds
    while not found():
      ended = [one for one in self.processes if one.poll() is not None]
      assert not ended, ended[0].communicate()[0]
      assert time.monotonic() < deadline, "not found in time"
      time.sleep(0.005)

  def logged(self, step: int) -> bool:
    """Whether a step is in the log."""
    metrics = self.folder / "metrics.jsonl"
    return metrics.exists() and f'"step": {step},' in metrics.read_text()

  def end(self, seconds: float = 240.0) -> list[tuple[int, str]]:
    """Exit code and output of every process."""
    try:
      outputs = [one.communicate(timeout=seconds)[0] for one in self.processes]
    finally:
      for one in self.processes:
        one.kill()
    return [(one.returncode, text) for one, text in zip(self.processes, outputs, strict=True)]


def kill_one(folder: pathlib.Path, count: int, *, victim: int, step: int) -> dict[int, tuple]:
  """Kills one of several processes when a step is in the log and a checkpoint is whole.

  Returns:
    Process to exit code, output and seconds until it had ended, of the others.
  """
  run = Run(folder, count)
  saved = folder / "checkpoints" / f"checkpoint_{SETTINGS['CHECKPOINT_PERIOD']}"
  run.wait_for(lambda: run.logged(step) and saved.exists())
  run.processes[victim].kill()
  began, ended = time.monotonic(), {}
  for number, process in enumerate(run.processes):
    output, _ = process.communicate(timeout=120)
    ended[number] = (process.returncode, output, time.monotonic() - began)
  assert ended.pop(victim)[0] == -signal.SIGKILL
  return ended


def complete(folder: pathlib.Path, count: int, settings: Mapping[str, object] = {}) -> str:
  """Runs to the end; returns what the first process says."""
  ended = Run(folder, count, settings).end()
  for code, output in ended:
    assert code == 0, output
  return ended[0][1]


def arrays(folder: pathlib.Path, step: int = STEPS) -> dict[str, np.ndarray]:
  """Every array of a checkpoint: parameters and optimiser state."""
  return orbax_io.read_arrays(folder / "checkpoints", step=step)


def data_order(folder: pathlib.Path, step: int = STEPS) -> dict:
  """Where the data stand at a checkpoint."""
  return orbax_io.read_documents(folder, step=step)["data"]


def logged(folder: pathlib.Path, kind: str) -> list[dict]:
  """The lines of one kind in the log."""
  lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
  return [one for one in lines if one["kind"] == kind]


def difference(ours: pathlib.Path, theirs: pathlib.Path) -> float:
  """The largest difference between arrays of two runs' last checkpoints, by each one's scale."""
  left, right = arrays(ours), arrays(theirs)
  assert left.keys() == right.keys()
  scale = {name: max(float(np.abs(array).max()), 1e-30) for name, array in right.items()}
  return max(float(np.abs(left[k] - right[k]).max()) / scale[k] for k in left)


def show(root: pathlib.Path) -> None:
  """Kills one of two processes, goes on with one, two and four, and prints what is seen."""
  complete(root / "uninterrupted", 2)
  print("two processes, uninterrupted: done")
  for code, output, seconds in kill_one(root / "killed", 2, victim=1, step=6).values():
    print(
      f"process 1 killed after step 6; process 0 ended {seconds:.2f} s later, exit code {code}:"
    )
    print(f"  {output.strip().splitlines()[-1]}")
  for count in (2, 1, 4):
    folder = root / f"resumed_{count}"
    shutil.copytree(root / "killed", folder)
    complete(folder, count)
    largest = difference(folder, root / "uninterrupted")
    same = data_order(folder) == data_order(root / "uninterrupted")
    print(
      f"resumed with {count}: state differs by {largest:.1e} of each array's largest number, data"
      f" order is {'equal' if same else 'DIFFERENT'}"
    )


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as there:
    show(pathlib.Path(there))
