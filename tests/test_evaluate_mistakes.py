"""`flan-tune evaluate`, and evaluation while training, in careless hands."""

import errno
import os
import signal
import sys
import time
from typing import Any

import pytest

from flan_tune import cli, config, errors, evaluation, gin_files, scorecard
from flan_tune.commands import evaluate as command
from flan_tune.evaluate import journal
from flan_tune.model import Judged
from tests.evaluate import stand_ins

TASK = "playground_units"


def model() -> Any:
  return stand_ins.Model(lambda prompt: "12")


@pytest.mark.parametrize(
  ("flags", "told"),
  [
    (["--suite=bbhh"], "did you mean 'bbh'"),
    (["--suite=bbh", "--setting=cot"], "setting of training tasks: 'cot' unknown"),
    (["--suite=bbh", "--seed=-1"], "seed: -1 is below 0"),
    (["--suite=bbh", "--top_k=9"], "top_k: 9 needs"),
    (["--suite=bbh", "--output="], "--output: is empty"),
    (["--suite=bbh", "--flips=-1"], "--flips=-1"),
    (["--gin_file=experiments/quickstart.gin"], "configures no Evaluate"),
    # Flags fill what gin leaves open, and gin without a file is that of evaluations.
    (["--gin_file=runs/eval.gin", "--suite=bbh"], "there is no such folder"),
    (["--gin.MIXTURE_OR_TASK_NAME=bbh", "--gin.EVAL_LIMIT=2"], "there is no such folder"),
  ],
)
def test_a_mistake_is_told_before_a_model_is_read(flags, told, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["evaluate", "--checkpoint=nowhere", *flags]) == 2
  said = capsys.readouterr().err
  assert told in said and said.count("\n") == 1
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_results_do_not_go_where_a_file_is(tmp_path, below):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(errors.UserError, match="file.*cannot be made into a folder"):
    evaluation.evaluate(model(), TASK, limit=2, output=tmp_path / "file" / below)
  assert (tmp_path / "file").read_text() == "mine"


