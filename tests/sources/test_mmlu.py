"""MMLU: every record is a question or is counted, and Flan's prompts come apart without loss."""

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flan_tune import errors
from flan_tune.sources import MissingData, mmlu

KITES = {"subject": "kites"}
GOOD = ["What, then?", "one", "two", 'the "third"', "four\nlines", "C"]
WORKED = (
  "Q: {}\n(A) one (B) two (C) three (D) four\n"
  "A: Let's think step by step. The answer is (A)? No. The answer is ({})."
)
PROMPT = "\nOn kites.\n\n" + "\n\n".join(
  WORKED.format(f"Is\nit {n}?", "ABCDA"[n]) for n in range(5)
)
FIELD = st.text(st.sampled_from('ab,"\n\r é'), max_size=5)


def written(root, records, *, folder="mmlu/data", split="test", quoting=csv.QUOTE_MINIMAL):
  path = root / folder / split / f"kites_{split}.csv"
  path.parent.mkdir(parents=True, exist_ok=True)
  text = io.StringIO(newline="")
  csv.writer(text, lineterminator="\n", quoting=quoting).writerows(records)
  path.write_bytes(text.getvalue().encode())


def prompts(root, value):
  path = root / "mmlu/mmlu-cot.json"
  path.parent.mkdir(exist_ok=True)
  path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
  return mmlu.open_source(KITES, "cot", root)


def test_quoted_fields_and_lines_in_them_are_read(tmp_path):
  written(tmp_path, [GOOD, [" Why?", "", *GOOD[2:5], "A"]])
  first, second = mmlu.open_source(KITES, "test", tmp_path)
  assert first == {
    "id": "0",
    "question": "What, then?",
    "choices": ("one", "two", 'the "third"', "four\nlines"),
    "answer": "C",
  }
  assert (second["question"], second["choices"][0], second["answer"]) == ("Why?", "", "A")


@pytest.mark.parametrize(
  ("bad", "reason"),
  [
    (GOOD[1:], "wrong number of columns"),
    ([*GOOD, "C"], "wrong number of columns"),
    ([*GOOD[:5], "E"], "the answer is none of A, B, C, D"),
    ([*GOOD[:5], "c"], "the answer is none of A, B, C, D"),
    ([" ", *GOOD[1:]], "empty question"),
  ],
)
def test_an_unusable_record_is_counted_with_its_subject(tmp_path, bad, reason):
  written(tmp_path, [GOOD, bad, GOOD])
  rows = mmlu.open_source(KITES, "test", tmp_path)
  assert [row["id"] for row in rows] == ["0", "1"]
  assert rows.problems == {f"kites: {reason}": 1}


@settings(
  max_examples=60,
  deadline=None,
  # The folder is shared by all examples, and every example rewrites the file it reads.
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
  records=st.lists(
    st.tuples(FIELD, FIELD, FIELD, FIELD, FIELD, st.sampled_from("ABCDE")).map(list), max_size=4
  )
)
def test_rows_are_those_that_csv_reads(tmp_path, records):
  # Quoted all, because a lone carriage return is no CSV without quotation marks.
  written(tmp_path, [GOOD, *records], quoting=csv.QUOTE_ALL)
  rows = mmlu.open_source(KITES, "test", tmp_path)
  usable = [GOOD, *(one for one in records if one[0].strip() and one[5] != "E")]
  assert len(rows) + sum(rows.problems.values()) == len(records) + 1
  assert [(row["question"], *row["choices"], row["answer"]) for row in rows] == [
    tuple(text.strip() for text in one) for one in usable
  ]


@pytest.mark.parametrize(
  ("cut", "number", "problems"),
  [(1, 2, {}), (2, 1, {"kites: the answer is none of A, B, C, D": 1})],
)
def test_a_last_line_without_its_end_counts_where_it_has_its_letter(
  tmp_path, cut, number, problems
):
  written(tmp_path, [GOOD, GOOD])
  path = tmp_path / "mmlu/data/test/kites_test.csv"
  path.write_bytes(path.read_bytes()[:-cut])
  rows = mmlu.open_source(KITES, "test", tmp_path)
  assert [row["answer"] for row in rows] == ["C"] * number
  assert rows.problems == problems


def test_a_file_without_questions_is_refused(tmp_path):
  written(tmp_path, [])
  with pytest.raises(
    errors.UserError, match=r"kites_test\.csv: expected questions of kites: it has"
  ):
    mmlu.open_source(KITES, "test", tmp_path)


