"""Gin: T5X's names, strings without quotes, an allow-list for imports, one sentence on mistakes."""

import functools
import pathlib

import jax
import pytest

from flan_tune import assets, config, errors, gin_files
from flan_tune.models import registry

resolve = functools.partial(gin_files.resolve, config.Run)
QUICKSTART = ["experiments/quickstart.gin"]
OURS = assets.search_path("configs")[0]
_VALUES = (
  "VOCABULARY=v.model",
  "INITIAL_CHECKPOINT_PATH=runs/x",
  "MODEL_DIR=runs/y",
  "MIXTURE_OR_TASK_NAME=playground",
)


SIZES = sorted((*OURS.glob("models/t5_*_*_*.gin"), *OURS.glob("models/palm_*.gin")))


def _bindings_for(path: pathlib.Path) -> list[str]:
  """What the file leaves to the user."""
  text = path.read_text()
  return [one for one in _VALUES if f"{one.split('=')[0]} = %gin.REQUIRED" in text]


@pytest.mark.parametrize("path", sorted(OURS.glob("experiments/*.gin")), ids=lambda path: path.name)
def test_every_experiment_we_ship_resolves(path):
  run, _ = resolve([str(path.relative_to(OURS))], _bindings_for(path))
  assert run.train.steps > 0


@pytest.mark.parametrize("path", SIZES, ids=lambda p: p.name)
def test_every_size_we_ship_resolves(path):
  run, _ = resolve([*QUICKSTART, str(path.relative_to(OURS))], [])
  assert run.model.emb_dim >= 64


@pytest.mark.parametrize(
  ("size", "steps"),
  [("small", 98_000), ("base", 84_000), ("large", 64_000), ("xl", 38_000), ("xxl", 14_000)],
)
def test_flan_t5_has_the_values_of_the_paper(size, steps):
  """Chung et al. 2022, Table 22."""
  run, _ = resolve([f"experiments/flan_t5_{size}.gin"], list(_VALUES))
  assert run.train.steps == steps
  assert run.data.batch_size == 64
  assert run.data.lengths == {"inputs": 2048, "targets": 512}
  assert run.optimizer.learning_rate == 5e-4
  assert run.model.dropout_rate == 0.05
  assert run.model.vocab_size == 32128


PALM = {
  "8b": (8_632_012_800, 3e-3, 0.05),
  "62b": (62_495_662_080, 3e-3, 0.05),
  "540b": (540_356_474_880, 1e-3, 0.1),
}


@pytest.mark.parametrize(
  ("name", "size", "steps", "attention"),
  [
    ("flan_palm_8b", "8b", 40_000, "causal"),
    ("flan_palm_62b", "62b", 40_000, "causal"),
    ("flan_palm_540b", "540b", 21_000, "causal"),
    ("flan_cont_palm_62b", "62b", 60_000, "causal"),
    ("flan_u_palm_540b", "540b", 30_000, "prefix"),
  ],
)
def test_flan_palm_has_the_values_of_the_paper(name, size, steps, attention):
  """Chung et al. 2022, Table 22; the sizes are Chowdhery et al. 2022, Table 1."""
  run, _ = resolve([f"experiments/{name}.gin"], list(_VALUES))
  parameters, rate, dropout = PALM[size]
  assert run.train.steps == steps
  assert run.data.batch_size == 32
  assert run.data.lengths == {"inputs": 2048, "targets": 512}
  assert run.data.objective == "instructions"
  assert run.optimizer.learning_rate == rate
  assert run.optimizer.final_learning_rate is None
  assert run.optimizer.warmup_steps == run.optimizer.cooldown_steps == 0
  assert run.model.dropout_rate == dropout
  assert run.model.attention == attention
  table = run.model.vocab_size - 256_000
  assert table >= run.data.extra_ids
  shapes = jax.tree.leaves(registry.build(run.model).shapes)
  assert sum(one.size for one in shapes) == parameters + table * run.model.emb_dim


def test_u_palm_has_the_values_of_the_paper():
  """Tay et al. 2022, "Transcending Scaling Laws", 2.2 to 2.4."""
  run, _ = resolve(["experiments/u_palm_540b.gin"], list(_VALUES))
  assert (run.train.steps, run.data.batch_size) == (20_000, 32)
  assert (run.optimizer.learning_rate, run.optimizer.final_learning_rate) == (1e-4, 1e-6)
  assert (run.data.objective, run.data.mode_tokens) == ("ul2r", True)
  assert run.model.attention == "prefix"
  # About 1.3 B tokens.
  tokens = run.train.steps * run.data.batch_size * sum(run.data.lengths.values())
  assert tokens == pytest.approx(1.3e9, rel=0.02)


