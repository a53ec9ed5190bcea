"""TyDi QA: one language's questions, whichever way the files are laid out."""

import json

import pytest

from flan_tune import errors
from flan_tune.sources import MissingData, tydiqa

BENGALI = {"language": "bengali"}
OURS = "tydiqa/language_data/bengali/bengali_tydiqa_{}.json"
OFFICIAL = "tydiqa-goldp-v1.1-{}.json"
LAYOUTS = [
  OURS,
  "tydiqa/tydiqa-goldp-v1.1-{0}/tydiqa-goldp-{0}-bengali.json",
  "tydiqa-goldp-v1.1-{0}/tydiqa-goldp-{0}-bengali.json",
  f"tydiqa/{OFFICIAL}",
  OFFICIAL,
]


def question(identifier="bengali-1-1", *texts, **change):
  answers = [{"text": text, "answer_start": 0} for text in texts or ("ঢাকা",)]
  return {"id": identifier, "question": "কোথায়?", "answers": answers, **change}


def written(root, questions, *, name=OURS, split="dev"):
  path = root / name.format(split)
  path.parent.mkdir(parents=True, exist_ok=True)
  paragraphs = [{"context": f"Passage {n}", "qas": [one]} for n, one in enumerate(questions)]
  articles = [{"title": "A", "paragraphs": paragraphs[:1]}, {"paragraphs": paragraphs[1:]}]
  path.write_text(json.dumps({"data": articles, "version": "1"}), encoding="utf-8")
  return tydiqa.open_source(BENGALI, split, root)


def test_a_row_has_its_passage_and_all_answers_that_are_not_blank(tmp_path):
  rows = written(tmp_path, [question("bengali-1", "", " ঢাকা ", "Dhaka"), question("bengali-2")])
  assert rows[0] == {
    "id": "bengali-1",
    "question": "কোথায়?",
    "context": "Passage 0",
    "title": "A",
    "answers": ("ঢাকা", "Dhaka"),
    "answer": "ঢাকা",
  }
  assert (rows[1]["context"], rows[1]["title"], rows.problems) == ("Passage 1", "", {})


@pytest.mark.parametrize("split", ["train", "dev"])
def test_of_a_file_for_all_languages_one_is_read(tmp_path, split):
  others = [question("arabic-1", answers=[]), question("bengal-1"), question("telugu-bengali-1")]
  rows = written(
    tmp_path, [*others, question(), question("bengali--7")], name=OFFICIAL, split=split
  )
  assert [row["id"] for row in rows] == ["bengali-1-1", "bengali--7"]
  assert (rows.problems, rows.used) == ({}, OFFICIAL.format(split))


@pytest.mark.parametrize(
  ("bad", "reason"),
  [
    (question("bengali-2", " "), "no answer"),
    (question("bengali-2", answers=[]), "no answer"),
    (question("bengali-2", answers=[{"text": 3}, {"other": "x"}, 3]), "no answer"),
    (question("bengali-2", answers="ঢাকা"), "no answer"),
    (question("bengali-2", question=" "), "empty field 'question'"),
    (question(3), "no text 'id'"),
    (question(), "a second question with one id"),
    ([], "item of 'qas' that is no object"),
  ],
)
@pytest.mark.parametrize("name", [OURS, OFFICIAL])
def test_an_unusable_question_is_counted_with_its_language(tmp_path, bad, reason, name):
  rows = written(tmp_path, [question(), bad, question("bengali-3")], name=name)
  assert [row["id"] for row in rows] == ["bengali-1-1", "bengali-3"]
  assert rows.problems == {f"bengali: {reason}": 1}


def test_answers_of_different_fields_count_all_the_same(tmp_path):
  answers = [{"text": "one"}, {"text": "two", "answer_start": 3}]
  assert written(tmp_path, [question(answers=answers)])[0]["answers"] == ("one", "two")


def test_a_language_of_its_own_comes_before_a_file_for_all(tmp_path):
  for name in reversed(LAYOUTS):
    assert written(tmp_path, [question()], name=name).used == name.format("dev")


def test_splits_do_not_stand_in_for_each_other(tmp_path):
  written(tmp_path, [question()])
  for call in (tydiqa.locate, tydiqa.open_source):
    with pytest.raises(
      MissingData, match=r"tydiqa_train\.json: not found; put tydiqa-goldp-v1\.1-t"
    ):
      call(BENGALI, "train", tmp_path)
  with pytest.raises(MissingData, match="set FLAN_TUNE_DATA"):
    tydiqa.locate(BENGALI, "dev", None)


@pytest.mark.parametrize(
  ("argument", "split"),
  [({"language": "bengal"}, "dev"), ({"language": "../a"}, "dev"), (BENGALI, "test"), ("x", "dev")],
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, split):
  with pytest.raises(errors.UserError, match="source tydiqa"):
    tydiqa.locate(argument, split, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"data": []}', '{"data": [{"paragraphs": 3}]}'])
def test_a_file_without_questions_is_refused(tmp_path, content):
  path = tmp_path / OURS.format("dev")
  path.parent.mkdir(parents=True)
  path.write_text(content)
  with pytest.raises(errors.UserError, match=r"bengali_tydiqa_dev\.json: "):
    tydiqa.open_source(BENGALI, "dev", tmp_path)


def test_a_file_for_all_without_the_language_is_refused(tmp_path):
  with pytest.raises(errors.UserError, match="expected questions of bengali: it has none"):
    written(tmp_path, [question("arabic-1"), question("arabic-2")], name=OFFICIAL)


@pytest.mark.parametrize(
  ("split", "counts"),
  [
    (
      "dev",
      {
        "arabic": 584,
        "bengali": 75,
        "english": 271,
        "finnish": 545,
        "indonesian": 354,
        "korean": 181,
        "russian": 517,
        "swahili": 356,
        "telugu": 425,
      },
    ),
    ("train", {"english": 300, "korean": 300, "swahili": 300}),
  ],
)
def test_real_questions_have_answers_from_their_passages(data_dir, split, counts):
  for language, count in counts.items():
    rows = tydiqa.open_source({"language": language}, split, data_dir)
    assert (len(rows), rows.problems) == (count, {})
    for row in rows:
      assert row["id"].startswith(f"{language}-")
      assert all(answer in row["context"] for answer in row["answers"])
