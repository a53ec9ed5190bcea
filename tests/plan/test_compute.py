"""Plans without the hardware: memory from compiled steps, meshes that fit, time by arithmetic."""

import dataclasses
import json
import os

import pytest

from flan_tune import chips, config, errors, gin_files
from flan_tune.plan import compute, estimate, layouts, request, step, virtual

UNUSED = [f"{name}=unused" for name in ("MODEL_DIR", "VOCABULARY", "INITIAL_CHECKPOINT_PATH")]


def run_of(experiment, *bindings):
  return gin_files.resolve(config.Run, [f"experiments/{experiment}.gin"], [*UNUSED, *bindings])[0]


@pytest.fixture
def no_compiler(monkeypatch):
  """Plans by formula alone."""

  def refuse(*args, **kwargs):
    raise virtual.Failed("no compiler")

  monkeypatch.setattr(virtual, "measured", refuse)


@pytest.fixture(scope="module")
def small():
  """A run whose step compiles in seconds and whose activations dwarf what we cannot count."""
  return run_of(
    "flan_t5_small",
    "TASK_FEATURE_LENGTHS={'inputs': 512, 'targets': 128}",
    "BATCH_SIZE=16",
    "NUM_HEADS=8",
    "REMAT=full",
  )


def test_a_run_goes_through_json_and_comes_back(small):
  told = json.dumps(request.to_json(small))
  again = request.from_json(json.loads(told))
  assert json.dumps(request.to_json(again)) == told
  assert again.model == small.model and again.optimizer == small.optimizer


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=8", "data=2,fsdp=2,model=2"])
def test_estimates_come_near_the_compiled_step(small, mesh):
  """Parameters, state, gradients and batch exactly, activations within a third."""
  subject = layouts.subject(small, 8)
  layout = layouts.given(subject, mesh)
  told = step.measure(layout.of(small))
  exact = step.bytes_of_device(small, subject.parts, subject.mesh(layout))
  assert {name: told[name] for name in exact} == exact
  guess = estimate.memory(layout.of(small), layout.sizes(8), **exact)
  assert guess.activations == pytest.approx(told["temporary"] - told["gradients"], rel=1 / 3)


@pytest.mark.slow
def test_bfloat16_halves_activations_and_not_the_state():
  """XLA's programs for CPUs hold bfloat16 in 32 bits; a plan is for chips that do not."""
  # Many layers of short rows: what they keep for the gradient outweighs all that is float32.
  run = run_of(
    "flan_t5_small",
    "TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 32}",
    "BATCH_SIZE=512",
    "NUM_ENCODER_LAYERS=48",
    "REMAT=full",
    "VOCAB_SIZE=1024",
  )
  told = {}
  for dtype in ("float32", "bfloat16"):
    one = dataclasses.replace(run, model=dataclasses.replace(run.model, dtype=dtype))
    layout = layouts.Layout("data=1,fsdp=8", 1, "full").of(one)
    told[dtype] = virtual.measured(layout, devices=8, seconds=120)
  narrow, wide = told["bfloat16"], told["float32"]
  same = ("parameters", "optimizer", "gradients", "batch")
  assert all(wide[name] == narrow[name] for name in same)
  kept = [one["temporary"] - one["gradients"] for one in (narrow, wide)]
  assert 0.4 < kept[0] / kept[1] < 0.7


def test_a_compiler_that_takes_too_long_leaves_an_estimate(monkeypatch):
  monkeypatch.setattr(compute, "_SECONDS", 1.5)
  run = run_of("flan_t5_xxl")
  found = compute.of_run(run, chips=64, chip=chips.find("tpu_v4"), meshes=["fsdp=64"])
  assert found.candidates[0].source == "estimate"
  assert "took more than" in found.candidates[0].note


@pytest.mark.usefixtures("no_compiler")
def test_every_mesh_that_divides_is_weighed_and_no_other():
  found = compute.of_run(run_of("flan_palm_540b"), chips=512, chip=chips.find("tpu_v4"))
  meshes = {one.mesh for one in found.candidates}
  # 32 rows over data x fsdp, and 48 heads over model: 16 is the largest power of two in both.
  assert meshes == {f"data={2**n},fsdp={2 ** (5 - n)},model=16" for n in range(6)}
  assert not any(one.configured for one in found.candidates)
  assert any("BATCH_SIZE = 32" in note for note in found.notes)


@pytest.mark.usefixtures("no_compiler")
def test_where_nothing_fits_the_batch_is_cut_before_giving_up():
  run = run_of("flan_t5_xl", "REMAT=none")
  roomy = compute.of_run(run, chips=8, chip=chips.find("h200"))
  tight = compute.of_run(run, chips=8, chip=chips.find("tpu_v4"))
  assert tight.best is not None
  best = tight.best
  assert (best.microbatches, best.remat) != (1, "none") and best.memory.total < 32 * 2**30
  assert roomy.candidates[0].memory.total <= 141e9
  hopeless = compute.of_run(run_of("flan_palm_540b"), chips=16, chip=chips.find("t4"))
  assert hopeless.best is None and hopeless.run_seconds is None
  assert any("Nothing fits" in note for note in hopeless.notes)


