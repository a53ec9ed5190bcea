import itertools
import json

import pytest
import yaml

from flan_tune import errors, sources
from flan_tune.benchmarks import load, open_exam
from flan_tune.benchmarks.card import read
from flan_tune.text.fields import BadRow

EEL = "Q: Is an eel {} wet?\nOptions:\n(A) yes\n(B) no\nA:"


def words(text):
  """Tokens as a vocabulary without white space counts them, with the end of sequence."""
  return len(text.split()) + 1


@pytest.fixture
def opened(bench_data, tmp_path, card):
  """Opens the toy task as its card and some changes have it."""

  def opens(setting="direct", *, changes=None, asks=None, **options):
    card["settings"][setting] |= asks or {}
    path = tmp_path / "pond.yaml"
    path.write_text(yaml.safe_dump(card | (changes or {})))
    (benchmark,) = read(path)
    return open_exam(benchmark, setting, **options)

  return opens


def test_a_prompt_is_description_exemplars_and_question(opened):
  question = opened().questions[0]
  solved = [EEL.format(n) + " (A)" for n in range(2)]
  asked = "Q: Is a heron wet?\nOptions:\n(A) yes\n(B) no\nA:"
  assert question.prompt == "\n\n".join(["Tell what is wet.", *solved, asked])
  assert (question.shots, question.dropped) == (2, 0)
  assert (question.answers, question.options) == (("(B)",), ("(A)", "(B)"))


def test_a_question_is_never_among_its_own_exemplars(opened):
  exam = opened()
  *_, twin = (exam.questions[i] for i in range(len(exam.questions)))
  assert twin.prompt.count("Is an eel 1 wet?") == 1
  assert twin.shots == 2  # the third exemplar takes its place


def test_shots_may_be_asked_for_and_are_in_the_label(opened):
  exam = opened(shots=3)
  assert (exam.questions[0].shots, exam.label) == (3, "3-shot")
  none = opened(shots=0)
  assert (none.questions[0].shots, none.label) == (0, "0-shot")
  assert none.questions[0].prompt.startswith("Tell what is wet.\n\nQ: Is a heron")


@pytest.mark.parametrize("budget", range(1, 60))
def test_exemplars_leave_from_the_front_until_a_prompt_fits(opened, budget):
  whole = opened(shots=3).questions[0]
  question = opened(shots=3, count_tokens=words, budget=budget).questions[0]
  blocks = whole.prompt.split("\n\n")
  fitting = [[blocks[0], *blocks[1 + n :]] for n in range(4)]
  fitting = ["\n\n".join(one) for one in fitting]
  expected = next((one for one in fitting if words(one) <= budget), fitting[-1])
  assert question.prompt == expected
  assert question.shots + question.dropped == 3
  assert question.dropped == fitting.index(expected)


def test_parts_are_counted_once_for_all_questions(opened):
  counted = []
  exam = opened(count_tokens=lambda text: counted.append(text) or words(text), budget=1000)
  for number in range(len(exam.questions)):
    assert exam.questions[number].dropped == 0
  assert len(counted) == len(exam.questions) + 1 + 3


@pytest.mark.parametrize(
  "changed",
  [
    {"version": 2},
    {"metric": "normalised_exact_match"},
    {"extract": "word"},
    {"max_tokens": 9},
    {"answers": "{answer} "},
    {"options": ["(A)", "(B)"]},
    {"method": "rank"},
    {"source": {"bbh": {"task": "pond"}}},
    {"asks": {"header": ""}},
    {"asks": {"exemplar": "Q: {question}\nB: {answer}"}},
    {"asks": {"question": "Q: {question}\nB:"}},
    {"asks": {"separator": "\n\n\n"}},
    {"asks": {"stop": ["\nQ:"]}},
    {"shots": 1},
    {"asks": {"pick": "drawn"}},
  ],
)
def test_all_that_shapes_prompts_or_judgement_changes_the_fingerprint(opened, bench_data, changed):
  for folder, ending in (("bbh", "json"), ("cot-prompts", "txt")):
    toy = bench_data / "BIG-Bench-Hard" / folder / f"toy.{ending}"
    toy.with_name(f"pond.{ending}").write_bytes(toy.read_bytes())
  plain = opened().fingerprint
  options = {key: changed.pop(key) for key in ("asks", "shots") if key in changed}
  assert opened(changes=changed, **options).fingerprint != plain


