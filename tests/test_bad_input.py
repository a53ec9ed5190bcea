"""A user's mistake ends with one sentence and exit code 2, and nothing is lost."""

import errno
import json
import os
import pathlib
import shutil
import signal
from concurrent import futures

import pytest

from flan_tune import cli, pretrained, run_lock, session
from flan_tune.checkpoint import orbax_io, saver, writing
from flan_tune.data import mixing


@pytest.fixture
def train(tmp_path, capsys, tiny_quickstart):
  """Runs `flan-tune train` on a tiny quickstart; returns exit code and what it said of errors."""

  def run(**settings: str) -> tuple[int, str]:
    bindings = {
      "MODEL_DIR": str(tmp_path / "run"),
      "TRAIN_STEPS": "4",
      "CHECKPOINT_PERIOD": "2",
      "BATCH_SIZE": "8",
      "FINAL_EXAMPLES": "0",
      **settings,
    }
    arguments = [f"--gin.{name}={value}" for name, value in bindings.items()]
    code = cli.main([*tiny_quickstart, *arguments])
    return code, capsys.readouterr().err

  return run


@pytest.fixture
def trained(finished_run, tmp_path) -> pathlib.Path:
  """A finished run in the folder that `train` uses."""
  return pathlib.Path(shutil.copytree(finished_run, tmp_path / "run"))


def _one_sentence(said: str) -> bool:
  return said.startswith("flan-tune: ") and said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
  ("settings", "parts"),
  [
    ({"TRAIN_STEPZ": "5"}, ["--gin.TRAIN_STEPZ", "did you mean 'TRAIN_STEPS'"]),
    ({"config.Train.stepz": "5"}, ["'stepz'", "did you mean 'steps'"]),
    ({"MIXTURE_OR_TASK_NAME": "playgrond"}, ["'playgrond'", "did you mean 'playground'"]),
    ({"WITHOUT": "('playground_cott',)"}, ["'playground_cott'", "'playground_cot'"]),
    ({"WITHOUT": "('playground',)"}, ["no task is left"]),
    ({"VOCABULARY": "nowhere.model"}, ["nowhere.model", "cannot read"]),
    ({"VOCAB_SIZE": "100"}, ["VOCAB_SIZE = 100", "entries"]),
    ({"TASK_FEATURE_LENGTHS": "{'inputs': 4, 'targets': 32}"}, ["none of the first 1000"]),
    ({"MESH": "data=3"}, ["MESH = 'data=3'", "8 devices"]),
    ({"MESH": "dta=8"}, ["'dta'", "did you mean 'data'"]),
    ({"BATCH_SIZE": "9"}, ["BATCH_SIZE = 9", "multiple of 8"]),
    ({"BATCH_SIZE": "4"}, ["BATCH_SIZE = 4", "multiple of 8"]),
    ({"MESH": "data=1,model=8"}, ["MESH: model=8 does not divide", "can be 1 or 2"]),
    ({"MICROBATCHES": "3"}, ["MICROBATCHES = 3", "BATCH_SIZE = 8"]),
    ({"DATA_LANES": "3"}, ["DATA_LANES = 3", "divide BATCH_SIZE = 8"]),
    ({"KEEP_EVERY": "0"}, ["KEEP_EVERY"]),
    ({"INITIAL_CHECKPOINT_PATH": "nowhere"}, ["nowhere", "no finished checkpoint"]),
    ({"MODEL_DIR": "/dev/null/run"}, ["MODEL_DIR = '/dev/null/run'"]),
    ({"EVAL_MIXTURE": "playgrond", "EVAL_PERIOD": "1"}, ["did you mean 'playground'"]),
    ({"TRAINABLE": "nothing"}, ["no parameter to train"]),
  ],
)
def test_a_wrong_setting_is_one_sentence(train, settings, parts):
  code, said = train(**settings)
  assert code == 2
  assert _one_sentence(said), said
  for part in parts:
    assert part in said


def test_a_start_that_fails_binds_its_folder_to_nothing(train, tmp_path):
  """Not to a vocabulary, say, which may be the mistake."""
  code, _ = train(INITIAL_CHECKPOINT_PATH="nowhere")
  assert code == 2
  # The lock's file stays: were it ever removed, two runs could each lock one of that name.
  (left,) = (tmp_path / "run").iterdir()
  assert left.name == run_lock.FILE_NAME and left.read_text() == ""