def test_the_tar_may_be_unpacked_in_the_data_folder_or_in_one_of_its_own(tmp_path):
  for folder in ("hendrycks_test/data", "data", "mmlu/data"):  # the preferred one last
    written(tmp_path, [GOOD], folder=folder, split="val")
    assert mmlu.locate(KITES, "val", tmp_path).name == f"{folder}/val/kites_val.csv"
  with pytest.raises(
    MissingData, match=r"mmlu/data/dev/kites_dev\.csv: not found; unpack the data"
  ):
    mmlu.locate(KITES, "dev", tmp_path)
  with pytest.raises(MissingData, match="set FLAN_TUNE_DATA .*, then clone github.com/jasonwei20"):
    mmlu.locate(KITES, "cot", None)


@pytest.mark.parametrize(
  ("argument", "split"),
  [({"subject": "a/b"}, "dev"), ({"task": "kites"}, "dev"), (KITES, "validation")],
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, split):
  with pytest.raises(errors.UserError, match="source mmlu"):
    mmlu.locate(argument, split, tmp_path)


def test_a_prompt_is_taken_apart(tmp_path):
  rows = list(prompts(tmp_path, {"kites": PROMPT, "boats": 3}))
  assert [row["answer"] for row in rows] == list("ABCDA")
  assert rows[3] == {
    "id": "3",
    "description": "On kites.",
    "question": "Is\nit 3?",
    "options_line": "(A) one (B) two (C) three (D) four",
    "rationale": "The answer is (A)? No.",
    "answer": "D",
    "worked": WORKED.format("Is\nit 3?", "D"),
  }


@pytest.mark.parametrize(
  ("old", "new", "told"),
  [
    ("Q: Is\nit 4?", "Is\nit 4?", "expected 5 exemplars that begin with 'Q:', found 4"),
    ("answer is (D).", "answer is (E).", "exemplar 4: expected a rationale and 'The answer is"),
    ("No. The answer is (B).", "No, (B).", "exemplar 2: expected a rationale and 'The answer is"),
    ("(A)? No. The answer is (A)", "(A)", "exemplar 1: expected a rationale and"),
    ("(A) one", "A) one", "exemplar 1: expected a question, options"),
    ("Q: Is\nit 0?", "Q:", "exemplar 1: expected a question, options"),
    ("A: Let's", "Let's", "exemplar 1: expected a question, options"),
  ],
)
def test_a_prompt_that_lacks_a_part_is_refused_by_name(tmp_path, old, new, told):
  assert old in PROMPT
  with pytest.raises(errors.UserError, match=rf"mmlu-cot\.json: kites: {told}"):
    prompts(tmp_path, {"kites": PROMPT.replace(old, new)})


@pytest.mark.parametrize(
  "value", ["", "{", "3", [PROMPT], {"kite": PROMPT}, {"kites": 3}, {"kites": "\ud800"}, "[" * 9999]
)
def test_a_file_without_the_subjects_prompt_is_refused(tmp_path, value):
  with pytest.raises(errors.UserError, match=r"mmlu-cot\.json: "):
    prompts(tmp_path, value)


def test_real_subjects_are_whole(data_dir):
  subjects = [path.stem[:-4] for path in (data_dir / "mmlu/data/dev").glob("*.csv")]
  assert len(subjects) == 57
  for subject in subjects:
    for split, count in (("dev", 5), ("test", 40)):
      rows = mmlu.open_source({"subject": subject}, split, data_dir)
      assert (len(rows), rows.problems) == (count, {})
      assert all(all(row["choices"]) for row in rows)


def test_real_prompts_are_exemplars_and_nothing_else(data_dir):
  texts = json.loads((data_dir / "mmlu/mmlu-cot.json").read_text(encoding="utf-8"))
  beyond = []
  for subject, text in texts.items():
    rows = list(mmlu.open_source({"subject": subject}, "cot", data_dir))
    assert len(rows) == mmlu.FEWER.get(subject, 5) == text.count("The answer is (")
    joined = rows[0]["description"]
    for row in rows:
      joined += f"\n\nQ: {row['question']}\n{row['options_line']}\nA: {mmlu.TRIGGER} "
      joined += f"{row['rationale']} The answer is ({row['answer']})."
      beyond += [subject] if row["answer"] not in mmlu.LETTERS else []
    assert joined.split() == text.split()
  assert (len(texts), beyond) == (57, ["college_chemistry"])