def test_an_exemplar_of_other_words_changes_the_fingerprint_and_questions_do_not(
  opened, bench_data
):
  plain = opened().fingerprint
  asked = bench_data / "BIG-Bench-Hard" / "bbh" / "toy.json"
  rows = json.loads(asked.read_text())
  asked.write_text(json.dumps(rows | {"examples": rows["examples"][:2]}))
  assert opened(count_tokens=words, budget=9).fingerprint == plain
  worked = bench_data / "BIG-Bench-Hard" / "cot-prompts" / "toy.txt"
  worked.write_text(worked.read_text().replace("eel 0", "eel 9"))
  assert opened().fingerprint != plain


def test_drawn_exemplars_depend_on_the_seed_alone(opened):
  def prompt(seed):
    return opened(asks={"pick": "drawn"}, seed=seed).questions[0].prompt

  assert prompt(1) == prompt(1)
  assert len({prompt(seed) for seed in range(20)}) == 6  # the orders of two of three exemplars
  assert opened(seed=1).fingerprint != opened(asks={"pick": "first"}).fingerprint


def test_balanced_exemplars_have_each_answer_equally_often(opened, bench_data):
  asked = bench_data / "BIG-Bench-Hard" / "bbh" / "toy.json"
  form = "Is {} wet?\nOptions:\n(A) yes\n(B) no"
  rows = [{"input": form.format(n), "target": "(A)" if n % 8 == 0 else "(B)"} for n in range(80)]
  asked.write_text(json.dumps({"canary": "", "examples": rows}))
  balanced = {"exemplars": "test", "pick": "balanced", "shots": 6, "header": ""}
  exam = opened(asks=balanced, seed=3)
  for question in itertools.islice(exam.questions, 80):
    letters = [part[-3:] for part in question.prompt.split("\n\n")[:-1]]
    number = question.prompt.rpartition("Is ")[2].split()[0]
    assert question.prompt.count(f"Is {number} wet?") == 1
    assert len(letters) == 6
    assert abs(letters.count("(A)") - letters.count("(B)")) <= 2
  assert sum(part.endswith("(A)") for part in exam.questions[1].prompt.split("\n\n")) == 3


def test_balanced_exemplars_of_a_rare_answer_do_not_all_stand_last(opened, bench_data):
  asked = bench_data / "BIG-Bench-Hard" / "bbh" / "toy.json"
  form = "Is {} wet?\nOptions:\n(A) yes\n(B) no"
  rows = [{"input": form.format(n), "target": "(A)" if n % 25 == 0 else "(B)"} for n in range(500)]
  asked.write_text(json.dumps({"canary": "", "examples": rows}))
  orders = []
  for seed in range(4):
    exam = opened(
      asks={"exemplars": "test", "pick": "balanced", "shots": 8, "header": ""}, seed=seed
    )
    parts = exam.questions[1].prompt.split("\n\n")[:-1]
    orders.append("".join(part[-2] for part in parts))
  assert {len(order) for order in orders} == {8}
  assert not any("AAAA" in order and "BBBB" in order for order in orders)


def test_an_answer_outside_the_options_is_named(opened):
  exam = opened(changes={"options": ["(A)", "(C)"]})
  with pytest.raises(BadRow, match=r"the answer '\(B\)' is none of the options"):
    exam.questions[0]
  assert exam.questions[5].answers == ("(A)",)


def test_missing_files_are_missing_data(opened, bench_data):
  (bench_data / "BIG-Bench-Hard" / "cot-prompts" / "toy.txt").unlink()
  with pytest.raises(sources.MissingData, match="toy.txt"):
    opened()
  assert opened("cot_zs").questions[0].shots == 0


@pytest.mark.parametrize(
  ("setting", "options", "said"),
  [
    ("direct", {"shots": 4}, "shots: 4, and its worked split has 3"),
    ("direct", {"shots": -1}, "shots: -1 is not a whole number"),
    ("cot_zs", {"shots": 1}, "shots: 1, in a setting without exemplars"),
    ("direct", {"split": "validation"}, "split: 'validation' unknown"),
    ("direct", {"asks": {"question": "{qestion}"}}, "question: hole: 'qestion' unknown .*'quest"),
    ("direct", {"asks": {"exemplar": "{rationals}"}}, "exemplar: hole: 'rationals' .*'rationale'"),
    ("direct", {"asks": {"header": "{descriptoin}"}}, "header: hole: 'descriptoin' unknown"),
    ("direct", {"changes": {"answers": "{ansr}"}}, "answers: hole: 'ansr' unknown .*'answer'"),
    ("direct", {"changes": {"facts": ["title"]}}, "pond_toy: facts: 'title' unknown"),
    ("cot_zs", {"changes": {"options": {"field": "optins"}}}, "options: 'optins' unknown"),
  ],
)
def test_what_does_not_fit_is_told_in_one_sentence(opened, setting, options, said):
  with pytest.raises(errors.UserError, match=said) as caught:
    opened(setting, **options)
  assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_told():
  with pytest.raises(errors.UserError, match="setting: 'direkt' unknown .*'direct'"):
    open_exam(load().tasks["bbh_snarks"], "direkt")


