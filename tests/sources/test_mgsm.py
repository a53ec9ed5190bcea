"""MGSM: numbers stay as written, and a Python file of exemplars is read but never run."""

import json

import pytest

from flan_tune import errors
from flan_tune.sources import MissingData, mgsm

GERMAN = {"language": "de"}
WORKED = {
  "10": {"q": "Frage: Wie viele?", "a": "Antwort : Es sind 3 + 4 = 7. Die Antwort ist 7."},
  "2": {"q": "Frage:\nWas\nkostet es: viel?", "a": "Antwort : 2000-800=1.200, also 1,200"},
  "1": {"q": "Frage: Wie kalt?", "a": "Antwort : 3-5=-2. Antwort -2."},
}


def opened(root, content, *, name="mgsm_de.tsv"):
  path = root / "url-nlp/mgsm" / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content.encode("utf-8", "surrogatepass"))
  return mgsm.open_source(GERMAN, "test" if name.endswith("tsv") else "exemplars", root)


def exemplars(root, by_number, **others):
  members = {"MGSM_EXEMPLARS": {"de": by_number}, **others}
  return opened(root, json.dumps(members), name="exemplars.json")


@pytest.mark.parametrize("number", ["18", "-3", "1,000", "70000", "12,345,678", "0.5"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", ""])
def test_numbers_are_kept_as_written(tmp_path, number, ends):
  rows = opened(tmp_path, f"Wie viele?\t{number}{ends}")
  assert list(rows) == [{"id": "0", "question": "Wie viele?", "answer": number}]


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    ("Wie viele?", "1 fields instead of 2"),
    ("Wie\tviele?\t3", "3 fields instead of 2"),
    (" \t3", "empty question"),
    ("Wie viele?\t1,00", "the answer is no number"),
    ("Wie viele?\tdrei", "the answer is no number"),
    ("Wie viele?\t", "the answer is no number"),
    ("", "blank line"),
    ("Wie viele\ud800?\t3", "invalid UTF-8"),
  ],
)
def test_an_unusable_line_is_counted_with_its_language(tmp_path, line, reason):
  rows = opened(tmp_path, f"Eins?\t1\n{line}\nZwei?\t2\n")
  assert [row["answer"] for row in rows] == ["1", "2"]
  assert rows.problems == {f"de: {reason}": 1}


def test_exemplars_come_in_the_order_of_their_numbers_without_their_labels(tmp_path):
  rows = list(exemplars(tmp_path, WORKED))
  assert [row["answer"] for row in rows] == ["-2", "1,200", "7"]
  assert rows[1] == {
    "id": "1",
    "question": "Was\nkostet es: viel?",
    "rationale": "2000-800=1.200, also 1,200",
    "answer": "1,200",
    "question_label": "Frage:",
    "answer_label": "Antwort :",
  }


def test_a_full_width_colon_ends_a_label(tmp_path):
  row = exemplars(tmp_path, {"1": {"q": "問題：何個: 1", "a": "答え：5+6=11。答えは11です。"}})[0]
  assert (row["question_label"], row["question"]) == ("問題：", "何個: 1")
  assert (row["answer_label"], row["answer"]) == ("答え：", "11")


@pytest.mark.parametrize(
  ("value", "told"),
  [
    ({}, "expected exemplars by number"),
    ({"eins": WORKED["1"]}, "expected exemplars by number"),
    ({"0": WORKED["1"]}, "expected exemplars by number"),
    ({"1": 3}, "de: 1: not an object"),
    ({"1": {"q": "Frage: x"}}, "de: 1: no text 'a'"),
    ({"1": WORKED["1"] | {"q": "Wie kalt?"}}, "de: 1: expected words, a colon and a text"),
    ({"1": WORKED["1"] | {"q": "Frage: "}}, "de: 1: expected words, a colon and a text"),
    ({"1": WORKED["1"] | {"a": "Antwort: kalt"}}, "de: 1: expected 'a' to end with a number"),
    (WORKED | {"3": WORKED["1"] | {"q": "Aufgabe: x"}}, "one question_label .*'Aufgabe:', 'Frage:"),
    ([WORKED], "with exemplars for 'de'"),
  ],
)
def test_exemplars_that_lack_a_part_are_refused_by_name(tmp_path, value, told):
  with pytest.raises(errors.UserError, match=rf"exemplars\.json: .*{told}"):
    exemplars(tmp_path, value)


