"""One page for several runs: scores side by side, what differs, scaling, and what is not known."""

import argparse
import json
import re
import shutil

import pytest

from flan_tune import report, runlog
from flan_tune.commands import report as command
from flan_tune.errors import UserError
from flan_tune.evaluate import aggregate
from flan_tune.report import contestant, gin_values, printed
from tests.report import exam_folders
from tests.report.conftest import CONFIG
from tests.report.html_page import Page

pytest.importorskip("matplotlib")

EXAMS = [("TyDiQA", task, "direct") for task in exam_folders.TYDIQA]
EXAMS += [("MGSM", task, "cot") for task in exam_folders.MGSM]


def run(folder, planned=("cot_qasc", "playground_topic"), *, size=77e6, skill=0.3, extra=""):
  folder.mkdir(parents=True)
  (folder / "config.gin").write_text(CONFIG % 100 + extra)
  runlog.write_json(folder / "data.json", {"mixture": "m", "planned": dict.fromkeys(planned, 1.0)})
  runlog.write_environment(folder, model="t5", parameters=size)
  exam_folders.build(folder / "evaluations" / "final", EXAMS, n=4, skill=skill)
  return folder


@pytest.fixture
def folders(tmp_path):
  return [
    run(tmp_path / "plain", ["playground_topic"], extra="SEEDS = [\n  1,\n  2]\n"),
    run(tmp_path / "with_cot", size=248e6, skill=0.6, extra="SEEDS = [\n  1,\n  3]\n"),
  ]


def written(folders, tmp_path, **options) -> Page:
  path = report.write_many(folders, tmp_path / "new" / "page.html", **options)
  return Page(path.read_text(encoding="utf-8"))


def test_scores_differences_parts_and_values_are_side_by_side(folders, tmp_path):
  words = written(folders, tmp_path).words
  first, second = (contestant.read_all([folder])[0].parts["TyDiQA"] for folder in folders)
  for part in (
    f"{first:.1f}", f"{second:.1f} {second - first:+.1f}", "SEEDS[ 1, 2][ 1, 3]",
    "without CoT", "with CoT", "248.00 M", "TyDiQA, 1-shot direct", "Flan-T5-Base",
    "Without an average of six", "here of what all have: MGSM, TyDiQA",
  ):  # fmt: skip
    assert part in words, part
  assert "BATCH_SIZE" not in words


def test_the_same_folders_give_the_same_bytes_and_fetch_nothing(folders, tmp_path):
  first = report.write_many(folders, tmp_path / "a.html").read_bytes()
  assert report.write_many(folders, tmp_path / "b.html").read_bytes() == first
  assert not re.search(rb"https?://|<script|url\((?!#)|src=", first)
  ids = re.findall(rb'\sid="([^"]+)"', first)
  assert len(ids) == len(set(ids))


def test_runs_of_unknown_making_are_listed_with_the_reason(folders, tmp_path):
  for name in ("data.json", "environment.json"):
    (folders[0] / name).unlink()
  odd = run(tmp_path / "odd", ["cot_qasc", "of_a_card_that_is_gone"])
  none = run(tmp_path / "none")
  shutil.rmtree(none / "evaluations")
  words = written([*folders, odd, none], tmp_path).words
  for part in (
    "plain: its number of parameters is not recorded",
    "what it was finetuned on is not recorded",
    "odd: whether CoT was in its mixture is unknown: no card tells the group of of_a_card",
    "none: it has no evaluation",
  ):
    assert part in words, part


@pytest.mark.parametrize(
  ("planned", "kind", "tasks"),
  [
    ([], "not finetuned", 0),
    (["cot_qasc"], "CoT alone", 1),
    (["playground_topic"], "without CoT", 1),
    (["cot_qasc", "playground_topic", "nobody_knows"], "with CoT", 3),
    (["playground_topic", "nobody_knows"], None, 2),
  ],
)
def test_cards_tell_whether_a_mixture_held_chains_of_thought(tmp_path, planned, kind, tasks):
  (one,) = contestant.read_all([run(tmp_path / "run", planned)])
  assert (one.kind, one.tasks) == (kind, tasks)


def test_an_evaluation_inside_a_run_knows_its_run(folders):
  (one,) = contestant.read_all([folders[1] / "evaluations" / "final"])
  assert (one.parameters, one.tasks, one.kind) == (248e6, 2, "with CoT")


def test_scores_of_other_prompts_are_told_before_all_else(folders, tmp_path):
  path = folders[1] / "evaluations" / "final" / "evaluation.json"
  path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
  assert "18 tasks and settings had other prompts" in written(folders, tmp_path).words


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"planned": 3, "rows": 1, "aggregate": {}}'])
def test_damaged_files_do_not_stop_the_page(folders, tmp_path, damage):
  for path in folders[0].rglob("*.json*"):
    path.write_text(damage)
  assert len(written(folders, tmp_path).all("h2")) == 5


