"""BIG-Bench Hard: letters are those of the options, and of a prompt nothing gets lost or leaks."""

import json
import re

import pytest

from flan_tune import errors
from flan_tune.sources import MissingData, bbh, open_split

INPUT = "Which name is funny?\nOptions:\n(A) rain man\n(B) ruin man"
LETTERS = {"input": INPUT, "target": "(B)"}
WORDS = {"input": "Is it (A) so?\nOptions:\n- Yes\n- No", "target": "No"}
CANARY = "NOT FOR TRAINING. canary GUID 0000\n-----\n"
ONE = "Q: {}\nA: Let's think step by step.\nFirst this.\n\nThe answer is no. So the answer is {}."
PROMPT = f"{CANARY}Name it.\n\nIn two paragraphs.\n\n" + "\n\n".join(
  ONE.format(question, answer)
  for question, answer in ((INPUT, "(A)"), ("Sort: b\nQ is it", "a b"), ("1?", "-2.5"))
)


def opened(root, content, *, split="test"):
  path = root / f"BIG-Bench-Hard/{'bbh/kite.json' if split == 'test' else 'cot-prompts/kite.txt'}"
  path.parent.mkdir(parents=True, exist_ok=True)
  content = content if isinstance(content, str) else json.dumps({"canary": "x", **content})
  path.write_text(content, encoding="utf-8")
  return bbh.open_source({"task": "kite"}, split, root)


def test_options_are_the_letters_at_the_beginnings_of_lines(tmp_path):
  rows = opened(tmp_path, {"examples": [LETTERS, WORDS]})
  assert list(rows) == [
    {"id": "0", "question": INPUT, "answer": "(B)", "options": ("(A)", "(B)")},
    {"id": "1", "question": WORDS["input"], "answer": "No", "options": ()},
  ]
  assert rows.problems == {}


@pytest.mark.parametrize(
  ("change", "reason"),
  [
    ({"target": "ruin man"}, "the answer is none of the options"),
    ({"target": "(C)"}, "the answer is none of the options"),
    ({"target": " "}, "empty field 'target'"),
    ({"input": 3}, "no text 'input'"),
  ],
)
def test_an_unusable_question_is_counted_with_its_task(tmp_path, change, reason):
  rows = opened(tmp_path, {"examples": [LETTERS | change, LETTERS]})
  assert (len(rows), rows[0]["id"]) == (1, "0")
  assert rows.problems == {f"kite: {reason}": 1}


@pytest.mark.parametrize(
  "content", ["", "[]", "{", '{"examples": 3}', '{"examples": []}', '{"examples": [{}, 3]}']
)
def test_a_file_without_questions_is_refused(tmp_path, content):
  with pytest.raises(errors.UserError, match=r"kite\.json: expected"):
    opened(tmp_path, content)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_prompt_is_taken_apart(tmp_path, ends):
  rows = list(opened(tmp_path, PROMPT.replace("\n", ends), split="exemplars"))
  assert [row["answer"] for row in rows] == ["(A)", "a b", "-2.5"]
  assert rows[1] == {
    "id": "1",
    "question": "Sort: b\nQ is it",
    "rationale": "First this.\n\nThe answer is no. So the answer is a b.",
    "answer": "a b",
    "description": "Name it.\n\nIn two paragraphs.",
    "worked": PROMPT[PROMPT.index("Q: Sort") : PROMPT.index("\n\nQ: 1?")],
  }
  assert {row["description"] for row in rows} == {rows[0]["description"]}


@pytest.mark.parametrize(
  ("old", "new", "told"),
  [
    ("\nQ: 1?", "\n1?", "3 exemplars that begin with 'Q:', found 2"),
    ("So the answer is a b.", "So it is a b.", "exemplar 2: expected it to end with 'the answer"),
    ("So the answer is a b.", "So the answer is .", "exemplar 2: expected it to end with"),
    ("So the answer is (A)", "So the answer is (C)", r"exemplar 1: its answer '\(C\)' is none of"),
    ("Q: 1?\nA:", "Q: 1?\nB:", "exemplar 3: expected a question and one line"),
    ("-----\n", "", "expected the canary line to end"),
    ("Name it.\n\nIn two paragraphs.\n\n", "", "expected the task's description"),
  ],
)
def test_a_prompt_that_lacks_a_part_is_refused_by_name(tmp_path, old, new, told):
  assert old in PROMPT
  with pytest.raises(errors.UserError, match=rf"kite\.txt: .*{told}"):
    opened(tmp_path, PROMPT.replace(old, new), split="exemplars")


@pytest.mark.parametrize("content", [b"\xff", b"", b"\0"])
def test_a_prompt_that_is_no_text_is_refused(tmp_path, content):
  path = tmp_path / "BIG-Bench-Hard/cot-prompts/kite.txt"
  path.parent.mkdir(parents=True)
  path.write_bytes(content)
  with pytest.raises(errors.UserError, match=r"kite\.txt: "):
    bbh.open_source({"task": "kite"}, "exemplars", tmp_path)


def test_missing_files_say_what_to_clone(tmp_path):
  for split in bbh.SPLITS:
    for root in (tmp_path, None):
      with pytest.raises(MissingData, match="clone github.com/suzgunmirac/BIG-Bench-Hard into"):
        bbh.locate({"task": "kite"}, split, root)


@pytest.mark.parametrize(
  ("argument", "split"),
  [({"task": "../kite"}, "test"), ({"task": 3}, "test"), ("kite", "test"), ({"task": "k"}, "dev")],
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, split):
  with pytest.raises(errors.UserError, match="source bbh"):
    bbh.locate(argument, split, tmp_path)


def test_real_tasks_are_whole(data_dir):
  rows, problems = 0, {}
  files = sorted((data_dir / "BIG-Bench-Hard/bbh").glob("*.json"))
  for path in files:
    source = open_split({"bbh": {"task": path.stem}}, "test", data_dir, where="here")
    found = len(json.loads(path.read_text(encoding="utf-8"))["examples"])
    assert len(source) + sum(source.problems.values()) == found
    rows, problems = rows + len(source), problems | source.problems
    lettered = [bool(row["options"]) for row in source]
    assert len(set(lettered)) == 1
    assert lettered[0] == bool(re.fullmatch(r"\([A-Z]\)", source[0]["answer"]))
  assert (len(files), rows) == (27, 3980)
  assert problems == {"ruin_names: the answer is none of the options": 2}


def test_real_prompts_are_three_exemplars_and_nothing_else(data_dir):
  for path in sorted((data_dir / "BIG-Bench-Hard/cot-prompts").glob("*.txt")):
    rows = list(bbh.open_source({"task": path.stem}, "exemplars", data_dir))
    assert len(rows) == 3
    joined = rows[0]["description"]
    for row in rows:
      assert row["rationale"].endswith(f"the answer is {row['answer']}.")
      joined += f"\n\nQ: {row['question']}\nA: {bbh.TRIGGER}\n{row['rationale']}"
    _, _, prompt = path.read_text(encoding="utf-8").partition("-----\n")
    assert joined.split() == prompt.split()
    test = bbh.open_source({"task": path.stem}, "test", data_dir)
    assert bool(test[0]["options"]) == rows[0]["answer"].startswith("(")
