"""A killed run goes on exactly where its last checkpoint left it: real processes, real signals."""

import io
import pathlib
import signal
import sys

import numpy as np
import pytest

from flan_tune import assembly, cli
from flan_tune.checkpoint import orbax_io
from flan_tune.train import recorder, stopping
from tests import several_hosts

STEPS = several_hosts.STEPS
_EVALUATED = {"EVAL_MIXTURE": "playground_opinion", "EVAL_BATCH_SIZE": 2, "MAX_DECODE_TOKENS": 2}


def _stop_when_logged(
  folder: pathlib.Path, step: int, number: signal.Signals, **settings: object
) -> int:
  """Starts, and sends the signal as soon as a step is in the log; returns the exit code."""
  run = several_hosts.Run(folder, 1, settings)
  run.wait_for(lambda: run.logged(step))
  run.processes[0].send_signal(number)
  # Returns only when the feed's workers have let go of the pipe: none outlives its parent.
  ((code, _),) = run.end()
  return code


def _assert_same_end(ours: pathlib.Path, theirs: pathlib.Path) -> None:
  left, right = map(several_hosts.arrays, (ours, theirs))
  assert left.keys() == right.keys()
  for name, array in left.items():
    assert array.tobytes() == right[name].tobytes(), name
  assert several_hosts.data_order(ours) == several_hosts.data_order(theirs)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("uninterrupted") / "run"
  several_hosts.complete(folder, 1)
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


def test_a_run_whose_output_nobody_reads_does_not_end_as_if_it_were_done(monkeypatch):
  class Told(io.StringIO):
    def close(self):
      pass

  def train(*_):
    raise BrokenPipeError

  monkeypatch.setattr(sys, "stderr", told := Told())
  monkeypatch.setattr(cli, "_train", train)
  assert cli.main(["train"]) == 141
  assert "training stops; the same command goes on" in told.getvalue()


# In one process, without a kill: tests/test_families_run.py.
@pytest.mark.slow
def test_a_run_killed_twice_ends_byte_equal_with_other_workers_each_time(uninterrupted, tmp_path):
  """Parameters, optimiser state and data order; the log has every step once."""
  for moment, workers in ((5, 2), (9, 0)):
    # Waiting for its files, so that the step before is saved; otherwise: test_kill_campaign.py.
    settings = {"ASYNC_CHECKPOINTS": False, "NUM_WORKERS": workers}
    code = _stop_when_logged(tmp_path, moment, signal.SIGKILL, **settings)
    assert code == -signal.SIGKILL
    saved = orbax_io.steps(tmp_path / "checkpoints")[-1]
    assert moment - 1 <= saved < STEPS
  told = several_hosts.complete(tmp_path, 1, {"NUM_WORKERS": 1})
  assert f"Continuing {tmp_path} from step {saved}" in told and "Traceback" not in told
  _assert_same_end(tmp_path, uninterrupted)
  steps = [one["step"] for one in several_hosts.logged(tmp_path, "train")]
  assert steps == list(range(1, STEPS + 1))


@pytest.mark.slow  # in one process: tests/train/test_loop.py
def test_sigterm_saves_and_the_run_goes_on_from_that_step(uninterrupted, tmp_path):
  settings = {"CHECKPOINT_PERIOD": 1000}
  assert _stop_when_logged(tmp_path, 2, signal.SIGTERM, **settings) == 75
  (step,) = orbax_io.steps(tmp_path / "checkpoints")
  assert 2 <= step < STEPS
  several_hosts.complete(tmp_path, 1, settings)
  _assert_same_end(tmp_path, uninterrupted)


@pytest.mark.slow
def test_evaluations_change_nothing_of_a_run_that_is_killed_between_them(uninterrupted, tmp_path):
  settings = _EVALUATED | {"EVAL_PERIOD": 3}
  assert _stop_when_logged(tmp_path, 7, signal.SIGKILL, **settings) == -signal.SIGKILL
  several_hosts.complete(tmp_path, 1, settings)
  _assert_same_end(tmp_path, uninterrupted)
  lines = several_hosts.logged(tmp_path, "eval")
  scored = [(one["step"], one["task"], one["setting"]) for one in lines]
  assert len(set(scored)) == len(scored) and {step for step, *_ in scored} == {3, 6, 9, 12}


@pytest.mark.slow
def test_a_run_that_patience_has_ended_does_nothing_more(tmp_path):
  settings = _EVALUATED | {"EVAL_PERIOD": 1, "EVAL_PATIENCE": 1}
  told = several_hosts.complete(tmp_path, 1, settings)
  assert "for EVAL_PATIENCE evaluations; training ends." in told
  trained = several_hosts.logged(tmp_path, "train")
  last = trained[-1]["step"]
  assert last < STEPS and orbax_io.steps(tmp_path / "checkpoints")[-1] == last
  told = several_hosts.complete(tmp_path, 1, settings)
  assert f"Training has ended at step {last}" in told
  assert several_hosts.logged(tmp_path, "train") == trained
