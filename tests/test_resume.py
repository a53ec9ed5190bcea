"""A killed run goes on exactly where its last checkpoint left it: real processes, real signals."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flan_tune import assembly
from flan_tune.checkpoint import orbax_io
from flan_tune.train import recorder, stopping

STEPS = 12
_TINY = {
  "TASK_FEATURE_LENGTHS": "{'inputs': 96, 'targets': 32}",
  "EMB_DIM": 16,
  "MLP_DIM": 16,
  "NUM_HEADS": 2,
  "HEAD_DIM": 8,
  "NUM_ENCODER_LAYERS": 1,
  "NUM_DECODER_LAYERS": 1,
  "BATCH_SIZE": 4,
  "DROPOUT_RATE": 0.1,
  "LOOKAHEAD": 32,
  "TRAIN_STEPS": STEPS,
  "CHECKPOINT_PERIOD": 4,
  "KEEP_CHECKPOINTS": 10,
  "LOG_PERIOD": 1,
  "EVAL_PERIOD": 0,
  "FINAL_EXAMPLES": 0,
}


def _start(folder: pathlib.Path, environment, **settings) -> subprocess.Popen:
  bindings = [f"--gin.{name}={value}" for name, value in (_TINY | settings).items()]
  command = [sys.executable, "-m", "flan_tune.cli", "train"]
  command += ["--gin_file=experiments/quickstart.gin", f"--gin.MODEL_DIR={folder}", *bindings]
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def _run(folder: pathlib.Path, environment, **settings) -> str:
  process = _start(folder, environment, **settings)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  return output


def _stop_when(process: subprocess.Popen, found, number: signal.Signals) -> int:
  """Sends the signal as soon as `found()`; returns the exit code."""
  deadline = time.monotonic() + 240
  while not found() and process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.005)
  assert process.poll() is None, process.communicate()[0]
  process.send_signal(number)
  process.communicate(timeout=120)
  return process.returncode


def _arrays(folder: pathlib.Path, step: int = STEPS) -> dict[str, np.ndarray]:
  """Every array of a checkpoint: parameters and optimiser state."""
  return orbax_io.read_arrays(folder / "checkpoints", step=step)


def _assert_same_end(ours: pathlib.Path, theirs: pathlib.Path) -> None:
  left, right = _arrays(ours), _arrays(theirs)
  assert left.keys() == right.keys()
  for name, array in left.items():
    assert array.tobytes() == right[name].tobytes(), name
  orders = [orbax_io.read_documents(one, step=STEPS)["data"] for one in (ours, theirs)]
  assert orders[0] == orders[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, users_environment) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("uninterrupted") / "run"
  _run(folder, users_environment)
  return folder


def test_a_kill_between_a_checkpoint_and_its_mark_does_not_lose_the_best_one(tmp_path):
  """Nor does a mark of a later checkpoint that is damaged hide the best one that is not."""
  array = {"w": np.ones(3)}
  said = lambda score, step: {"best": {"score": score, "step": step}}
  orbax_io.save(tmp_path, 2, array, documents=said(0.5, 2), score=0.5)
  orbax_io.save(tmp_path, 4, array, documents=said(0.75, 4))  # and killed
  orbax_io.save(tmp_path, 6, array, documents=said(0.75, 4))
  for step, best in ((4, (0.75, 4)), (6, (0.75, 4)), (2, (0.5, 2))):
    restored = orbax_io.restore(tmp_path, array, step=step)
    assert assembly.best_so_far(tmp_path, restored) == best == orbax_io.best(tmp_path)


def test_a_signal_during_the_last_save_stops_the_run_when_the_save_is_whole():
  """Uncaught it would cut the save short; caught and not asked for it would be forgotten."""
  recording = recorder.Recorder(1, lambda *_: None)
  with stopping.StopOnSignal(lambda *_: None, recording) as stop:
    stop.settle(STEPS)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(stopping.Stopped, match="stopped after step 12"):
      stop.settle(STEPS)


# In one process, without a kill: tests/test_families_run.py.
@pytest.mark.slow
@pytest.mark.parametrize("moment", [5, 9])
def test_kill_and_start_again_ends_byte_equal(moment, uninterrupted, tmp_path, users_environment):
  """Parameters, optimiser state and data order; the log has every step once."""
  folder = tmp_path / "run"

  def logged() -> bool:
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and f'"step": {moment},' in metrics.read_text()

  # Waiting for its files, so that the step before is saved; otherwise: test_kill_campaign.py.
  process = _start(folder, users_environment, ASYNC_CHECKPOINTS=False)
  assert _stop_when(process, logged, signal.SIGKILL) == -signal.SIGKILL
  assert not (folder / "checkpoints" / f"checkpoint_{STEPS}").exists(), "killed too late"
  output = _run(folder, users_environment)
  assert "Continuing" in output
  _assert_same_end(folder, uninterrupted)
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  assert [one["step"] for one in lines if one["kind"] == "train"] == list(range(1, STEPS + 1))


@pytest.mark.slow  # in one process: tests/train/test_loop.py
def test_sigterm_saves_and_the_run_goes_on_from_that_step(
  uninterrupted, tmp_path, users_environment
):
  folder = tmp_path / "run"

  def logged() -> bool:
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and '"step": 2,' in metrics.read_text()

  process = _start(folder, users_environment, CHECKPOINT_PERIOD=1000)
  assert _stop_when(process, logged, signal.SIGTERM) == 75
  (step,) = orbax_io.steps(folder / "checkpoints")
  assert 2 <= step < STEPS
  _run(folder, users_environment, CHECKPOINT_PERIOD=1000)
  _assert_same_end(folder, uninterrupted)


@pytest.mark.slow
def test_workers_do_not_change_the_run(uninterrupted, tmp_path, users_environment):
  """Two worker processes give the batches that none gives, also after a kill."""
  folder = tmp_path / "run"
  checkpoint = folder / "checkpoints" / "checkpoint_4"
  process = _start(folder, users_environment, NUM_WORKERS=2)
  # Returns only when the workers have let go of the pipe: none outlives its parent.
  _stop_when(process, checkpoint.exists, signal.SIGKILL)
  _run(folder, users_environment, NUM_WORKERS=1)
  _assert_same_end(folder, uninterrupted)
  assert os.path.exists(folder / "config.gin")


def _logged(folder: pathlib.Path, kind: str) -> list[dict]:
  lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
  return [one for one in lines if one["kind"] == kind]


@pytest.mark.slow
def test_evaluations_change_nothing_of_a_run_that_is_killed_between_them(
  uninterrupted, tmp_path, users_environment
):
  folder = tmp_path / "run"
  settings = {"EVAL_PERIOD": 3, "EVAL_BATCH_SIZE": 2}

  def logged() -> bool:
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and '"step": 7,' in metrics.read_text()

  _stop_when(_start(folder, users_environment, **settings), logged, signal.SIGKILL)
  _run(folder, users_environment, **settings)
  _assert_same_end(folder, uninterrupted)
  scored = [(one["step"], one["task"], one["setting"]) for one in _logged(folder, "eval")]
  assert len(set(scored)) == len(scored) and {step for step, *_ in scored} == {3, 6, 9, 12}


@pytest.mark.slow
def test_a_run_that_patience_has_ended_does_nothing_more(tmp_path, users_environment):
  settings = {"EVAL_PERIOD": 1, "EVAL_BATCH_SIZE": 1, "EVAL_PATIENCE": 2}
  assert "for EVAL_PATIENCE evaluations; training ends." in _run(
    tmp_path, users_environment, **settings
  )
  last = _logged(tmp_path, "train")[-1]["step"]
  assert last < STEPS and orbax_io.steps(tmp_path / "checkpoints")[-1] == last
  assert f"Training has ended at step {last}" in _run(tmp_path, users_environment, **settings)
  assert _logged(tmp_path, "train")[-1]["step"] == last