def test_the_resolved_text_parses_back_to_the_same_run(tmp_path):
  run, text = resolve(QUICKSTART, ["TRAIN_STEPS=7", "MODEL_DIR=a b/c"])
  (tmp_path / "again.gin").write_text(text)
  again, same = resolve([str(tmp_path / "again.gin")], [])
  assert again == run
  assert same == text


@pytest.mark.parametrize(
  ("binding", "value"),
  [
    ("MODEL_DIR=runs/my run", "runs/my run"),
    ("MODEL_DIR='runs/x'", "runs/x"),
    ('MODEL_DIR="runs/x"', "runs/x"),
    ("MODEL_DIR=C:\\runs", "C:\\runs"),
    ("MODEL_DIR=%MIXTURE_OR_TASK_NAME", "playground"),
    ("MODEL_DIR=it's", "it's"),
    ("MODEL_DIR='x'\nimport antigravity", "'x'\nimport antigravity"),
  ],
)
def test_what_is_no_literal_is_a_string(binding, value):
  run, _ = resolve(QUICKSTART, [binding])
  assert run.train.model_dir == value


def test_later_files_and_bindings_win(tmp_path):
  (tmp_path / "mine.gin").write_text("TRAIN_STEPS = 5\nBATCH_SIZE = 2\n")
  run, _ = gin_files.resolve(
    config.Run, [*QUICKSTART, str(tmp_path / "mine.gin")], ["BATCH_SIZE=3"]
  )
  assert (run.train.steps, run.data.batch_size) == (5, 3)


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("TRAIN_STEP=5", r"--gin.TRAIN_STEP: 'TRAIN_STEP'.*did you mean 'TRAIN_STEPS'"),
    ("config.Data.batchsize=5", r"'batchsize'.*did you mean 'batch_size'"),
    ("config.Dat.batch_size=5", r"'config.Dat'.*did you mean 'config.Data'"),
    ("x/config.Data.batch_size=5", r"scopes as 'x' mean nothing"),
    ("t5.T5Config.depth=5", r"t5.T5Config: 'depth' unknown"),
    ("BATCH_SIZE=%BATCH", r"'BATCH' unknown"),
    ("BATCH_SIZE=%BATCH_SIZE", r"its own value: %BATCH_SIZE -> %BATCH_SIZE$"),
    ("config.Train.steps=%gin.REQUIRED", r"^config.Train.steps has no value: set it"),
    ("MODEL=@t5.T5Cfg()", r"@t5.T5Cfg.*did you mean 't5.T5Config'"),
    ("MODEL=@config.Loss()", r"^MODEL = Loss.*: expected a network, @t5.T5Config\(\) or"),
    ("MODEL_DIR=", r"^MODEL_DIR = '': name a folder"),
    ("RANDOM_SEED=-1", r"^RANDOM_SEED = -1: expected a whole number from 0 to 2147483647"),
    ("PEAK_FLOPS=1e999", r"^PEAK_FLOPS = inf: expected FLOP/s"),
    ("Z_LOSS=-1", r"^Z_LOSS = -1: expected a number, 0 or more"),
    ("LABEL_SMOOTHING=1", r"^LABEL_SMOOTHING = 1: expected a number, at least 0 and below 1"),
    ("LOSS_NORMALIZING_FACTOR=0", r"^LOSS_NORMALIZING_FACTOR = 0: expected a number above 0"),
    ("config.Optimizer.step_offset=1", r"step_offset = 1: expected 0 or less"),
    ("config.Optimizer.beta1=1", r"beta1 = 1: expected a number, at least 0 and below 1"),
    ("BATCH_SIZE=many", r"BATCH_SIZE = 'many': expected a whole number"),
    ("BATCH_SIZE=0", r"BATCH_SIZE = 0: expected a whole number, 1 or more"),
    ("LEARNING_RATE=-1", r"LEARNING_RATE = -1: expected a number above 0"),
    ("TASK_FEATURE_LENGTHS={'inputs': 5}", r"TASK_FEATURE_LENGTHS = \{'inputs': 5\}: expected"),
    ("TASK_FEATURE_LENGTHS={'inputs': None, 'targets': 5}", r"\['inputs'\] = None: expected"),
    ("LONG_EXAMPLES=cut", r"LONG_EXAMPLES: 'cut' unknown; one of drop, trim"),
    ("TRAIN_STEPS", r"--gin.TRAIN_STEPS: expected --gin.NAME=value"),
    ("import os;X=5", r"--gin.import os;X=5: expected --gin.NAME=value"),
    ("DROPOUT_RATE=1.5", r"^DROPOUT_RATE: 1.5"),
    ("DROPOUT_RATE=x", r"^DROPOUT_RATE = 'x': expected a number"),
    ("EMB_DIM=0", r"^EMB_DIM = 0: expected a whole number, 1 or more"),
    ("PACK=false", r"^PACK = 'false': expected True or False"),
    ("SCAN_LAYERS=1", r"^SCAN_LAYERS = 1: expected True or False"),
    ("FINAL_EXAMPLES=-1", r"^FINAL_EXAMPLES = -1: expected a whole number, 0 or more"),
    ("INITIAL_CHECKPOINT_PATH=5", r"^INITIAL_CHECKPOINT_PATH = 5: expected a text or None"),
    ("config.Train.keep=two", r"^config.Train.keep = 'two': expected a whole number"),
    ("TRAINABLE=((", r"^TRAINABLE = '\(\(': no regular expression"),
    ("LORA_PATTERN=((", r"^LORA_PATTERN: '\(\(' is no regular expression"),
    ("LORA_RANK=-1", r"^LORA_RANK: -1 is not a whole number"),
    ("WITHOUT=(5,)", r"^WITHOUT = \(5,\): expected a list of names"),
    ("WITHOUT=rte", r"^WITHOUT = 'rte': expected a list of names"),
    ("LOSS_NORMALIZING_FACTOR=x", r"^LOSS_NORMALIZING_FACTOR: 'X' unknown"),
    ("REMAT=some", r"^REMAT: 'some' unknown; one of dots, full, none"),
    ("PARAM_DTYPE=float16", r"^PARAM_DTYPE: 'float16' .*65504"),
  ],
)
def test_a_wrong_binding_gets_a_sentence_with_the_nearest_name(binding, message):
  with pytest.raises(errors.UserError, match=message) as caught:
    resolve(QUICKSTART, [binding])
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("import os\n", r"bad.gin line 1: import of 'os' is not allowed.*FLAN_TUNE_GIN_IMPORTS"),
    ("from flan_tunes import x\n", r"import of 'flan_tunes.x' is not allowed"),
    ("TRAIN_STEPS = \n", r"bad.gin line 1"),
    ("TRAIN_STEPS 5\n", r"bad.gin line 1"),
    ("include 'experiments/quickstrt.gin'\n", r"'experiments/quickstrt.gin' unknown.*quickstart"),
    ("from flan_tune import confg\n", r"bad.gin line 1: import of 'flan_tune.confg': No module"),
    ("TRAIN_STEPS = 5  # \udcff\n", r"bad.gin: is no text in UTF-8"),
    ("MODEL_DIRS = 'x'\n", r"bad.gin line 1: 'MODEL_DIRS'.*did you mean 'MODEL_DIR'"),
  ],
)
def test_a_wrong_file_gets_a_sentence_with_its_line(tmp_path, text, message, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("bad.gin").write_text(text, errors="surrogateescape")
  with pytest.raises(errors.UserError, match=message):
    resolve([*QUICKSTART, "bad.gin"], [])


def test_nothing_is_imported_before_the_allow_list_was_asked(tmp_path):
  (tmp_path / "evil.gin").write_text(f"import {'antigravity'}\n")
  import sys

  with pytest.raises(errors.UserError, match="not allowed"):
    resolve([*QUICKSTART, str(tmp_path / "evil.gin")], [])
  assert "antigravity" not in sys.modules


def test_a_user_may_allow_a_module_by_name(tmp_path, monkeypatch):
  (tmp_path / "mine.gin").write_text("import colorsys\n")
  monkeypatch.setenv("FLAN_TUNE_GIN_IMPORTS", "colorsys")
  resolve([*QUICKSTART, str(tmp_path / "mine.gin")], [])


def test_a_required_value_left_out_is_named():
  with pytest.raises(errors.UserError, match="VOCABULARY has no value: set it"):
    resolve(["experiments/cot_small.gin"], [])


@pytest.mark.parametrize(
  ("files", "message"),
  [
    (["x" * 300], r"^--gin_file: 'x+' unknown"),
    (["runs/eval.gin"], r"^--gin_file=runs/eval.gin: configures no Run$"),
  ],
)
def test_a_name_that_is_of_no_training_run_gets_a_sentence(files, message):
  with pytest.raises(errors.UserError, match=message):
    resolve(files, [])


def test_a_file_may_not_include_itself(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("loop.gin").write_text("include 'loop.gin'\n")
  with pytest.raises(errors.UserError, match="loop.gin: includes itself"):
    resolve(["loop.gin"], [])
