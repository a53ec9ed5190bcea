"""Winogender schemas: what a sentence's name says, and which sentences contradict a stereotype."""

import pytest

from flan_tune import errors, sources
from flan_tune.sources import missing, winogender

SENTENCES = {
  "plumber.tenant.0.male": "The plumber told the tenant that he had fixed the sink.",
  "plumber.tenant.0.female": "The plumber told the tenant that she had fixed the sink.",
  "plumber.tenant.1.male": "The tenant asked the plumber to mend his sink.",
  "plumber.someone.1.neutral": "Someone asked the plumber to mend their sink.",
  "nurse.visitor.0.female": "The nurse told the visitor that her shift was over.",
  "nurse.visitor.1.female": "The nurse told the visitor that she had to leave.",
}
WOMEN = {"plumber": 0.7, "nurse": 89.6}


def write(root, sentences, women=None):
  folder = root / winogender.PATH
  folder.mkdir(parents=True)
  lines = [f"{name}.txt\t{text}" for name, text in sentences.items()]
  (folder / winogender.SENTENCES).write_text("\n".join(["sentid\tsentence", *lines, ""]))
  if women is not None:
    rows = [f"{name}\t50.0\t{share}\t2015" for name, share in women.items()]
    header = "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year"
    (folder / winogender.STATISTICS).write_text("\n".join([header, *rows, ""]))
  return folder


def opened(root):
  return sources.open_split({"winogender": {}}, "test", root, where="card")


def test_a_row_has_what_its_name_says_and_what_the_sentence_shows(tmp_path):
  write(tmp_path, SENTENCES)
  rows = opened(tmp_path)
  assert (len(rows), rows.problems) == (6, {})  # the header is no row and no problem
  assert rows[3] == {
    "id": "plumber.someone.1.neutral",
    "sentence": "Someone asked the plumber to mend their sink.",
    "pronoun": "their",
    "gender": "neutral",
    "occupation": "plumber",
    "participant": "someone",
    "options": ("the plumber", "someone"),
    "choices": "someone or the plumber",
    "answer": "someone",
    "gotcha": "",
  }
  assert [row["answer"] for row in list(rows)[:3]] == ["the plumber", "the plumber", "the tenant"]


def test_gotcha_is_where_the_majority_gender_of_the_occupation_points_to_the_wrong_person(tmp_path):
  write(tmp_path, SENTENCES, WOMEN)
  assert [row["gotcha"] for row in opened(tmp_path)] == ["no", "yes", "yes", "", "no", "yes"]


def test_damaged_lines_are_left_out_and_counted_by_reason(tmp_path):
  folder = write(tmp_path, SENTENCES)
  with (folder / winogender.SENTENCES).open("a") as file:
    file.write("nurse.visitor.0.male.txt\tThe nurse told the visitor to wait.\n")
    file.write("nurse.visitor.2.male.txt\tHe waits.\nno name\n")
  rows = opened(tmp_path)
  assert len(rows) == 6
  assert rows.problems == {
    "no pronoun of its gender in the sentence": 1,
    "name without answer or gender": 1,
    "not a name and a sentence": 1,
  }


def test_damaged_statistics_are_refused_and_absent_sentences_told(tmp_path):
  with pytest.raises(missing.MissingData, match=r"clone github.com/rudinger/winogender-schemas"):
    opened(tmp_path)
  folder = write(tmp_path, SENTENCES)
  (folder / winogender.STATISTICS).write_text("occupation\tbls_pct_female\nnurse\tmost\n")
  with pytest.raises(errors.UserError, match=r"occupations-stats.tsv: expected .* bls_pct_female"):
    opened(tmp_path)
