"""QED: passages, queries, and explanations put into words."""

import json

import pytest

from flan_tune import errors
from flan_tune.sources import missing, qed

CARD = {"path": "QED", "splits": {"train": ["train", "dev"]}}
SENTENCE = "He wrote `` Dune '' in 1965 ( in Oregon ) . "


def equality(asked, written, bridge=False):
  return {
    "question_reference": {"string": asked},
    "sentence_reference": {"string": written, "bridge": bridge},
  }


def answer(text, meant=None):
  return {
    "sentence_reference": {"string": text, "bridge": False},
    "paragraph_reference": {"string": meant or text},
  }


def record(**note):
  annotation = {
    "explanation_type": "single_sentence",
    "selected_sentence": {"string": SENTENCE},
    "referential_equalities": [],
    "answer": [answer("1965")],
  }
  return {
    "title_text": "Dune ( novel )",
    "question_text": "when was dune written",
    "paragraph_text": f"Herbert was a writer . {SENTENCE}",
    "annotation": annotation | note,
  }


def row(**note):
  return qed.parse_line(json.dumps(record(**note)).encode())


def opened(root, records, *, split="dev"):
  (root / "QED").mkdir(exist_ok=True)
  text = "".join(json.dumps(one) + "\n" for one in records)
  (root / f"QED/qed-{split}.jsonlines").write_text(text)
  return qed.open_source(CARD, "train", root)


def test_a_row_is_ordinary_text():
  assert row() == {
    "title": "Dune (novel)",
    "passage": 'Herbert was a writer. He wrote "Dune" in 1965 (in Oregon).',
    "question": "when was dune written?",
    "answer": "1965",
    "rationale": 'The passage says: He wrote "Dune" in 1965 (in Oregon).',
  }


@pytest.mark.parametrize(
  ("one", "words"),
  [
    (equality("frank herbert", "He"), 'Here "He" is what the question calls "frank herbert".'),
    (equality("dune", "`` Dune ''"), 'Here \'"Dune"\' is what the question calls "dune".'),
    (equality("the roof", "A roof", "of"), 'Here "A roof" is to be read as "A roof of the roof".'),
    (equality("the book", "", "in"), 'This holds in "the book".'),
    (equality("the film", ""), 'This holds for "the film".'),
  ],
  ids=["reference", "quotation", "bridge", "unsaid", "unsaid without a preposition"],
)
def test_references_are_put_into_words(one, words):
  assert row(referential_equalities=[one])["rationale"].endswith(f" {words}")


@pytest.mark.parametrize("written", ["Dune", "the dune", "A Dune"])
def test_references_that_differ_by_case_or_article_alone_are_not_mentioned(written):
  plain = row()["rationale"]
  assert row(referential_equalities=[equality("dune", written)])["rationale"] == plain


def test_a_pronoun_is_answered_by_what_it_points_to():
  found = row(answer=[answer("He", "Frank Herbert")])
  assert found["answer"] == "Frank Herbert"
  assert found["rationale"].endswith('"He" points to "Frank Herbert".')


@pytest.mark.parametrize(
  ("spans", "joined"),
  [
    (["Lynne", "Mo", "Zoe"], "Lynne, Mo and Zoe"),
    (["4 in", "a 4 in screen"], "4 in"),
    (["Mo", "Mo"], "Mo"),
    (["the U.S ."], "the U.S"),
  ],
)
def test_several_answers_are_listed_and_overlapping_ones_are_not(spans, joined):
  assert row(answer=[answer(span) for span in spans])["answer"] == joined


@pytest.mark.parametrize(
  ("query", "question"),
  [
    ("who wrote dune", "who wrote dune?"),
    ("is dune a novel", "is dune a novel?"),
    ("in which year was it", "in which year was it?"),
    ("dune is the sequel of", "dune is the sequel of"),
    ("why ?", "why?"),
  ],
)
def test_only_questions_get_a_question_mark(query, question):
  line = json.dumps(record() | {"question_text": query}).encode()
  assert qed.parse_line(line)["question"] == question


def test_records_without_a_single_sentence_are_counted(tmp_path):
  others = [record(explanation_type=kind) for kind in ("multi_sentence", "none", "none", 7)]
  source = opened(tmp_path, [*others, record(), {"annotation": 3}, record(answer=[])])
  assert len(source) == 1
  assert source.problems == {
    "explanation_type multi_sentence": 1,
    "explanation_type none": 2,
    "explanation_type unknown": 1,
    "not a QED record": 2,
  }


def test_train_is_preferred_and_dev_serves_when_it_is_absent(tmp_path):
  with pytest.raises(missing.MissingData) as caught:
    qed.open_source(CARD, "train", tmp_path)
  assert caught.value.path.endswith("qed-train.jsonlines")
  assert caught.value.how == (
    "clone github.com/google-research-datasets/QED into $FLAN_TUNE_DATA/QED"
  )
  assert opened(tmp_path, [record()]).used == "QED/qed-dev.jsonlines"
  assert opened(tmp_path, [record()], split="train").used == "QED/qed-train.jsonlines"


@pytest.mark.parametrize(
  ("argument", "split"), [({"path": "../QED"}, "train"), ("QED", "test"), (3, "train")]
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, split):
  with pytest.raises(errors.UserError, match="source qed"):
    qed.open_source(argument, split, tmp_path)


def test_real_rows_have_all_fields_and_every_record_is_accounted_for(data_dir):
  source = qed.open_source(CARD, "train", data_dir)
  lines = (data_dir / source.used).read_bytes().count(b"\n")
  assert len(source) + sum(source.problems.values()) == lines
  assert set(source.problems) <= {"explanation_type none", "explanation_type multi_sentence"}
  for one in source:
    assert all(text and text == text.strip() for text in one.values())
    assert not one["answer"].endswith(".")
    assert one["rationale"].endswith(".")
    assert "``" not in one["passage"] and "''" not in one["passage"]