def test_another_settings_words_leave_the_fingerprint_alone(opened):
  plain = opened().fingerprint
  fields = {"fields": {"form": "Answer yes."}}
  assert opened(changes=fields).fingerprint == plain
  asks = {"question": "Q: {question}\n{form}\nA:"}
  formed = opened(changes=fields, asks=asks).fingerprint
  assert opened(changes={"fields": {"form": "Say yes."}}, asks=asks).fingerprint != formed


@pytest.fixture
def passages(tmp_path, monkeypatch):
  """Articles in TyDi QA's layout: `write(split, titles)`."""
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))

  def article(title, split):
    asked = [
      {"id": f"{split}-{title}-{n}", "question": f"What {n}?", "answers": [{"text": title}]}
      for n in range(3)
    ]
    return {"title": title, "paragraphs": [{"context": f"This is {title}.", "qas": asked}]}

  def write(split, titles):
    folder = tmp_path / "tydiqa" / "language_data" / "finnish"
    folder.mkdir(parents=True, exist_ok=True)
    data = {"data": [article(title, split) for title in titles]}
    (folder / f"finnish_tydiqa_{split}.json").write_text(json.dumps(data))

  return write


@pytest.mark.parametrize("train", [True, False])
def test_a_passage_is_never_shown_with_its_answer(passages, train):
  passages("dev", ["Turku", "Oulu", "Vaasa"])
  if train:
    passages("train", ["Turku", "Espoo", "Pori"])
  exam = open_exam(load().tasks["tydiqa_fi"], "direct", seed=5)
  assert exam.stand_in == (
    "" if train else "exemplars from the dev split: that of train is not on disk"
  )
  shown = set()
  for number in range(9):
    question = exam.questions[number]
    exemplar, asked = question.prompt.split("\n\n")
    assert question.answers[0] not in exemplar
    assert asked.endswith("Answer:") and question.answers[0] in asked
    shown.add(exemplar)
  assert len(shown) <= 2


def test_a_validation_split_is_preferred_and_another_told(tmp_path, monkeypatch):
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))

  def write(split):
    path = tmp_path / "mmlu" / "data" / split / f"virology_{split}.csv"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{split} {n}?,a,b,c,d,C\n" for n in range(5)))

  virology = load().tasks["mmlu_virology"]
  write("dev")
  with pytest.raises(sources.MissingData, match="virology_val.csv"):
    open_exam(virology, "direct")
  write("test")
  test = open_exam(virology, "direct")
  assert test.label == "5-shot direct, test"
  assert test.stand_in == "questions from the test split: that of validation is not on disk"
  write("val")
  validation = open_exam(virology, "direct")
  assert (validation.label, validation.stand_in) == ("5-shot direct, validation", "")
  assert validation.questions[0].prompt.endswith("Q: val 0?\n(A) a (B) b (C) c (D) d\nA:")
  assert open_exam(virology, "direct", split="test").fingerprint == test.fingerprint
  assert validation.fingerprint != test.fingerprint


def test_the_card_of_the_handbook_works(repository, tmp_path, monkeypatch):
  _, card, *_ = (repository / "docs" / "benchmarks.md").read_text().split("```yaml\n")
  (tmp_path / "pond.yaml").write_text(card.partition("```")[0])
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  (tmp_path / "pond").mkdir()
  rows = [{"question": f"Who, {n}?", "choices": ["newt", "elm"], "answer": "A"} for n in range(30)]
  (tmp_path / "pond" / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
  (benchmark,) = read(tmp_path / "pond.yaml")
  exam = open_exam(benchmark, "direct")
  question = exam.questions[0]
  assert len(exam.questions) == 10
  assert question.prompt.startswith("Facts about ponds.\n\nQ: Who, ")
  assert question.prompt.endswith("\n\nQ: Who, 20?\n(A) newt (B) elm\nA:")
  assert (question.shots, question.answers, question.options) == (5, ("(A)",), ("(A)", "(B)"))
