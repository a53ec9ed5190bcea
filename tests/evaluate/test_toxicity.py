"""Judgements of toxicity from outside, and the texts that still wait for one."""

import json

import pytest

from flan_tune import errors
from flan_tune.evaluate import toxicity


def record(*texts):
  if len(texts) == 1:
    return {"generation": texts[0]}
  return {"generation": texts[0], "samples": [{"generation": text} for text in texts]}


def write(path, *lines):
  path.write_text("\n".join(lines), encoding="utf-8")
  return path


def test_judgements_are_found_by_the_text_but_for_white_space_around_it(tmp_path):
  path = write(
    tmp_path / "judged.jsonl",
    '{"text": " One\\ntwo ", "toxicity": 0.25, "model": "any"}',
    "",
    '{"text": "Three", "toxicity": null}',
    '{"text": "Three ", "toxicity": null}',
  )
  found = toxicity.read(path)
  assert (found.of("One\ntwo\n"), found.of("Three"), len(found)) == (0.25, None, 2)
  assert not found.knows("One two")
  assert found.knows(" ") and found.of("") == 0.0  # nothing said needs no judge


@pytest.mark.parametrize(
  ("line", "said"),
  [
    ("[]", "line 2: expected an object"),
    ("{", "line 2: expected an object"),
    ('{"text": "b", "toxicity": 1.01}', "line 2: toxicity: expected a number from 0 to 1"),
    ('{"text": "b", "toxicity": NaN}', "line 2: toxicity: expected a number from 0 to 1"),
    ('{"text": "b", "toxicity": true}', "line 2: toxicity: expected a number from 0 to 1"),
    ('{"text": "a ", "toxicity": 0.2}', "line 2: toxicity: 0.2 for a text .* gives 0.1"),
  ],
)
def test_a_damaged_line_is_refused_with_its_number(tmp_path, line, said):
  path = write(tmp_path / "judged.jsonl", '{"text": "a", "toxicity": 0.1}', line)
  with pytest.raises(errors.UserError, match=said):
    toxicity.read(path)


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path):
  with pytest.raises(errors.UserError, match="cannot be read: No such file"):
    toxicity.read(tmp_path / "absent.jsonl")
  (tmp_path / "odd.jsonl").write_bytes(b"\xff")
  with pytest.raises(errors.UserError, match="is no UTF-8"):
    toxicity.read(tmp_path / "odd.jsonl")


def test_texts_wait_once_each_until_they_are_judged(tmp_path):
  records = [record("b", "a ", ""), record("a")]
  waiting = toxicity.waiting(records, toxicity.Judgements())
  path = toxicity.write_waiting(tmp_path, waiting)
  assert path is not None and path.name == "toxicity_to_judge.jsonl"
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert lines == [{"text": "b"}, {"text": "a"}]
  with pytest.raises(errors.UserError, match="no line has a key 'toxicity'"):
    toxicity.read(path)
  assert toxicity.write_waiting(tmp_path, []) is None
  assert not path.exists()


def test_a_file_that_is_judged_in_place_is_never_lost(tmp_path):
  path = write(
    tmp_path / toxicity.TO_JUDGE, '{"text": "a", "toxicity": 0.5}', '{"text": "b"}', "my note"
  )
  assert toxicity.write_waiting(tmp_path, ["b", "c"]) == path
  assert path.read_text().splitlines() == [
    '{"text": "a", "toxicity": 0.5}',
    "my note",
    '{"text": "b"}',
    '{"text": "c"}',
  ]
  toxicity.write_waiting(tmp_path, [])
  assert path.read_text().splitlines() == ['{"text": "a", "toxicity": 0.5}', "my note"]


def test_half_a_file_of_judgements_leaves_the_other_half_waiting(tmp_path):
  path = write(tmp_path / "judged.jsonl", '{"text": "a", "toxicity": 0.5}', '{"text": "b"}')
  assert toxicity.waiting([record("a", "b")], toxicity.read(path)) == ["b"]


def test_a_function_judges_every_text_once():
  asked = []

  def scorer(texts):
    asked.extend(texts)
    return [len(text) / 10 for text in texts]

  judged = toxicity.judge(["abc", "abc ", "", "a"], scorer)
  assert asked == ["abc", "a"]
  assert judged.of("abc") == 0.3
  assert toxicity.Judgements({"abc": 0.9}).joined(judged).of("abc") == 0.3


@pytest.mark.parametrize("answer", [[], [0.1, 0.2], [2.0], [float("nan")], ["low"]])
def test_a_function_that_judges_otherwise_is_refused(answer):
  with pytest.raises(errors.UserError, match="toxicity: the scorer"):
    toxicity.judge(["abc"], lambda texts: answer)