def test_a_missing_data_folder_lists_every_data_set_and_how_to_get_it(train, monkeypatch):
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  mixing.open_rows.cache_clear()
  code, said = train(MIXTURE_OR_TASK_NAME="flan_cot")
  assert code == 2
  assert _one_sentence(said), said
  assert "9 data sets are missing" in said
  assert "FLAN_TUNE_DATA" in said


def test_a_data_folder_that_is_not_there_is_named(train, monkeypatch):
  monkeypatch.setenv("FLAN_TUNE_DATA", "/nowhere")
  mixing.open_rows.cache_clear()
  code, said = train(MIXTURE_OR_TASK_NAME="flan_cot")
  mixing.open_rows.cache_clear()
  assert code == 2
  assert "FLAN_TUNE_DATA: '/nowhere' is not a folder" in said


def test_a_vocabulary_that_loses_what_the_mixture_needs_is_refused(train, data_dir):
  """T5's own vocabulary turns a newline into a space."""
  vocabulary = data_dir / "t5-vocab" / "cc_all.32000" / "sentencepiece.model"
  code, said = train(VOCABULARY=str(vocabulary), VOCAB_SIZE="32128")
  assert code == 2
  assert _one_sentence(said), said
  assert "playground.yaml: needs: needs '\\n'" in said


def test_a_file_that_is_no_vocabulary_is_named(train, tmp_path):
  (tmp_path / "v.model").write_text("not a model")
  code, said = train(VOCABULARY=str(tmp_path / "v.model"))
  assert code == 2
  assert "not a complete SentencePiece model" in said


def test_a_run_folder_of_another_model_is_refused_and_kept(trained, train):
  before = sorted(path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file())
  code, said = train(EMB_DIM="8", TRAIN_STEPS="6")
  assert code == 2
  assert _one_sentence(said), said
  assert "params/" in said
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]
  kept = sorted(p.stat().st_mtime_ns for p in (trained / "checkpoints").rglob("*") if p.is_file())
  assert set(kept) <= set(before)


def test_a_checkpoint_of_another_optimiser_is_refused_and_kept(trained, train):
  code, said = train(**{"config.Optimizer.beta1": "0.9", "TRAIN_STEPS": "6"})
  assert code == 2
  assert _one_sentence(said), said
  assert "checkpoint_4 is a checkpoint of another optimiser" in said
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]


def test_a_folder_of_a_live_run_is_refused(trained, train):
  before = (trained / "metrics.jsonl").read_bytes()
  with run_lock.hold(trained):
    code, said = train(TRAIN_STEPS="6")
  assert code == 2
  assert _one_sentence(said), said
  assert f"{trained} is in use by another run, process {os.getpid()} on" in said
  assert (trained / "metrics.jsonl").read_bytes() == before


def test_an_initial_checkpoint_of_another_model_is_refused(trained, train, tmp_path):
  settings = {"MODEL_DIR": str(tmp_path / "other"), "EMB_DIM": "8"}
  code, said = train(INITIAL_CHECKPOINT_PATH=str(trained), **settings)
  assert code == 2
  assert _one_sentence(said), said


def test_an_initial_checkpoint_of_the_same_model_is_taken(trained, train, tmp_path):
  settings = {"MODEL_DIR": str(tmp_path / "other")}
  code, said = train(INITIAL_CHECKPOINT_PATH=str(trained), **settings)
  assert code == 0, said


def test_another_data_order_is_refused_and_nothing_lost(trained, train):
  code, said = train(RANDOM_SEED="5", TRAIN_STEPS="6")
  assert code == 2
  assert "another seed" in said
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]


def test_a_full_disk_leaves_the_last_checkpoint(trained, train, monkeypatch):
  monkeypatch.setattr(writing, "free_bytes", lambda folder: 1000)
  code, said = train(TRAIN_STEPS="6")
  assert code == 2
  assert _one_sentence(said), said
  assert "checkpoint_6" in said
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]
  assert pretrained.load(trained).generate(["a"], max_tokens=2)


@pytest.mark.slow
def test_a_run_that_cannot_save_when_it_is_stopped_says_so(trained, train, monkeypatch):
  """Exit code 75 would promise that the state is kept."""
  record = session.Session.record

  def signalled(self, step, interval):
    monkeypatch.setattr(writing, "free_bytes", lambda folder: 1000)
    signal.raise_signal(signal.SIGTERM)
    record(self, step, interval)

  monkeypatch.setattr(session.Session, "record", signalled)
  code, said = train(TRAIN_STEPS="9", CHECKPOINT_PERIOD="100")
  assert code == 2
  assert _one_sentence(said), said
  assert "checkpoint_5 cannot be saved: No space left" in said
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]


