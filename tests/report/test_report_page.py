"""The page: whole, self-contained, safe with any text, and honest about what is missing."""

import json
import re
import subprocess
import sys

import pytest

from flan_tune import report
from flan_tune.errors import UserError
from flan_tune.report.run_folder import read
from tests.report.html_page import Page

pytest.importorskip("matplotlib")

FILES = [
  "config.gin",
  "environment.json",
  "metrics.jsonl",
  "scores.json",
  "samples.jsonl",
  "data.json",
]


def page(folder) -> Page:
  return Page(report.write(folder).read_text(encoding="utf-8"))


def edit(folder, name, change):
  value = json.loads((folder / name).read_text())
  change(value)
  (folder / name).write_text(json.dumps(value))


@pytest.fixture(scope="module")
def long_page(long_run) -> str:
  return report.write(long_run).read_text(encoding="utf-8")


def test_nothing_is_fetched_from_anywhere(long_page):
  assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!#)|javascript:", long_page)
  for tag, attributes in Page(long_page).elements:
    assert tag not in ("script", "link", "img", "iframe", "object", "image", "base")
    assert not {"src", "srcset", "xlink:href", "action"} & set(attributes)
    assert attributes.get("href", "#").startswith("#")
    assert not any(name.startswith("on") for name in attributes)


def test_ids_are_unique_and_every_reference_is_found(long_page):
  ids = re.findall(r'\sid="([^"]+)"', long_page)
  assert len(ids) == len(set(ids))
  used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', long_page)
  assert {a or b for a, b in used} <= set(ids)


def test_the_page_is_small_with_three_thousand_steps(long_page):
  assert len(long_page.encode()) < 500_000


def test_the_page_is_accessible(long_page):
  found = Page(long_page)
  assert found.all("html") == [{"lang": "en"}]
  assert len(found.all("h1")) == 1
  assert all(svg["role"] == "img" and svg["aria-label"] for svg in found.all("svg"))
  assert len(found.all("svg")) == 5
  assert len(found.all("caption")) == len(found.all("table"))
  assert all("scope" in header for header in found.all("th"))
  assert {nav["aria-label"] for nav in found.all("nav")} == {"Sections"}


def test_the_page_says_what_the_run_was(long_page):
  words = Page(long_page).words
  for part in (
    "playground on t5_1_1_tiny", "7.34 M parameters", "3,000 of 3,000, best 2,400", "24,000,000",
    "5 min 50 s", "93.1%", "32 rows of inputs: 256, targets: 96", "2025-06-15", "1 x cpu",
    "learning_rate = 5e-4 # a < b && c > d", "held-out tasks",
  ):  # fmt: skip
    assert part in words, part


def test_all_tasks_are_in_the_chart_and_in_the_table(long_page, long_run):
  rows = json.loads((long_run / "scores.json").read_text())["rows"]
  found = Page(long_page)
  assert len(rows) == 36
  for row in rows:
    assert found.text.count(row["task"]) >= (2 if len(row["task"]) <= 40 else 1), row["task"]


def test_planned_seen_dropped_and_missing_are_told(run_folder):
  words = page(run_folder).words
  assert "one whose share differs from the plan" in words
  assert "-2.7!" in words
  assert "15 examples were left out" in words
  assert "inputs longer than 256 tokens" in words
  assert "QED/qed-train.jsonlines" in words


def test_the_same_run_gives_the_same_bytes(run_folder):
  first = report.write(run_folder).read_bytes()
  assert report.write(run_folder).read_bytes() == first


def test_the_users_own_plot_settings_do_not_matter(run_folder, monkeypatch):
  import matplotlib

  expected = report.write(run_folder).read_bytes()
  with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
    assert report.write(run_folder).read_bytes() == expected
    assert matplotlib.rcParams["font.size"] == 30


HOSTILE = (
  "</pre></script><script>alert('x')</script><img src=x onerror=\"y\"> & $x$ \x00\x1b[31m \ud800"
)


