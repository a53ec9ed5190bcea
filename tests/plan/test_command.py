"""`flan-tune plan`: what is printed, what is written, and what a wrong flag is told."""

import json

import pytest

from flan_tune import chips, cli, config, flops, gin_files
from flan_tune.plan import compute, screen

QUICKSTART = ("--gin_file=experiments/quickstart.gin", "--gin.LOOKAHEAD=32", "--sample=120")
TPUS = ("--chips=4", "--chip=tpu_v4")


def candidate(mesh: str, *, seconds: float, left: int, **settings) -> compute.Candidate:
  memory = compute.Bytes(2**30, 2**20, 2**30, 2**31, 2**10)
  exchange = compute.Collective("all-gather", "fsdp", 24, 3 * 2**30)
  given = {"microbatches": 1, "remat": "full", "configured": False, "source": "estimate"}
  times = (seconds, seconds / 4, seconds / 8, seconds)
  return compute.Candidate(
    mesh, **(given | settings), memory=memory, fits=left >= 0, left=left, collectives=(exchange,),
    compute_seconds=times[0], communication_seconds=times[1], memory_seconds=times[2],
    step_seconds=times[3],
  )  # fmt: skip


@pytest.fixture
def computed(monkeypatch):
  """Stands for the half that compiles; gives what it was asked for."""
  asked = {}

  def of_run(run, *, chips, chip, utilisation, meshes):
    asked.update(run=run, chips=chips, chip=chip, utilisation=utilisation, meshes=meshes)
    candidates = (
      candidate("data=1,fsdp=4,model=1", seconds=2.5, left=2**34, source="compiled"),
      candidate("data=4,fsdp=1,model=1", seconds=2.0, left=-(2**33), configured=True, note="n"),
    )
    return compute.Computation(
      chip=chip.name, chips=chips, devices=chips, chip_memory=chip.memory, chip_flops=chip.flops,
      utilisation=utilisation, parameters=1234567, trained_parameters=1234567, slots=1408,
      flops_by_part={"mlp": 3e15, "logits": 1e15}, flops=1.2e16, rule_flops=1.1e16, steps=2000,
      run_flops=2.4e19, candidates=candidates, notes=("a note",), seconds=1.0,
    )  # fmt: skip

  monkeypatch.setattr(compute, "of_run", of_run)
  return asked


