"""Every benchmark with rows at hand: an oracle is always right, a constant answer has its share."""

import collections

import pytest

from flan_tune import metrics
from flan_tune.benchmarks import library, opening
from flan_tune.evaluate import engine, exams, outcomes
from tests.evaluate import stand_ins

LIMIT = 25
# Suites of which real rows are at hand; the others have rows of their own in test_safety_run.py.
SUITES = ("mmlu", "bbh", "tydiqa", "tydiqa_english", "mgsm", "mgsm_english")
NAMES = [
  f"{suite}_{setting}" for suite in SUITES for setting in library.load().suites[suite].settings
]


def written(exam, answer: str) -> str:
  """An answer as the exam's exemplars write it."""
  return f"Since one and one is 2. So the answer is {answer}." if "cot" in exam.setting else answer


def taken(exam, rule, method=None):
  options = engine.Options(limit=LIMIT, method=method)
  found = engine.answer([exam], stand_ins.Model(rule), options)
  return outcomes.table([exam], found.records, problems=found.problems)[0]


@pytest.fixture(params=NAMES)
def opened(request, data_dir):
  found = exams.open_exams([request.param])
  assert found.exams and not found.missing
  return found.exams


def questions(exam):
  return [exam.questions[number] for number in range(min(LIMIT, len(exam.questions)))]


def test_an_oracle_scores_100(opened):
  for exam in opened:
    right = {one.prompt: one.answers[0] for one in questions(exam)}
    row = taken(exam, lambda prompt, exam=exam, right=right: written(exam, right[prompt]))
    assert row["scores"] == {"strict": 100.0, "loose": 100.0}, exam.key
    assert row["n"] == min(LIMIT, len(exam.questions)) and not row["unparsable"]


def test_a_constant_answer_scores_its_share(opened):
  for exam in opened:
    asked = questions(exam)
    common, _ = collections.Counter(one.answers[0] for one in asked).most_common(1)[0]
    judge = metrics.METRICS[exam.metric]
    share = judge([common] * len(asked), [list(one.answers) for one in asked]).value
    row = taken(exam, lambda prompt, exam=exam, common=common: written(exam, common))
    assert row["score"] == pytest.approx(100 * share), exam.key
    assert row["low"] <= row["score"] <= row["high"]


@pytest.mark.parametrize("suite", ["mmlu", "bbh"])
def test_ranking_options_finds_what_an_oracle_prefers(suite, data_dir):
  for benchmark, setting in library.load().select([f"{suite}_direct"]):
    exam = opening.open_exam(benchmark, setting)
    asked = questions(exam)
    if not asked[0].options:
      continue
    right = {one.prompt: one.answers[0] for one in asked}
    row = taken(exam, right.__getitem__, method="rank")
    assert row["scores"] == {"plain": 100.0, "normalised": 100.0}, exam.key