def test_results_do_not_go_into_a_training_run(tmp_path):
  (tmp_path / "metrics.jsonl").write_text("")
  with pytest.raises(errors.UserError, match="holds a training run; name another folder"):
    evaluation.evaluate(model(), TASK, limit=2, output=tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_full_disk_is_told_and_keeps_what_was_answered(tmp_path, monkeypatch):
  write, full = journal._write, []

  def filling(file, records):
    if len(full) == 2:  # answers and seconds of the first batch
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    full.append(file)
    return write(file, records)

  options = {"limit": 4, "batch_size": 2, "output": tmp_path}
  monkeypatch.setattr(journal, "_write", filling)
  with pytest.raises(errors.UserError, match="No space left.*what was answered is kept"):
    evaluation.evaluate(model(), TASK, **options)
  monkeypatch.setattr(journal, "_write", write)
  again = model()
  assert evaluation.evaluate(again, TASK, **options).rows[0]["n"] == 4
  assert len(again.asked) == 2


def test_a_closed_pipe_is_not_taken_for_a_full_disk(tmp_path):
  with pytest.raises(BrokenPipeError), evaluation._writing(tmp_path):
    raise BrokenPipeError


def _child(monkeypatch, code: str) -> list[list[str]]:
  """Lets `_others` start this program instead of flan-tune; returns what it would have started."""
  script, asked = f"import sys, time; {code}", []
  real = command.subprocess.Popen

  def start(arguments, **rest):
    asked.append(arguments)
    return real([sys.executable, "-c", script], **rest)

  monkeypatch.setattr(command.subprocess, "Popen", start)
  return asked


@pytest.mark.parametrize("flags", [["--processes=3"], ["--proc", "3"]])
def test_each_process_has_a_shard_and_starts_no_others(flags, monkeypatch):
  started = _child(monkeypatch, "pass")
  monkeypatch.setattr(sys, "argv", ["flan-tune", "evaluate", *flags, "--suite=bbh"])
  with command._others(3):
    pass
  parsed = [cli._parser().parse_args(arguments[3:]) for arguments in started]
  assert [(one.processes, one.shard) for one in parsed] == [(1, "1/3"), (1, "2/3")]
  assert all(one.suite == ["bbh"] for one in parsed)


def test_what_ended_another_process_is_told(monkeypatch, capfd):
  _child(monkeypatch, "print('flan-tune: disk is full', file=sys.stderr); sys.exit(2)")
  told = r"process 1 ended with code 2 \(disk is full\); what was answered is kept"
  with pytest.raises(errors.UserError, match=told), command._others(2):
    pass
  # What stops this process, too, is told by this one alone.
  with pytest.raises(errors.UserError, match="mine"), command._others(2):
    raise errors.UserError("mine")
  assert "disk is full" not in capfd.readouterr().err


def test_other_processes_end_when_this_one_is_asked_to(monkeypatch):
  _child(monkeypatch, "time.sleep(60)")
  former, began = signal.getsignal(signal.SIGTERM), time.monotonic()
  with pytest.raises(SystemExit) as ended, command._others(3):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
  assert ended.value.code == 128 + signal.SIGTERM and time.monotonic() - began < 30
  assert signal.getsignal(signal.SIGTERM) is former


@pytest.mark.parametrize("period", [0, 5])
def test_an_unknown_held_out_task_stops_a_run_before_it_begins(
  period, tiny_quickstart, tmp_path, capsys
):
  flags = [f"MODEL_DIR={tmp_path / 'run'}", f"EVAL_PERIOD={period}", "EVAL_MIXTURE=mmlu_dirct"]
  flags += ["TRAIN_STEPS=1", "BATCH_SIZE=8"]
  assert cli.main([*tiny_quickstart, *(f"--gin.{one}" for one in flags)]) == 2
  assert "'mmlu_dirct' unknown (did you mean 'mmlu_direct'?)" in capsys.readouterr().err
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


def _run(*flags: str) -> config.Run:
  given = ["MODEL_DIR=unused", "TRAIN_STEPS=1", "EVAL_PERIOD=5", *flags]
  return gin_files.resolve(config.Run, ["experiments/quickstart.gin"], given)[0]


def test_held_out_benchmarks_without_data_are_told(monkeypatch, capsys, tmp_path):
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  with pytest.raises(errors.UserError, match="EVAL_MIXTURE = 'mmlu_direct'.*and 56 more"):
    scorecard.held_out_exams(_run("EVAL_MIXTURE='mmlu_direct'"), model())
  mixed = _run("EVAL_MIXTURE='mmlu_direct,bbh_snarks_cot,playground_units'")
  (exam,) = scorecard.held_out_exams(mixed, model())
  assert exam.name == TASK
  said = capsys.readouterr().out
  assert "Missing, not evaluated: mmlu_" in said and "46 more of EVAL_MIXTURE" in said


def test_each_setting_of_a_task_has_a_loss_of_its_own():
  run = _run("EVAL_MIXTURE='playground_units'", "EVAL_BATCH_SIZE=3")
  asked = [
    *scorecard.held_out_exams(run, model()),
    *scorecard._exams(run, model(), [TASK], "zs_opt", held_out=True).exams,
  ]
  options = []

  class Judge(stand_ins.Model):
    def judge(self, pairs, **given):
      options.append(given)
      return [Judged((-float(len(prompt)),), greedy=True) for prompt, _ in pairs]

  judge: Any = Judge(lambda prompt: "12")
  _, losses = scorecard.score(run, judge, asked)
  assert losses.keys() == {f"{TASK}_fs_opt", f"{TASK}_zs_opt"}
  assert losses[f"{TASK}_fs_opt"] > losses[f"{TASK}_zs_opt"]
  # As the answers are asked: as many at a time, and as much of the prompt.
  assert options == [{"batch_size": 3, "max_input_tokens": 256, "long": "cut"}]
