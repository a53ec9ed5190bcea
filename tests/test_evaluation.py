"""`ft.evaluate` and `flan-tune evaluate` on a finished run."""

import functools
import json
import shutil

import pytest

import flan_tune as ft
from flan_tune import cli, evaluation
from flan_tune.evaluate import manifest

TASKS = "playground_units,playground_topic"
NAMES = ["playground_units", "playground_topic", "playground_sentiment"]
LIMITS = ["--limit", "3", "--max_tokens", "4"]


@pytest.fixture(scope="module")
def model(finished_run) -> ft.Model:
  return ft.load(finished_run)


@pytest.fixture
def run(finished_run, tmp_path):
  """A copy, since an evaluation goes into its run."""
  folder = tmp_path / "run"
  keep = shutil.ignore_patterns("tensorboard", "report.html")
  shutil.copytree(finished_run, folder, ignore=keep)
  return folder


def evaluate(*flags: str) -> int:
  return cli.main(["evaluate", *flags])


def test_the_command_writes_answers_results_and_a_report_into_the_run(run, capsys):
  flags = ["--checkpoint", str(run), "--tasks", TASKS, *LIMITS]
  assert evaluate(*flags) == 0
  out = capsys.readouterr().out
  assert "cot" in out and "muffin" in out and "Folder: " in out
  (folder,) = (run / evaluation.FOLDER).iterdir()
  results = json.loads((folder / manifest.RESULTS).read_text())
  assert [(row["exam"], row["n"]) for row in results["rows"]] == [
    ("playground_units", 3),
    ("playground_topic", 3),
  ]
  assert results["checkpoint"]["step"] == 4 and results["seconds"]["model"] > 0
  lines = (folder / "answers-00000-of-00001.jsonl").read_text().splitlines()
  assert len(lines) == 6 and (folder / "report.html").exists()
  # The same command finds its folder again, and asks nothing.
  assert evaluate(*flags) == 0
  assert (folder / "answers-00000-of-00001.jsonl").read_text().splitlines() == lines


def test_shards_share_the_work_and_the_last_one_writes_the_results(run, tmp_path, capsys):
  flags = ["--checkpoint", str(run), "--tasks", TASKS, *LIMITS, "--by_task"]
  assert evaluate(*flags, "--output", str(tmp_path / "one")) == 0
  for shard in ("0/2", "1/2"):
    assert not (tmp_path / "two" / manifest.RESULTS).exists()
    assert evaluate(*flags, "--output", str(tmp_path / "two"), "--shard", shard) == 0
  assert "3 questions are left to other shards" in capsys.readouterr().out
  one, two = (
    json.loads((tmp_path / name / manifest.RESULTS).read_text()) for name in ("one", "two")
  )
  assert one["rows"] == two["rows"]


def test_python_gives_the_rows_and_records_without_a_folder(model):
  found = ft.evaluate(model, "playground_units", limit=2, setting="fs_opt", shots=1, max_tokens=4)
  (row,) = found.rows
  assert row["n"] == 2 and row["label"] == "fs_opt" and found.folder is None
  assert found.normalized_average is None
  records = found.records["playground_units_fs_opt"]
  assert all(record["shots"] == 1 for record in records)
  with pytest.raises(ft.UserError, match="limits.*limit"):
    ft.evaluate(model, "playground_units", limits=2)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"samples": 3}], ids=str)
def test_neither_batch_size_nor_shards_change_what_a_model_answers(model, options, tmp_path):
  def rows(batch_size: int, count: int = 1):
    ask = functools.partial(
      ft.evaluate, model, NAMES, limit=6, max_tokens=5, batch_size=batch_size, **options
    )
    if count == 1:
      return ask().records
    *_, last = (ask(output=tmp_path / "shards", shard=(k, count)) for k in range(count))
    return last.records

  def answers(records):
    found = [one for several in records.values() for one in several]
    return [(one["id"], one["extracted"], one["score"], one.get("generation")) for one in found]

  one = answers(rows(1))
  assert len(one) == 6 * 3
  assert one == answers(rows(7)) == answers(rows(32)) == answers(rows(4, count=2))


def test_function_and_package_share_a_name(model):
  import flan_tune.evaluate.engine  # noqa: F401  # makes ft.evaluate the package

  assert ft.evaluate(model, "playground_units", limit=1, max_tokens=2).rows[0]["n"] == 1


def test_gin_says_the_same_as_flags(run, tmp_path):
  flags = ["--gin_file=runs/eval.gin", f"--gin.CHECKPOINT_PATH={run}", "--gin.EVAL_LIMIT=2"]
  flags += [f"--gin.MIXTURE_OR_TASK_NAME={TASKS}", f"--gin.EVAL_OUTPUT_DIR={tmp_path / 'gin'}"]
  assert evaluate(*flags, "--max_tokens=3") == 0
  held = json.loads((tmp_path / "gin" / manifest.EVALUATION).read_text())
  assert held["options"]["limit"] == 2 and held["options"]["max_tokens"] == 3


@pytest.mark.parametrize(
  ("flags", "told"),
  [
    ([], "--checkpoint: names the model"),
    (["--checkpoint", "x"], "--suite: names what to score on"),
    (["--checkpoint", "nowhere", "--suite", "bbh"], "nowhere"),
    (["--checkpoint", "RUN", "--suite", "bhb_direct"], "bbh_direct"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--setting", "zs"], "zs_opt"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--limit", "0"], "limit"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--method", "guess"], "rank"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--shard", "2/2"], "K/N"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--processes", "0"], "--processes"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--processes=2", "--shard=0/2"], "leave one out"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--mesh", "data=3"], "devices"),
    (["--checkpoint", "RUN", "--tasks", TASKS, "--toxicity", "nothing.jsonl"], "nothing.jsonl"),
    (["--compare", "nothing", "nowhere"], "nothing"),
    (["--gin_file=runs/eval.gin", "--gin.EVAL_LIMIT=some"], "EVAL_LIMIT"),
  ],
)
def test_a_mistake_is_one_sentence(flags, told, finished_run, capsys, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert evaluate(*(str(finished_run) if flag == "RUN" else flag for flag in flags)) == 2
  error = capsys.readouterr().err
  assert told in error and "Traceback" not in error and error.count("\n") == 1
  assert not (finished_run / evaluation.FOLDER).exists()