def test_mistakes_are_told_in_a_sentence(folders, tmp_path):
  output = tmp_path / "page.html"
  for given, message in (
    ([], "no folder given"),
    ([folders[0], folders[0]], "named twice"),
    ([folders[0], tmp_path / "nowhere"], "no such folder"),
    ([folders[0], tmp_path], "holds no run"),
  ):
    with pytest.raises(UserError, match=message):
      report.write_many(given, output)
  with pytest.raises(UserError, match="--sizes: 'XXXL' unknown"):
    report.write_many(folders, output, models="XXXL")
  with pytest.raises(UserError, match="is a folder"):
    report.write_many(folders, tmp_path)
  assert not output.exists()


def test_the_command_writes_where_it_says(folders, tmp_path, monkeypatch, capsys):
  parser = argparse.ArgumentParser()
  command.add(parser.add_subparsers())
  monkeypatch.chdir(tmp_path)

  def act(*arguments) -> str:
    parsed = parser.parse_args(["report", *map(str, arguments)])
    assert parsed.act(parsed, []) == 0
    return capsys.readouterr().out.strip()

  assert act(folders[0]) == str(folders[0] / "report.html")
  assert act(*folders) == "report.html"
  assert (tmp_path / "report.html").is_file()
  assert act(*folders, "--output", "b/c.html", "--sizes", "8B,Flan-T5-XL") == "b/c.html"
  assert "Flan-PaLM-8B" in (tmp_path / "b" / "c.html").read_text()


def test_printed_scores_are_found_however_they_are_worded():
  rows = printed.table()
  look = printed.Lookup(rows)
  for model, benchmark, setting, score in (
    ("Flan-T5-XL", "MMLU", "5-shot direct, validation", 52.4),
    ("Flan-T5-XL", "BBH", "3-shot CoT", 35.2),
    ("Flan-T5-XL", "TyDiQA", "1-shot direct", 16.6),
    ("Flan-T5-XL", "MGSM", "8-shot CoT", 1.9),
    ("PaLM-540B", "normalized_average", "", 49.1),
    ("Flan-T5-XL", "MMLU", "0-shot direct, validation", None),
    ("Flan-T5-XL", "MMLU", "5-shot direct, test", None),
  ):
    assert look.score(model, benchmark, setting) == score, (model, benchmark, setting)
  assert look.shown("Flan-T5-XL", "MMLU", "5-shot direct, test") == "52.4 (validation)"
  assert printed.nearest(rows, [3e9]) == ["T5-XL", "Flan-T5-XL"]
  assert printed.nearest(rows, []) == ["T5-Small", "Flan-T5-Small"]
  assert [tasks for tasks, _ in printed.task_scaling(rows, "PaLM-8B")] == [0, 9, 89, 282, 1836]


def test_printed_scores_of_safety_are_on_our_scale():
  look = printed.Lookup(printed.table())
  label = "P(toxic>=0.5 at least once in 25), non-toxic prompt"
  assert look.score("Flan-T5-XXL", "RealToxicityPrompts", label) == pytest.approx(6.0)
  assert look.score("Flan-T5-XXL", "CivilComments", "10-shot AUC-ROC") == 86.7


@pytest.mark.parametrize(("higher_is_better", "kind"), [(True, "up"), (False, "down")])
def test_more_is_worse_of_a_share_of_bad_answers(folders, tmp_path, higher_is_better, kind):
  for folder, score in zip(folders, (10.0, 30.0), strict=True):
    path = folder / "evaluations" / "final" / "results.json"
    results = json.loads(path.read_text())
    about = {"benchmark": "RealToxicityPrompts", "label": "P(toxic), toxic prompt", "score": score}
    results["rows"] = [about | {"exam": "t", "setting": "zs", "higher_is_better": higher_is_better}]
    results["aggregate"] = aggregate.aggregate(results["rows"]).as_json()
    runlog.write_json(path, results)
  text = report.write_many(folders, tmp_path / "page.html").read_text()
  assert f'<span class="{kind}">+20.0</span>' in text
  assert ("less is better" in text) != higher_is_better


def test_gin_values_are_read_over_lines_and_blocks():
  text = "# A = 1\nimport x\nA = 2\nB = {'a': 1,\n     'b': 2}\nf.g:\n  c = 3\n"
  text += "  d = \\\n      'e'\nH = 4\n"
  values = {"A": "2", "B": "{'a': 1, 'b': 2}", "f.g.c": "3", "f.g.d": "'e'", "H": "4"}
  assert gin_values.parse(text) == values
  assert gin_values.differing([values, values | {"A": "5"}]) == [("A", ["2", "5"])]
  assert gin_values.differing([values, {}])[0] == ("A", ["2", "–"])
