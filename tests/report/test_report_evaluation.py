"""Pages of evaluations: whole, honest about what went wrong, bounded, safe with any text."""

import json
import re

import pytest

from flan_tune import report
from flan_tune.report import answers, exam_folder
from tests.report import exam_folders
from tests.report.html_page import Page

pytest.importorskip("matplotlib")

FEW = [
  *(("BBH", task, setting) for task in exam_folders.BBH[:4] for setting in ("direct", "cot")),
  ("BBH", "ruin_names", "direct"),
  ("TyDiQA", "ar", "direct"),
  ("TyDiQA", "te", "direct"),
  ("MGSM", "bn", "cot"),
]
FILES = ["evaluation.json", "results.json", "answers-00000-of-00002.jsonl"]
HOSTILE = (
  "</pre></script><script>alert('x')</script><img src=x onerror=\"y\"> & $x$ \x00\x1b[31m \ud800"
  " \u202egnol\u2066 🎈\ufe0f " + "x" * 5_000
)


@pytest.fixture
def folder(tmp_path):
  return exam_folders.build(tmp_path / "eval", FEW, n=12, samples=5)


def page(folder) -> Page:
  return Page(report.write(folder).read_text(encoding="utf-8"))


def edit(path, change):
  value = json.loads(path.read_text())
  change(value)
  path.write_text(json.dumps(value))


def rewrite(folder, change):
  """Applies a change to every record of every file of answers."""
  for path in folder.glob("answers-*"):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(one)) + "\n" for one in records))


def test_the_page_tells_scores_intervals_chance_and_what_went_wrong(folder):
  found = page(folder)
  results = json.loads((folder / "results.json").read_text())
  mean = next(m for m in results["aggregate"]["benchmarks"] if m["setting"] == "3-shot CoT")
  for part in (
    f"{mean['macro']:.1f}", f"{mean['low']:.1f} to {mean['high']:.1f}", "13:32, 95 % of it in",
    "answer key outside the options", "validation stands in for test", "1 line of answers was torn",
    "winogender/all_sentences.tsv", "T5-Small", "exemplars dropped", "There is no average of six",
  ):  # fmt: skip
    assert part in found.words, part
  for benchmark in ("BBH", "TyDiQA", "MGSM"):
    assert f"Tasks of {benchmark}" in found.words
  assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))
  assert len(found.all("caption")) == len(found.all("table"))


def test_shares_by_group_are_shown_without_a_chance(folder):
  extra = {"by_group": {"religion": 0.25}, "by_prompt_toxicity": [], "curve": {"strict": {"1": 2}}}
  more = {"higher_is_better": False, "chance": 0.0, "extra": extra}
  edit(folder / "results.json", lambda results: results["rows"][0].update(more))
  row = exam_folder.read(folder).rows[0]
  assert (row.extra, row.chance) == ({"by_group: religion": 0.25}, None)
  assert "by group: religion" in page(folder).words


def test_published_scores_stand_beside_ours(folder):
  text = Page(report.write(folder, models="XL").read_text()).words
  # Flan-T5-XL in Table 5: BBH CoT 35.2, TyDiQA 16.6; T5-XL: BBH direct 27.4.
  assert all(score in text for score in ("35.2", "16.6", "27.4", "Flan-T5-XL"))
  assert "Flan-T5-XL" not in Page(report.write(folder, models="none").read_text()).words


def test_answers_of_every_sort_are_there_to_read(folder):
  words = page(folder).words
  for heading in answers.SORTS.values():
    assert (heading in words) == (heading != "Neither right nor wrong"), heading
  assert "judged right" in words


@pytest.mark.parametrize(
  ("record", "sort"),
  [
    ({"score": {"strict": 1.0, "loose": 1.0}, "ended": "length"}, "right"),
    ({"score": {"strict": 0.0, "loose": 1.0}, "extracted": {"strict": "(A)"}}, "wrong"),
    ({"score": {"strict": 0.0}, "extracted": {"strict": None, "loose": "(A)"}}, "unparsable"),
    ({"score": {"strict": 0.0}, "extracted": {"strict": None}, "ended": "length"}, "truncated"),
    ({"score": {"plain": 0.0}, "extracted": {"plain": "(A)"}, "method": "rank"}, "wrong"),
    ({"score": {}, "extracted": {"strict": "text"}}, "unjudged"),
  ],
)
def test_an_answer_is_sorted_by_its_headline(record, sort):
  assert answers.sort(record) == sort


def test_prompts_are_in_full_and_examples_leave_out_what_all_share(folder):
  source = report.write(folder).read_text(encoding="utf-8")
  shared = "The 8. ship carries 56 boxes"  # the last of MGSM's exemplars
  assert source.count(shared) == 1


def test_neither_order_nor_shards_change_a_byte(folder):
  first = report.write(folder).read_bytes()
  paths = sorted(folder.glob("answers-*"))
  lines = [line for path in paths for line in path.read_text().splitlines()]
  for path in paths:
    path.unlink()
  (folder / "answers-00000-of-00001.jsonl").write_text("\n".join(reversed(lines)) + "\n")
  assert report.write(folder).read_bytes() == first


