import contextlib
import json
import time

import pytest

from flan_tune import benchmarks, sources
from flan_tune.text import extraction
from flan_tune.text.fields import BadRow

SHOTS = {"mmlu": 5, "bbh": 3, "tydiqa": 1, "mgsm": 8, "tydiqa_english": 1, "mgsm_english": 8}
# Upstream's worked exemplars of these subjects are four.
FEWER = ("mmlu_college_chemistry", "mmlu_formal_logic", "mmlu_human_aging")


def questions(exam, limit=None):
  for number in range(min(len(exam.questions), limit or len(exam.questions))):
    try:
      yield exam.questions[number]
    except BadRow:
      continue


def exams(name):
  return [benchmarks.open_exam(task, s) for task, s in benchmarks.load().select([name])]


@pytest.mark.parametrize("suite", SHOTS)
def test_every_exam_opens_with_its_shots_and_without_its_answers(data_dir, suite):
  for setting in benchmarks.load().suites[suite].settings:
    for exam in exams(f"{suite}_{setting}"):
      shots = 0 if setting.endswith("_zs") else SHOTS[suite]
      if exam.name in FEWER and setting == "cot":
        shots = 4
        assert exam.stand_in.endswith("4 exemplars: there are not 5 in the worked split")
      asked = next(questions(exam))
      assert asked.shots == shots
      others = [one for one in questions(exam, 20) if one.id != asked.id]
      assert {one.shots for one in others} <= {shots}
      assert len({one.id for one in [asked, *others]}) == 1 + len(others)
      for one in [asked, *others]:
        tail = one.prompt[one.prompt.rindex("\n") :]
        assert not any(answer in tail for answer in one.answers)
        assert not set(one.answers) - set(one.options or one.answers)


@pytest.mark.parametrize("name", ["bbh_cot", "mmlu_cot", "mgsm_english"])
def test_worked_exemplars_end_as_the_extraction_rule_wants_it(data_dir, name):
  for exam in exams(name):
    asked = next(questions(exam))
    ends = {"bbh": "\n\nQ:", "mmlu": "\n\nQ:", "mgsm_english": "\n\nQuestion:"}[exam.suite]
    *worked, _ = asked.prompt.split(ends)[1:]
    for one in worked:
      rationale = one.partition("\nA:")[2] or one.partition("Answer:")[2]
      found = extraction.RULES[exam.extract].strict(rationale, asked.options)
      assert found is not None or "(E)" in rationale, (exam.key, rationale)


def upstream(data_dir, suite):
  """The published chain-of-thought prompts by task, up to the question."""
  if suite == "bbh":
    files = (data_dir / "BIG-Bench-Hard/cot-prompts").glob("*.txt")
    return {one.stem: one.read_text().partition("-----\n")[2] for one in files}
  if suite == "mmlu":
    return json.loads((data_dir / "mmlu/mmlu-cot.json").read_text())
  members = json.loads((data_dir / "url-nlp/mgsm/exemplars.json").read_text())
  return {
    language: "\n\n".join(f"{one['q']}\n{one['a']}" for one in by_number.values())
    for language, by_number in members["MGSM_EXEMPLARS"].items()
  }


@pytest.mark.parametrize("suite", ["bbh", "mmlu", "mgsm"])
def test_worked_exemplars_are_upstreams_to_the_byte(data_dir, suite):
  published = upstream(data_dir, suite)
  for exam in exams(f"{suite}_cot"):
    # Two of MMLU's begin with an empty line.
    wanted = published[exam.name.removeprefix(f"{suite}_")].strip("\n")
    assert next(questions(exam)).prompt.startswith(f"{wanted}\n\n"), exam.key


def test_prompts_of_a_benchmark_differ_from_question_to_question(data_dir):
  for exam in exams("bbh_direct"):
    prompts = [one.prompt for one in questions(exam)]
    assert len(set(prompts)) > 0.95 * len(prompts)


def test_all_of_bbh_is_made_in_far_less_time_than_a_model_takes(data_dir):
  start = time.process_time()
  total = sum(1 for exam in exams("bbh") for _ in questions(exam))
  assert total > 7_000
  assert time.process_time() - start < 2.5


def test_suites_of_other_data_open_or_are_missing(data_dir):
  names = [name for name in benchmarks.load().suites if name not in SHOTS]
  for task, setting in benchmarks.load().select(names):
    with contextlib.suppress(sources.MissingData):
      exam = benchmarks.open_exam(task, setting)
      assert next(questions(exam)).prompt