def test_hostile_text_stays_text(run_folder):
  def rename(value):
    value["rows"][0] |= {
      "task": HOSTILE,
      "category": HOSTILE,
      "setting": HOSTILE,
      "metric": HOSTILE,
    }
    value["rows"][1] |= {"group": HOSTILE}
    value["summary"][0]["name"] = HOSTILE

  edit(run_folder, "scores.json", rename)
  edit(run_folder, "data.json", lambda value: value.update(
    mixture=HOSTILE, missing=[{"task": HOSTILE, "path": HOSTILE, "how": HOSTILE}],
    dropped={HOSTILE: {HOSTILE: 3}}, planned={HOSTILE: 1.0}, seen={HOSTILE: 3},
  ))  # fmt: skip
  edit(run_folder, "environment.json", lambda value: value.update(
    model=HOSTILE, command=HOSTILE, devices=[HOSTILE], packages={HOSTILE: HOSTILE}
  ))  # fmt: skip
  sample = dict.fromkeys(
    ("task", "kind", "inputs", "targets", "answer", "before", "after"), HOSTILE
  )
  (run_folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
  (run_folder / "config.gin").write_text(HOSTILE.replace("\ud800", ""))
  event = {"kind": "event", "step": 1, "time": 1e300, "what": HOSTILE, "text": HOSTILE}
  with (run_folder / "metrics.jsonl").open("a") as file:
    file.write(json.dumps(event) + "\n")
  found = page(run_folder)
  assert not found.all("script")
  assert not found.all("img")
  assert "<script>alert('x')</script>" in found.text
  source = (run_folder / "report.html").read_text(encoding="utf-8")
  assert not re.search(r"[\x00-\x08\x0b-\x1f]", source)


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_said_and_the_rest_is_shown(run_folder, missing):
  (run_folder / missing).unlink()
  found = page(run_folder)
  assert f"{missing} is missing" in found.text
  assert len(found.all("h2")) == 6


def test_what_was_not_asked_for_is_not_missing(run_folder):
  for name in ("scores.json", "samples.jsonl"):
    (run_folder / name).unlink()
  asked = "FINAL_EXAMPLES = 0\nOBJECTIVE = 'ul2r'\nINITIAL_CHECKPOINT_PATH = 'runs/base'\n"
  (run_folder / "config.gin").write_text(asked)
  found = page(run_folder).text
  assert "is missing" not in found
  assert "No scores were asked for" in found
  assert re.search(r"Objective\s*ul2r", found)
  assert re.search(r"Started from\s*runs/base", found)


@pytest.mark.parametrize("kept", FILES)
def test_one_file_alone_is_enough_for_a_page(run_folder, kept):
  for name in FILES:
    if name != kept:
      (run_folder / name).unlink()
  assert page(run_folder).text.count("is missing") == len(FILES) - 1


DAMAGES = ["", "{", "[1, 2]", "null", '{"rows": 3, "summary": {"a": 1}, "seen": 4}', "\x00"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_do_not_stop_the_page(run_folder, damage):
  for name in FILES:
    (run_folder / name).write_text(damage)
  assert len(page(run_folder).all("h2")) == 6


@pytest.mark.parametrize("name", FILES[1:])
def test_a_damaged_file_is_named_and_the_others_are_read(run_folder, name):
  (run_folder / name).write_text("{")
  run = read(run_folder)
  assert [notice for notice in run.notices if name in notice]
  assert len(run.notices) == 1


def test_odd_values_do_not_stop_the_page(run_folder):
  odd = [
    {"kind": "train", "step": 1, "loss": None}, {"kind": "train", "step": "two", "loss": 1.0},
    {"kind": "train", "loss": 1.0}, {"kind": "eval", "step": 3}, {"kind": "event", "step": 4},
    {"kind": "train", "step": 5, "time": "late", "loss": True}, {"kind": []},
  ]  # fmt: skip
  lines = "".join(json.dumps(record) + "\n" for record in odd)
  lines += '{"kind": "train", "step": 6, "loss": NaN, "fill": Infinity}\n{"kind": "tra'
  (run_folder / "metrics.jsonl").write_text(lines)
  rows = [
    {},
    {"task": None, "before": "x", "after": None},
    {"task": "t", "n": "many", "after": 0.5},
  ]
  (run_folder / "scores.json").write_text(json.dumps({"rows": rows, "best_step": "no"}))
  (run_folder / "samples.jsonl").write_text('{}\n{"inputs": 3, "after": ["x"]}\n')
  (run_folder / "data.json").write_text('{"planned": [], "seen": {"a": null}, "dropped": {"a": 1}}')
  assert "a line could not be read" in page(run_folder).text


def test_a_run_without_evaluations_says_so(run_folder):
  path = run_folder / "metrics.jsonl"
  kept = [line for line in path.read_text().splitlines() if '"eval"' not in line]
  path.write_text("\n".join(kept) + "\n")
  assert "No evaluation was logged" in page(run_folder).text


def test_two_thousand_tasks_still_give_a_page_of_reasonable_size(run_folder):
  def many(value):
    value["rows"] = [
      {**value["rows"][0], "task": f"niv2_task{n:04}_some_category_or_other", "after": n / 2000}
      for n in range(2000)
    ]

  edit(run_folder, "scores.json", many)
  found = page(run_folder)
  assert "niv2_task1999" in found.text
  assert "The 80 tasks that changed most, of 2,000" in found.text
  assert (run_folder / "report.html").stat().st_size < 1_500_000


def test_examples_are_sorted_by_what_became_of_them(run_folder):
  words = page(run_folder).words
  for heading in (
    "Learned: wrong before, right after", "Still wrong", "Lost: right before, wrong after",
    "Right before and after",
  ):  # fmt: skip
    assert heading in words
  assert "(nothing)" in words


def test_loss_has_a_curve_for_every_submixture(run_folder):
  source = page(run_folder).text
  for name in ("Muffin (7)", "T0-SF (6)", "NIV2 (8)", "CoT (8)", "Held out (7)"):
    assert name in source


def test_long_prompts_are_cut_and_say_so(run_folder):
  sample = {"task": "t", "kind": "fs_opt", "inputs": "word " * 5000, "targets": "a", "after": "b"}
  (run_folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
  assert "(21,000 more characters)" in page(run_folder).text


def test_a_folder_without_a_run_is_the_users_mistake(tmp_path):
  with pytest.raises(UserError, match="no such folder"):
    report.write(tmp_path / "nowhere")
  with pytest.raises(UserError, match="holds no run"):
    report.write(tmp_path)


def test_without_matplotlib_the_user_learns_what_to_install(run_folder, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  assert not report.available()
  with pytest.raises(UserError, match=r"pip install 'flan_tune\[report\]'"):
    report.write(run_folder)


def test_importing_the_report_loads_no_plots():
  code = "import sys, flan_tune.report; print('matplotlib' in sys.modules)"
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert out.stdout.strip() == "False"