def test_a_question_answered_twice_counts_once_and_is_told(folder):
  first = next(iter(sorted(folder.glob("answers-*"))))
  line = first.read_text().splitlines()[0]
  with first.open("a") as file:
    file.write(line + "\n")
  assert "1 answers stand twice" in page(folder).words


def test_self_consistency_is_the_expected_vote(folder):
  """With k = 1 it is the mean over samples, with all samples nearly the recorded vote."""
  words = page(folder).words
  records = [r for r in exam_folder.read(folder).answers([]) if r.get("samples")]
  judged = [
    one["extracted"]["strict"] == record["target"]
    for record in records
    for one in record["samples"]
  ]
  assert f"{100 * sum(judged) / len(judged):.1f}" in words
  assert "k = 5" in words
  assert "k = 6" not in words


def test_samples_that_were_stopped_early_give_no_curve(folder):
  def shorten(record):
    if "samples" in record and record["id"].endswith("3"):
      record["samples"] = record["samples"][:3]
    return record

  rewrite(folder, shorten)
  words = page(folder).words
  assert "Without a curve" in words
  assert "3 to 5" in words


def test_hostile_text_stays_text(folder):
  def poison(record):
    record |= {"id": HOSTILE + record["id"], "target": HOSTILE, "generation": HOSTILE}
    record |= {"prompt": HOSTILE, "extracted": {"strict": HOSTILE, "loose": HOSTILE}}
    return record

  def name(value):
    value["checkpoint"] = {"path": HOSTILE, HOSTILE: HOSTILE}
    value["notes"] = [HOSTILE]
    value["rows"][0] |= dict.fromkeys(("exam", "benchmark", "label", "stand_in"), HOSTILE)
    value["rows"][1] |= {"problems": {HOSTILE: 1}, "extra": {HOSTILE: 1}, "scores": {HOSTILE: 3}}
    value["aggregate"]["benchmarks"][0] |= {"benchmark": HOSTILE, "setting": HOSTILE}
    value["aggregate"]["parts"] = {HOSTILE: 1.0}

  rewrite(folder, poison)
  edit(folder / "results.json", name)
  found = page(folder)
  assert not found.all("script")
  assert not found.all("img")
  source = (folder / "report.html").read_text(encoding="utf-8")
  assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", source)
  assert "[U+202E]gnol" in source
  assert "default-src 'none'" in found.all("meta")[2]["content"]


def test_long_texts_do_not_make_a_large_page(tmp_path):
  many = [("BBH", task, setting) for task in exam_folders.BBH for setting in ("direct", "cot")]
  folder = exam_folders.build(tmp_path / "eval", many, n=4, prompt='"<&>"' * 12_000)
  assert sum(path.stat().st_size for path in folder.glob("answers-*")) > 12_000_000
  words = page(folder).words
  assert (folder / "report.html").stat().st_size < 5_000_000
  assert "For the size of the page" in words


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_said_and_the_rest_is_shown(folder, missing):
  (folder / missing).unlink()
  if missing.startswith("answers"):
    (folder / "answers-00001-of-00002.jsonl").unlink()
  found = page(folder)
  assert len(found.all("h2")) >= 6
  told = missing.startswith("evaluation") or f"{missing.partition('-')[0]}" in found.words
  assert told


DAMAGES = ["", "{", "[1, 2]", "null", "\x00", '{"rows": 3, "aggregate": [1], "seconds": "x"}',
           '{"rows": [{}, {"score": "x", "n": 1e999, "scores": []}], "options": 3, "notes": {}}',
           '{"exam": 3, "score": {"strict": "x"}, "samples": [{}], "vote": 3, "extracted": [1]}',
           "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_do_not_stop_the_page(folder, damage):
  for name in FILES:
    (folder / name).write_text(damage)
  assert len(page(folder).all("h2")) >= 6


def test_a_torn_line_is_told_and_the_others_are_read(folder):
  with (folder / FILES[2]).open("a") as file:
    file.write('{"exam": "bbh_snarks", "set')
  found = page(folder)
  assert f"{FILES[2]}: a line could not be read" in found.words


def test_ranked_options_are_shown_with_their_log_probabilities(folder):
  def rank(record):
    record |= {"method": "rank", "score": {"plain": 0.0, "normalised": 1.0}}
    record |= {"options": [{"text": "(A)", "log_prob": -3.25}, {"text": "(B)", "log_prob": 0.0}]}
    return record | {"extracted": {"plain": "(B)", "normalised": "(A)"}}

  rewrite(folder, rank)
  words = page(folder).words
  assert "(B) 0.00 (A) -3.25" in words
  assert "plain: (B); normalised: (A)" in words


def test_a_run_shows_the_newest_of_its_evaluations(run_folder):
  for step, skill in ((900, 0.1), (1000, 0.5)):
    place = run_folder / "evaluations" / f"step_{step}"
    exam_folders.build(place, FEW, n=4, skill=skill, step=step)
  found = page(run_folder)
  assert "about the newest, step_1000" in found.words
  assert "step_900" in found.words
  headings = re.findall(r"<h2>(.*?)</h2>", (run_folder / "report.html").read_text())
  for heading in ("Learning", "Evaluations", "Benchmarks", "Answers", "Mixture", "Environment"):
    assert heading in headings