@pytest.mark.parametrize("numbers", [[3], [], ["-2"]])
def test_an_answer_that_contradicts_the_list_of_answers_is_refused(tmp_path, numbers):
  only = {"1": WORKED["1"]}
  assert exemplars(tmp_path, only, EXEMPLAR_NUMBER_ANSWERS=[-2])[0]["answer"] == "-2"
  with pytest.raises(errors.UserError, match="de: 1: its last number, -2, is not that"):
    exemplars(tmp_path, only, EXEMPLAR_NUMBER_ANSWERS=numbers)


@pytest.mark.parametrize("assignment", ["MGSM_EXEMPLARS =", "MGSM_EXEMPLARS: dict ="])
def test_a_python_file_is_read_without_being_run(tmp_path, assignment):
  ran = tmp_path / "ran"
  module = f'''"""Text."""
import os
open({str(ran)!r}, "w")
OTHER = "\\d" + str(1)
EXEMPLAR_NUMBER_ANSWERS = [11]
{assignment} {{
  "de": {{"1": {{"q": "Fr\\u0061ge: "
                      "Wie viele?", "a": "Antwort: "  # of one
                      "11"}}}},
}}
raise SystemExit
'''
  rows = opened(tmp_path, module, name="exemplars.py")
  assert (rows[0]["question_label"], rows[0]["answer"], len(rows)) == ("Frage:", "11", 1)
  assert not ran.exists()


@pytest.mark.parametrize(
  "module",
  [
    "",
    "MGSM_EXEMPLARS = {",
    "MGSM_EXEMPLARS: dict",
    "MGSM_EXEMPLARS = dict(de={})",
    "MGSM_EXEMPLARS = open('x')",
    "MGSM_EXEMPLARS = {1: {2}}",
    "MGSM_EXEMPLARS = {'de': {'1': {'q': '\\ud800: 1', 'a': 'A: 1'}}}",
    "MGSM_EXEMPLARS = " + "[" * 5000,
    "if True:\n  MGSM_EXEMPLARS = {}",
    "\0",
  ],
)
def test_a_python_file_of_another_form_is_refused(tmp_path, module):
  with pytest.raises(errors.UserError, match=r"exemplars\.py: expected "):
    opened(tmp_path, module, name="exemplars.py")


def test_upstreams_python_file_is_preferred(tmp_path):
  with pytest.raises(
    MissingData, match=r"exemplars\.py: not found; clone github.com/google-research"
  ):
    mgsm.locate(GERMAN, "exemplars", tmp_path)
  exemplars(tmp_path, WORKED)
  (tmp_path / "url-nlp/mgsm/exemplars.py").write_text("")
  assert mgsm.locate(GERMAN, "exemplars", tmp_path).name == "url-nlp/mgsm/exemplars.py"


@pytest.mark.parametrize(
  ("argument", "split"), [({"language": "german"}, "test"), ("de", "test"), (GERMAN, "train")]
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, split):
  with pytest.raises(errors.UserError, match="source mgsm"):
    mgsm.locate(argument, split, tmp_path)


def test_real_languages_are_whole(data_dir):
  numbers = None
  for language in mgsm.LANGUAGES:
    rows = mgsm.open_source({"language": language}, "test", data_dir)
    assert (len(rows), rows.problems) == (125, {})
    numbers = numbers or [row["answer"].replace(",", "") for row in rows]
    assert [row["answer"].replace(",", "") for row in rows] == numbers


def test_real_exemplars_are_the_same_from_python_and_json(data_dir, tmp_path):
  members = json.loads((data_dir / "url-nlp/mgsm/exemplars.json").read_text(encoding="utf-8"))
  folder = tmp_path / "url-nlp/mgsm"
  folder.mkdir(parents=True)
  module = "".join(f"{name} = {ascii(value)}\n\n" for name, value in members.items())
  (folder / "exemplars.py").write_text(module)
  for language in mgsm.LANGUAGES:
    rows = list(mgsm.open_source({"language": language}, "exemplars", data_dir))
    assert list(mgsm.open_source({"language": language}, "exemplars", tmp_path)) == rows
    assert [row["answer"] for row in rows] == list(map(str, members["EXEMPLAR_NUMBER_ANSWERS"]))
    published = members["MGSM_EXEMPLARS"][language]
    for row, one in zip(rows, published.values(), strict=True):
      for label, text, whole in (
        (row["question_label"], row["question"], one["q"]),
        (row["answer_label"], row["rationale"], one["a"]),
      ):
        assert whole == label + ("" if label.endswith("：") else " ") + text
