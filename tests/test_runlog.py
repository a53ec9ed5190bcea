"""The log of a run: what a kill leaves behind is readable, and a resume logs every step once."""

import json
import os
import pathlib
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from flan_tune import runlog


def records(folder: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps(folder: pathlib.Path, kind: str = "train") -> list[int]:
  return [record["step"] for record in records(folder) if record["kind"] == kind]


def train(folder: pathlib.Path, first: int, last: int, restored: int | None = None) -> None:
  with runlog.RunLog(folder, restored=restored, tensorboard=False) as log:
    for step in range(first, last + 1):
      log.train(step, {"loss": 1 / step})


def test_every_line_has_kind_step_and_time(tmp_path):
  with runlog.RunLog(tmp_path, tensorboard=False, clock=lambda: 5.0) as log:
    log.train(1, {"loss": 2.5, "fill": 0.9})
    names = {"task": "t", "group": "cot", "held_out": True, "setting": "zs_opt"}
    log.evaluation(1, **names, exact_match=0.5, loss=1.0, n=8)
    log.event(1, "saved", "checkpoint_1")
  start, first, score, saved, end = records(tmp_path)
  assert (start["what"], end["what"]) == ("start", "end")
  assert first == {"kind": "train", "step": 1, "time": 5.0, "loss": 2.5, "fill": 0.9}
  assert score == {"kind": "eval", "step": 1, "time": 5.0, **names} | {
    "exact_match": 0.5, "loss": 1.0, "n": 8,
  }  # fmt: skip
  assert (saved["what"], saved["text"]) == ("saved", "checkpoint_1")
  assert end["peak_memory_bytes"] > 2**20


def test_resume_drops_what_came_after_the_restored_step(tmp_path):
  train(tmp_path, 1, 7)
  train(tmp_path, 5, 9, restored=4)
  assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
  assert [r["what"] for r in records(tmp_path) if r["kind"] == "event"] == [
    "start", "resume", "end",
  ]  # fmt: skip


def test_beginning_anew_empties_the_log(tmp_path):
  train(tmp_path, 1, 7)
  train(tmp_path, 1, 2)
  assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("torn", ['{"kind": "train", "st', '{"kind": "train"', "\x00\x00", "[]"])
def test_a_torn_last_line_is_dropped_and_the_next_stands_on_its_own(tmp_path, torn):
  train(tmp_path, 1, 3)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write(torn)
  assert runlog.read_lines(tmp_path / "metrics.jsonl").damaged == 1
  train(tmp_path, 4, 4, restored=3)
  assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"kind": "train", "step": 1}\n{"kind": "train", "step": 2}')
  assert runlog.truncate(path, 2).dropped == 0
  train(tmp_path, 3, 3, restored=2)
  assert steps(tmp_path) == [1, 2, 3]


def test_line_separators_inside_a_text_do_not_split_a_record(tmp_path):
  with runlog.RunLog(tmp_path, tensorboard=False) as log:
    log.event(1, "note", "one\u2028two\x85three\nfour")
  assert runlog.truncate(tmp_path / "metrics.jsonl", 1).dropped == 0
  lines = runlog.read_lines(tmp_path / "metrics.jsonl")
  assert lines.damaged == 0
  assert lines.records[1]["text"] == "one\u2028two\x85three\nfour"


def test_truncating_a_missing_or_empty_file_does_nothing(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert runlog.truncate(path, 3) == ([], 0)
  path.touch()
  assert runlog.truncate(path, 3) == ([], 0)


def test_values_are_plain_json_and_not_finite_ones_are_null(tmp_path):
  with runlog.RunLog(tmp_path, tensorboard=False) as log:
    log.train(np.int64(1), {"loss": np.float32(0.5), "grad_norm": float("nan"), "x": np.inf})
  record = records(tmp_path)[1]
  assert (record["step"], record["loss"], record["grad_norm"], record["x"]) == (1, 0.5, None, None)


def test_an_exception_is_named_as_the_end(tmp_path):
  with (
    pytest.raises(KeyboardInterrupt),
    runlog.RunLog(tmp_path, tensorboard=False) as log,
  ):
    log.train(3, {"loss": 1.0})
    raise KeyboardInterrupt
  last = records(tmp_path)[-1]
  assert (last["what"], last["step"]) == ("stopped", 3)
  assert "KeyboardInterrupt" in last["text"]


def test_lines_are_on_disk_before_the_process_is_killed(tmp_path):
  code = (
    "import pathlib, sys, time; from flan_tune import runlog\n"
    "log = runlog.RunLog(pathlib.Path(sys.argv[1]), tensorboard=False)\n"
    "log.train(1, {'loss': 1.0}); print('logged', flush=True); time.sleep(60)"
  )
  command = [sys.executable, "-c", code, str(tmp_path)]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGKILL)
  assert steps(tmp_path) == [1]