@pytest.mark.usefixtures("no_compiler")
def test_what_a_plan_does_otherwise_than_the_run_is_told():
  run = run_of("flan_t5_small", "DCN_MESH=data=2", "ATTENTION_KERNEL=pallas", "MESH=data=4")
  found = compute.of_run(run, chips=8, chip=chips.find("h100"))
  assert any("divide by DCN_MESH = 'data=2' for MESH" in note for note in found.notes)
  assert any("ATTENTION_KERNEL = 'xla'" in note for note in found.notes)
  assert [one.mesh for one in found.candidates if one.configured] == ["data=8,fsdp=1,model=1"]


@pytest.mark.usefixtures("no_compiler")
def test_what_gpus_do_otherwise_than_their_data_sheets_say_is_told():
  run = run_of("flan_t5_small", "ACTIVATION_DTYPE=float32")
  told = " ".join(compute.of_run(run, chips=16, chip=chips.find("h100"), meshes=["fsdp=16"]).notes)
  for part in ("its peak in bfloat16", "all 16 GPUs", "So short a step"):
    assert part in told
  tpu = compute.of_run(run, chips=1, chip=chips.find("tpu_v4")).notes
  assert not any("its peak" in note or "GPU" in note or "short" in note for note in tpu)


@pytest.mark.parametrize(("share", "told"), [(0.7, False), (0.8, True)])
def test_a_gpu_of_which_jax_takes_too_little_is_told(share, told, monkeypatch):
  monkeypatch.setattr(virtual, "measured", lambda *_, **__: given)
  chip = chips.find("h100")
  sizes = {"parameters": 0, "optimizer": 0, "gradients": 0, "batch": 0, "new": 0}
  given = {**sizes, "temporary": int(share * chip.memory), "collectives": []}
  notes = compute.of_run(run_of("flan_t5_small"), chips=1, chip=chip).notes
  assert any("XLA_CLIENT_MEM_FRACTION" in note for note in notes) == told


@pytest.mark.parametrize(("chunk", "positions"), [(None, 128), (64, 4), (4, 1), (4096, 128)])
def test_chunks_of_the_loss_are_of_all_rows_together(small, chunk, positions):
  """As `models.chunked` cuts them: 16 rows, 2 on each of 8 devices."""
  one = dataclasses.replace(small, loss=dataclasses.replace(small.loss, chunk=chunk))
  held = estimate._logits(one, 2, {"data": 8, "fsdp": 1, "model": 1})
  table = small.model.emb_dim
  assert held == (2 * 2 * positions + table) * small.model.vocab_size * 4


@pytest.mark.usefixtures("no_compiler")
def test_a_length_that_is_cut_is_that_of_a_row_as_the_network_sees_it():
  """PaLM has both sides in one: 72 positions divide by 8, 42 and 30 do not."""
  lengths = "TASK_FEATURE_LENGTHS={'inputs': 42, 'targets': 30}"
  run = run_of("flan_palm_8b", lengths, "SHARD_LENGTH=True", "NUM_HEADS=16")
  found = compute.of_run(run, chips=8, chip=chips.find("h200"), meshes=["model=8"])
  assert found.candidates[0].mesh == "data=1,fsdp=1,model=8"


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"chips": 0}, "--chips=0"),
    ({"utilisation": 1.5}, "--utilisation=1.5"),
    ({"chips": 7}, "no data x fsdp x model of 7 devices"),
    ({"meshes": ["data=3"]}, "MESH = 'data=3'"),
    ({"meshes": ["model=8"]}, "NUM_HEADS"),
  ],
)
def test_what_cannot_be_planned_is_told_in_a_sentence(changes, told):
  settings = {"chips": 8, "chip": chips.find("tpu_v4"), **changes}
  with pytest.raises(errors.UserError, match=told):
    compute.of_run(run_of("flan_t5_small"), **settings)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), [("flan_palm_540b", 512), ("flan_t5_xxl", 64)])
def test_the_paper_s_largest_runs_are_planned_in_a_minute_and_fit(name, number, monkeypatch):
  monkeypatch.setattr(compute, "_COMPILED", 1)  # the best; the second adds seconds and no proof
  found = compute.of_run(run_of(name), chips=number, chip=chips.find("tpu_v4"))
  busy = os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
  assert found.seconds < 60 or busy
  assert found.best is not None and found.best.source == "compiled"
  assert found.best.memory.total < 32 * 2**30