@pytest.mark.slow
def test_a_failed_save_is_noticed_before_the_next_one_is_due(trained, train, monkeypatch):
  """And the state of that moment is saved, if it can be."""
  free, full = writing.free_bytes, [True]
  monkeypatch.setattr(writing, "free_bytes", lambda _: 1000 if full[0] else free(_))
  in_thread = saver._in_thread

  def at_once(act, *, name):
    future = in_thread(act, name=name)
    futures.wait([future])
    full[0] = False
    return future

  monkeypatch.setattr(saver, "_in_thread", at_once)
  code, said = train(TRAIN_STEPS="20", CHECKPOINT_PERIOD="5")
  assert code == 2
  assert _one_sentence(said), said
  assert "checkpoint_5 cannot be saved" in said and "checkpoint_6 has been saved since" in said
  assert orbax_io.steps(trained / "checkpoints")[-1] == 6


@pytest.mark.parametrize("name", ["config.gin", "environment.json", "metrics.jsonl"])
def test_a_folder_that_cannot_be_written_is_one_sentence(trained, train, monkeypatch, name):
  replace = os.replace

  def refuse(source, target):
    if pathlib.Path(target).name == name:
      raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    replace(source, target)

  monkeypatch.setattr(os, "replace", refuse)
  before = (trained / name).read_bytes()
  with (trained / "metrics.jsonl").open("a") as log:
    log.write("a torn li")
  code, said = train(TRAIN_STEPS="6")
  assert code == 2
  assert _one_sentence(said), said
  assert f"{trained / name}: Read-only file system; what was saved is kept" in said
  assert (trained / name).read_bytes().startswith(before)
  assert orbax_io.steps(trained / "checkpoints") == [2, 4]
  assert not list(trained.glob(".*.tmp"))


def test_a_damaged_checkpoint_is_passed_over_loudly(trained, train, caplog):
  newest = trained / "checkpoints" / "checkpoint_4"
  manifest = json.loads((newest / orbax_io.MANIFEST).read_text())
  victim = newest / max(manifest["files"], key=lambda name: (newest / name).stat().st_size)
  victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
  code, _ = train(TRAIN_STEPS="6")
  assert code == 0
  assert "checkpoint_4" in caplog.text
  assert 6 in orbax_io.steps(trained / "checkpoints")


def test_a_loss_that_is_not_finite_stops_with_step_and_tasks(train, tmp_path):
  code, said = train(LEARNING_RATE="1e30", TRAIN_STEPS="10", MAX_SKIPPED_STEPS="3")
  assert code == 2
  assert _one_sentence(said), said
  assert "not finite: " in said
  dumped = tmp_path / "run" / "nonfinite"
  assert str(dumped) in said
  assert all('"task": "playground_' in one.read_text() for one in dumped.iterdir())
  events = [json.loads(one) for one in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
  assert any(one.get("what") == "not finite" for one in events)


@pytest.mark.parametrize(
  ("arguments", "part"),
  [
    (["tasks", "list", "flan_cto"], "did you mean 'flan_cot'"),
    (["tasks", "list", "--without", "nivv2"], "did you mean 'niv2'"),
    (["tasks", "list", "--category", "sentimental"], "'sentimental' unknown"),
    (["tasks", "show", "rtf"], "did you mean 'rte'"),
    (["tasks"], "say what"),
    (["tasks", "--count", "list"], "say what, and one thing only"),
    (["tasks", "list", "flan_cot", "--mixture", "flan_2022"], "flan_cot is named already"),
    (["tasks", "gallery", "/dev/null/site", "playground_cot"], "/dev/null/site"),
    (
      ["train", "--mixture", "flan_cot", "--gin.MIXTURE_OR_TASK_NAME=flan_2022"],
      "--gin.MIXTURE_OR_TASK_NAME: is given by a flag",
    ),
    (["data", "status", "flan_cto"], "did you mean 'flan_cot'"),
    (["data", "fetch"], "name what to get"),
    (["generate", "--checkpoint", "nowhere", "hello"], "nowhere"),
    (["evaluate", "--checkpoint", "nowhere", "--tasks", "flan_cot"], "nowhere"),
    (["train"], "--gin_file"),
    (["train", "--gin_file=experiments/quikstart.gin"], "'experiments/quickstart.gin'"),
  ],
)
def test_other_commands_too(arguments, part, capsys):
  assert cli.main(arguments) == 2
  said = capsys.readouterr().err
  assert _one_sentence(said), said
  assert part in said
