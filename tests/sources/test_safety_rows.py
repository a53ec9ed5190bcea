"""RealToxicityPrompts, CivilComments and identity terms; all texts here are harmless."""

import csv
import json

import pytest

from flan_tune import errors, sources
from flan_tune.sources import identity_prompts, missing
from flan_tune.text import fields


def write_lines(path, records):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(record) + "\n" for record in records))


def prompts_of(root, records, **argument):
  write_lines(root / "real-toxicity-prompts/prompts.jsonl", records)
  return sources.open_split({"real_toxicity_prompts": argument}, "train", root, where="card")


def prompt(number, toxicity):
  return {
    "filename": "a.txt",
    "begin": number,
    "end": number + 9,
    "challenging": False,
    "prompt": {"text": f"Opening {number}", "toxicity": toxicity, "insult": 0.9},
  }


@pytest.mark.parametrize(("toxicity", "toxic"), [(0.5, "yes"), (0.49, "no"), (None, "")])
def test_a_prompt_is_toxic_from_a_half_on_and_neither_where_nobody_judged(
  tmp_path, toxicity, toxic
):
  assert list(prompts_of(tmp_path, [prompt(3, toxicity)])) == [
    {
      "id": "a.txt:3-12",
      "prompt": "Opening 3",
      "toxicity": toxicity,
      "toxic": toxic,
      "challenging": "no",
    }
  ]


def test_prompts_without_text_or_with_a_toxicity_beyond_1_are_counted(tmp_path):
  bad = [{"prompt": "Opening"}, prompt(1, 1.5), prompt(2, True), {"prompt": {"text": " "}}]
  rows = prompts_of(tmp_path, [*bad, prompt(3, 0.1)])
  assert len(rows) == 1
  assert rows.problems == {
    "no prompt with a text": 1,
    "toxicity is no number from 0 to 1": 2,
    "empty prompt": 1,
  }


def test_a_sample_is_the_beginning_of_one_order_of_all_rows(tmp_path):
  records = [prompt(number, 0.1) for number in range(50)]
  every = [row["id"] for row in prompts_of(tmp_path, records)]
  assert len(set(every)) == 50
  assert every != [f"a.txt:{number}-{number + 9}" for number in range(50)]
  assert [row["id"] for row in prompts_of(tmp_path, records, sample=7)] == every[:7]
  assert len(prompts_of(tmp_path, records, sample=99)) == 50
  with pytest.raises(errors.UserError, match="sample: expected a number of rows from 1, not 0"):
    prompts_of(tmp_path, records, sample=0)


def test_all_real_prompts_are_read_with_ids_of_their_own(data_dir):
  rows = sources.open_split({"real_toxicity_prompts": {}}, "train", data_dir, where="card")
  assert len({row["id"] for row in rows}) == len(rows) == 300
  assert rows.problems == {}
  assert sum(row["toxic"] == "yes" for row in rows) == 82


def comments_of(root, split="test", **argument):
  return sources.open_split({"civil_comments": argument}, split, root, where="card")


def by_text(rows):
  return {row["text"]: (row["toxicity"], row["answer"]) for row in rows}


@pytest.mark.parametrize(
  ("split", "name", "header"),
  [
    ("train", "train.csv", ("id", "target", "comment_text")),
    ("test", "test_private_expanded.csv", ("id", "comment_text", "toxicity")),
    ("validation", "validation.csv", ("text", "toxicity")),
  ],
)
def test_all_forms_of_the_competitions_files_give_the_same_comments(tmp_path, split, name, header):
  path = tmp_path / "civil_comments" / name
  path.parent.mkdir()
  texts = {"Fine,\nsaid he": "0.0", 'A "clear" no': "0.5", "": "0.1", "Odd": "many"}
  with path.open("w", newline="") as file:
    out = csv.writer(file)
    out.writerow(header)
    for number, (text, toxicity) in enumerate(texts.items()):
      value = dict.fromkeys(("comment_text", "text"), text) | {"id": f"c{number}"}
      out.writerow([value.get(column, toxicity) for column in header])
  rows = comments_of(tmp_path, split)
  assert by_text(rows) == {"Fine,\nsaid he": (0.0, "No"), 'A "clear" no': (0.5, "Yes")}
  assert len({row["id"] for row in rows}) == 2
  assert rows.problems == {"no comment": 1, "toxicity is no number from 0 to 1": 1}


def test_a_dump_under_the_name_of_tfds_serves_as_well(tmp_path):
  good = [{"text": "Thanks", "toxicity": 0.1}, {"text": "Go away", "toxicity": 0.7}]
  write_lines(tmp_path / "raw/civil_comments/train.jsonl", good)
  write_lines(tmp_path / "raw/civil_comments/test.jsonl", [{"text": "Hm", "toxicity": None}])
  assert by_text(comments_of(tmp_path, "train")) == {"Thanks": (0.1, "No"), "Go away": (0.7, "Yes")}
  with pytest.raises(fields.BadRow, match="toxicity is no number"):
    comments_of(tmp_path)[0]


def test_comments_without_the_columns_or_without_files_are_told(tmp_path):
  with pytest.raises(missing.MissingData, match=r"civil_comments/test.csv.*tfds build civil_com"):
    comments_of(tmp_path)
  (tmp_path / "civil_comments").mkdir()
  (tmp_path / "civil_comments/test.csv").write_text("id,comment_text\n1,Hello\n")
  with pytest.raises(errors.UserError, match="toxicity or target; it has id, comment_text"):
    comments_of(tmp_path)


TABLE = {"templates": ["The [term] guest", "All [term] ones"], "terms": {"age": ["old", "young"]}}


def test_every_template_meets_every_term(tmp_path):
  rows = list(identity_prompts.open_source(TABLE, "test", tmp_path))
  assert [row["prompt"] for row in rows] == [
    "The old guest",
    "The young guest",
    "All old ones",
    "All young ones",
  ]
  assert len({row["id"] for row in rows}) == 4
  assert rows[1] | {"group": "age", "term": "young"} == rows[1]


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"templates": ["The guest"]}, "'The guest' needs .term. exactly once"),
    ({"templates": []}, "templates: expected a list of texts"),
    ({"terms": ["old"]}, "terms: expected lists of terms by group"),
    ({"terms": {"age": ["old", "old"]}}, "terms: age: a text stands twice"),
    ({"words": {}}, "'words' unknown"),
  ],
)
def test_a_table_that_is_wrong_is_refused(change, said):
  with pytest.raises(errors.UserError, match=said):
    identity_prompts.locate(TABLE | change, "test", None)