@pytest.fixture
def said(capsys):
  """Runs a plan that is to succeed; gives what it printed, spaces joined."""

  def run(*arguments: str) -> str:
    assert cli.main(["plan", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())

  return run


def test_a_plan_tells_mixture_packing_lengths_and_computation(said, computed, tmp_path):
  path = tmp_path / "plan.json"
  text = said(*QUICKSTART, *TPUS, "--utilisation=.5", f"--json={path}")
  for told in (
    "Mixture playground: 32 of 32 tasks have data",
    "sample 120 examples",
    "slots that hold tokens inputs",
    "Lengths, by packing 120 of the examples",
    "Network on 4 x tpu_v4",
    "parameters 1,234,567, all of which learn",
    "1.20e+16 for 1,408 slots",
    "mlp 75.0 %, logits 25.0 %",
    "all-gather fsdp 24 3.00 GiB",
    "as configured; too",
    "take --gin.MESH=data=1,fsdp=4,model=1 --gin.MICROBATCHES=1 --gin.REMAT=full a step",
    "a step 2.50 s at 50 % of the peak",
    "the run 83.3 min, 5.6 chip hours",
    "Note: a note",
  ):
    assert told in text
  document = json.loads(path.read_text())
  assert computed["chips"] == 4 and computed["utilisation"] == 0.5 and computed["meshes"] is None
  assert document["computation"]["candidates"][0]["memory"]["total"] > 2**32
  data = document["data"]
  assert len(data["tasks"]) == 32 and data["sampled"] == 120
  assert f"{data['flow']['epoch_examples']:,} examples drawn" in text
  assert data["proposed"]["now"]["inputs"] == 256


def test_what_only_a_run_needs_need_not_be_given(said, computed):
  text = said("--gin_file=experiments/flan_t5_xxl.gin", *TPUS, "--mesh=fsdp=4", "--mesh=model=4")
  assert "planned without INITIAL_CHECKPOINT_PATH, MODEL_DIR, VOCABULARY" in text
  assert "VOCABULARY is not set" in text
  assert computed["meshes"] == ["fsdp=4", "model=4"]


@pytest.mark.parametrize("strict", ["True", "False"])
def test_without_data_the_computation_is_planned_all_the_same(said, computed, strict, monkeypatch):
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  text = said(*QUICKSTART, *TPUS, "--gin.MIXTURE_OR_TASK_NAME=flan_cot", f"--gin.STRICT={strict}")
  assert "0 of 9 tasks have data" in text
  assert "would stop before its first step: flan_cot: 9 data sets are missing" in text
  assert "a step 2.50 s" in text


def test_the_devices_that_are_here_are_planned_for_without_a_name(said, computed):
  said(*QUICKSTART, "--gin.PEAK_FLOPS=1e12")
  assert computed["chips"] == 8  # what the tests make of one CPU
  assert computed["chip"].flops == 1e12
  assert computed["chip"].memory > 0


def test_table_2_of_the_paper_is_printed_beside_ours(said, tmp_path):
  text = said("--table2", f"--json={tmp_path / 'table.json'}")
  assert text.count(" equal ") == 10
  assert "Flan-PaLM 540B 540,000 M 21,000 32 x 2,560 5.6E+21 5.6E+21 equal" in text
  assert "is of 21,000 steps; its 30,000 are 8.0E+21" in text
  rows = json.loads((tmp_path / "table.json").read_text())["table2"]
  assert [row["printed"]["model"] for row in rows][-1] == "Flan-U-PaLM 540B" and len(rows) == 10


def test_tables_of_80_columns_have_all_their_numbers(capsys, computed, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  monkeypatch.setattr(screen, "_PLAIN_WIDTH", 80)
  assert cli.main(["plan", *QUICKSTART, *TPUS]) == 0
  text = capsys.readouterr().out
  assert max(map(len, text.splitlines())) <= 80
  assert "…" not in text
  lines = [" ".join(line.split()) for line in text.splitlines()]
  assert "1 4 1 1 full compiled 1.0 0.0 1.0 2.0 4.0 16.0" in lines
  assert "1 4 1 1 full 2.5 0.625 0.312 2.5" in lines
  assert "4 1 1 1 full 2 0.5 0.25 2 as configured; too" in lines


@pytest.mark.slow
def test_a_step_is_compiled_for_devices_that_are_not_there_and_adds_up(said, tmp_path):
  path = tmp_path / "plan.json"
  text = said(*QUICKSTART, *TPUS, "--mesh=data=2,fsdp=2", "--gin.BATCH_SIZE=16", f"--json={path}")
  assert "2 2 1 1 none compiled" in text and "all-reduce" in text
  found = json.loads(path.read_text())["computation"]
  (one,) = found["candidates"]
  assert one["source"] == "compiled" and one["fits"] and one["mesh"] == "data=2,fsdp=2,model=1"
  assert {row["axes"] for row in one["collectives"]} <= {"data", "fsdp", "data+fsdp"}
  work = flops.slots("encoder_decoder", 16, {"inputs": 256, "targets": 96})
  run, _ = gin_files.resolve(config.Run, ["experiments/quickstart.gin"], ["MODEL_DIR=unused"])
  assert found["flops"] == flops.training(run.model, work)
  peak = chips.find("tpu_v4").flops
  assert one["compute_seconds"] == pytest.approx(found["flops"] / 4 / (peak * 0.4))


@pytest.mark.parametrize(
  ("flags", "told"),
  [
    (["--sample=0"], "--sample=0: expected a whole number, 1 or more"),
    (["--sample=-3"], "--sample=-3: expected"),
    (["--chips=0", "--chip=tpu_v4"], "--chips=0: expected"),
    (["--chip=tpu_v44"], "did you mean 'tpu_v4'"),
    (["--chips=512"], "say of which kind with --chip"),
    (["--utilisation=0"], "--utilisation=0.0: expected more than 0, at most 1"),
    (["--utilisation=1.5"], "--utilisation=1.5: expected"),
    (["--utilisation=nan"], "--utilisation=nan: expected"),
    (["--most_lost=1"], "--most_lost=1.0: expected"),
    (["--json=nowhere/plan.json"], "name a file in a folder that exists"),
    (["--gin.MIXTURE_OR_TASK_NAME=playgroun"], "did you mean 'playground'"),
    (["--gin.VOCABULARY=absent.model"], "absent.model: cannot read this vocabulary"),
    (["--gin.BATCH_SIZES=3"], "did you mean 'BATCH_SIZE'"),
  ],
)
def test_a_mistake_is_one_sentence(flags, told, capsys, computed):
  assert cli.main(["plan", *QUICKSTART, *flags]) == cli.USER_ERROR
  error = capsys.readouterr().err
  assert told in error and error.count("\n") == 1


def test_a_file_that_cannot_be_written_is_told_in_a_sentence(capsys, computed):
  assert cli.main(["plan", *QUICKSTART, *TPUS, "--json=/proc/plan.json"]) == cli.USER_ERROR
  assert "--json=/proc/plan.json: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    ([], "--gin_file: no file given"),
    (["--gin_file=experiments/quickstar.gin"], "did you mean 'experiments/quickstart.gin'"),
    (["--gin_file=runs/finetune.gin", "--gin_file=models/palm_8b.gin"], "TASK_NAME has no value"),
  ],
)
def test_a_plan_needs_a_configuration(arguments, told, capsys):
  assert cli.main(["plan", *arguments]) == cli.USER_ERROR
  assert told in capsys.readouterr().err
