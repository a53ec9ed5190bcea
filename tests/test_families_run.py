"""The main job with every family, and with adapters: train, resume, evaluate, generate."""

import json
import shutil

import numpy as np
import pytest

from flan_tune import cli, convert
from flan_tune.checkpoint import orbax_io

STEPS = 4
TINY = {
  "EMB_DIM": 16,
  "NUM_HEADS": 2,
  "MLP_DIM": 32,
  "BATCH_SIZE": 8,
  "DROPOUT_RATE": 0.1,
  "LOOKAHEAD": 32,
  "TRAIN_STEPS": STEPS,
  "CHECKPOINT_PERIOD": STEPS // 2,
  "KEEP_CHECKPOINTS": 10,
  "LOG_PERIOD": 3,
  "EVAL_PERIOD": 0,
  "FINAL_EXAMPLES": 0,  # what it takes is tested once, by the quickstart
}
PALM = ("experiments/quickstart_palm.gin", {"NUM_LAYERS": 1, "HEAD_DIM": 8})
T5 = ("experiments/quickstart.gin", {"NUM_ENCODER_LAYERS": 1, "NUM_DECODER_LAYERS": 1})
LORA = {"LORA_RANK": 2, "TRAINABLE": ".*lora.*"}
FAST = {
  "palm": (PALM, {}),
}
SLOW = {
  "t5_lora": (T5, LORA),
  "palm_scanned_causal": (PALM, {"SCAN_LAYERS": True, "ATTENTION": "causal"}),
  "palm_lora_scanned": (PALM, {**LORA, "SCAN_LAYERS": True}),
}
JOBS = FAST | SLOW


def train(folder, job, **changes):
  (file, family), settings = JOBS[job]
  bindings = {**TINY, **family, **settings, "MODEL_DIR": folder, **changes}
  arguments = [f"--gin.{name}={value}" for name, value in bindings.items()]
  return cli.main(["train", f"--gin_file={file}", *arguments])


@pytest.fixture(
  scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def job(request):
  return request.param


@pytest.fixture(scope="module")
def run(job, tmp_path_factory):
  folder = tmp_path_factory.mktemp(job) / "run"
  assert train(folder, job) == 0
  return folder


def arrays(folder, step):
  return orbax_io.read_arrays(folder, step=step)


def losses(folder):
  lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
  return [(one["step"], one["loss"]) for one in lines if one["kind"] == "train"]


def test_a_resumed_run_ends_like_an_uninterrupted_one(job, run, tmp_path):
  again = tmp_path / "again"
  shutil.copytree(run, again)
  shutil.rmtree(again / "checkpoints" / f"checkpoint_{STEPS}")
  assert train(again, job) == 0
  ours, theirs = (arrays(folder, STEPS) for folder in (again, run))
  assert ours.keys() == theirs.keys()
  for name, array in ours.items():
    assert array.tobytes() == theirs[name].tobytes(), name
  states = [orbax_io.read_documents(folder, step=STEPS)["data"] for folder in (again, run)]
  assert states[0] == states[1]
  assert losses(again) == losses(run)
  assert [step for step, _ in losses(run)] == [2, 3, 4]  # the first and the last are checkpoints


def test_a_finished_run_answers_and_is_scored(run, capsys):
  assert cli.main(["generate", "--checkpoint", str(run), "--max_tokens", "3", "one", ""]) == 0
  assert len(capsys.readouterr().out.splitlines()) == 2
  arguments = ["--tasks", "playground_cot", "--limit", "1", "--max_tokens", "3"]
  assert cli.main(["evaluate", "--checkpoint", str(run), *arguments]) == 0
  assert (run / "report.html").exists()


def test_what_learns_moves(run):
  middle, end = (arrays(run, step) for step in (STEPS // 2, STEPS))
  moved = [not np.array_equal(middle[name], end[name]) for name in end if "params/" in name]
  assert all(moved)


def test_a_checkpoint_of_adapters_is_small_and_names_its_base(job, run):
  held = {name for name in arrays(run, STEPS) if name.startswith("params/")}
  meta = orbax_io.read_documents(run)["meta"]
  environment = json.loads((run / "environment.json").read_text())
  if "lora" not in job:
    assert "base" not in meta
    assert environment["trained_parameters"] == environment["parameters"]
    return
  assert held
  assert all(name.endswith(("lora_a", "lora_b")) for name in held)
  assert meta["base"]["path"] is None
  assert meta["base"]["seed"] == 0
  assert environment["trained_parameters"] < 0.1 * environment["parameters"]


def test_adapters_of_another_base_are_refused(job, run, tmp_path, capsys):
  if job != "t5_lora":
    pytest.skip("one family is enough")
  other = tmp_path / "other"
  shutil.copytree(run, other)
  capsys.readouterr()
  assert train(other, job, RANDOM_SEED=1) == 2
  said = capsys.readouterr().err
  assert "holds only the parameters that learned" in said
  assert "seed 0" in said


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_it_began_with(finished_run, tmp_path):
  """Although the run that it names has trained on since."""
  base, run = tmp_path / "base", tmp_path / "run"
  shutil.copytree(finished_run, base, ignore=shutil.ignore_patterns("checkpoint_4"))
  (base / "checkpoints" / "best.json").unlink(missing_ok=True)
  changes = {"INITIAL_CHECKPOINT_PATH": base}
  assert train(run, "t5_lora", TRAIN_STEPS=1, **changes) == 0
  newer = "checkpoints/checkpoint_4"
  shutil.copytree(finished_run / newer, base / newer)
  assert train(run, "t5_lora", TRAIN_STEPS=2, **changes) == 0
  assert orbax_io.read_documents(run)["meta"]["base"]["path"].endswith("checkpoint_2")


def test_a_converted_run_cannot_go_on(finished_run, tmp_path, capsys):
  folder = tmp_path / "converted"
  convert.convert(finished_run, folder, to="flan_tune", probe=False)
  assert train(folder, "t5_lora", LORA_RANK=0, TRAINABLE=".*") == 2
  said = capsys.readouterr().err
  assert "do not say where a run's data stood" in said
  assert "INITIAL_CHECKPOINT_PATH" in said