def test_a_full_disk_is_told_with_the_name_of_the_log(tmp_path):
  log = runlog.RunLog(tmp_path, tensorboard=False)
  full = os.open("/dev/full", os.O_WRONLY)
  os.dup2(full, log._file.fileno())
  os.close(full)
  for act in (lambda: log.train(1, {}), log.close):
    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics\.jsonl'"):
      act()
  log.close()
  assert len(runlog.read_lines(tmp_path / "metrics.jsonl").records) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "scores.json"
  runlog.write_json(path, {"step": 1})

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(OSError, match="No space"):
    runlog.write_json(path, {"step": 2})
  assert json.loads(path.read_text()) == {"step": 1}
  assert [entry.name for entry in tmp_path.iterdir()] == ["scores.json"]


def events(folder: pathlib.Path) -> list:
  """Reads event files back: records of length, checksum, bytes, checksum."""
  event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
  found = []
  for path in sorted((folder / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return found


def test_tensorboard_files_hold_the_same_numbers(tmp_path):
  pytest.importorskip("tensorboardX")
  with runlog.RunLog(tmp_path, clock=lambda: 7.0) as log:
    log.train(1, {"loss": 2.5, "note": "text", "done": True, "gone": float("nan")})
    log.evaluation(
      2, task="t", group="cot", held_out=False, setting="zs_opt", exact_match=0.25, n=4
    )
  found = {
    (value.tag, event.step): value.simple_value
    for event in events(tmp_path)
    for value in event.summary.value
  }
  assert found == {
    ("train/loss", 1): 2.5,
    ("eval/cot/t/zs_opt/exact_match", 2): 0.25,
    ("eval/cot/t/zs_opt/n", 2): 4.0,
  }


def test_tensorboard_is_told_to_forget_steps_after_the_restored_one(tmp_path):
  pytest.importorskip("tensorboardX")
  for restored, last in ((None, 5), (3, 6)):
    with runlog.RunLog(tmp_path, restored=restored) as log:
      for step in range((restored or 0) + 1, last + 1):
        log.train(step, {"loss": 1.0})
  assert len(list((tmp_path / "tensorboard").iterdir())) == 2
  starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
  assert starts == [0, 4]


def test_without_tensorboardx_the_run_is_logged_all_the_same(tmp_path, monkeypatch):
  monkeypatch.setattr(runlog, "tensorboard_available", lambda: False)
  with runlog.RunLog(tmp_path) as log:
    log.train(1, {"loss": 1.0})
  assert steps(tmp_path) == [1]
  assert not (tmp_path / "tensorboard").exists()


def test_the_environment_names_versions_and_machine(tmp_path):
  runlog.write_environment(tmp_path, devices=["cpu"], model="tiny", parameters=np.int64(12))
  written = json.loads((tmp_path / "environment.json").read_text())
  assert written["devices"] == ["cpu"]
  assert (written["model"], written["parameters"]) == ("tiny", 12)
  assert written["packages"]["numpy"] == np.__version__
  assert written["cpu_count"] >= 1
  assert written["python"].startswith("3.")


def test_importing_the_log_loads_neither_jax_nor_a_writer():
  code = (
    "import sys, flan_tune.runlog; print([m for m in ('jax', 'tensorboardX') if m in sys.modules])"
  )
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert out.stdout.strip() == "[]"
