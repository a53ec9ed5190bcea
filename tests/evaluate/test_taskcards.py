"""Task cards as exams, and what tuning changed: oracles score 1, sums are right."""

import pytest

from flan_tune import cards, errors, metrics
from flan_tune.evaluate import engine, exams, outcomes, tuning
from flan_tune.text import extraction
from tests.evaluate import stand_ins

NAMES = ["playground", "playground_held_out"]


def opened(setting: str = "zs_opt", **choice) -> list:
  found = exams.open_exams(NAMES, exams.Choice(setting=setting, **choice))
  assert not found.missing
  return found.exams


def taken(asked, rule, limit: int = 10) -> tuning.Taken:
  found = engine.answer(asked, stand_ins.Model(rule), engine.Options(limit=limit))
  records = [one for several in found.records.values() for one in several]
  return tuning.Taken(outcomes.table(asked, found.records), records)


def targets(asked, limit: int = 10) -> dict[str, str]:
  rows = [exam.questions[number] for exam in asked for number in range(limit)]
  return {one.prompt: one.facts["targets"] for one in rows}


@pytest.mark.parametrize("setting", ["zs_opt", "fs_opt"])
def test_an_oracle_is_right_on_every_task(setting):
  asked = opened(setting)
  rows = taken(asked, targets(asked).__getitem__).rows
  known = {card.name for name in NAMES for card in cards.load().members(name)}
  assert {row["exam"] for row in rows} == known and len(rows) == len(known)
  assert all(row["score"] == 100 and row["n"] == 10 for row in rows)
  assert tuning.normalised(rows) == pytest.approx(100)


def test_the_best_constant_answer_is_no_better_than_chance_says():
  """Where a constant can be right at all: chance counts what a guess among candidates gets, too."""
  for exam in opened():
    asked = [exam.questions[number] for number in range(200)]
    answers = [list(one.answers) for one in asked]
    judge, rule = metrics.METRICS[exam.metric], extraction.RULES[exam.extract]
    best = max(
      judge([rule.strict(constant, ()) or ""] * len(asked), answers).value
      for constant in sorted({one.facts["targets"] for one in asked})
    )
    assert best <= exam.chance + 0.12


def test_questions_are_unseen_and_the_same_every_time():
  first, again = opened()[0], opened()[0]
  assert [first.questions[n] for n in range(5)] == [again.questions[n] for n in range(5)]
  assert first.fingerprint == again.fingerprint != opened(seed=1)[0].fingerprint
  assert not first.stand_in


def test_a_task_without_unseen_rows_is_named_and_asked_only_if_wanted(monkeypatch):
  card = cards.load().tasks["playground_topic"]
  card.splits.pop("validation")
  card.splits.pop("test", None)
  try:
    found = exams.open_exams(["playground_topic"])
    assert not found.exams and "training split only" in found.missing[0].how
    with pytest.raises(errors.UserError, match="playground_topic cannot be asked"):
      exams.require(found, "--tasks")
    (exam,) = exams.open_exams(["playground_topic"], exams.Choice(seen=True)).exams
    assert "training split" in exam.stand_in
  finally:
    cards.load.cache_clear()


def test_names_of_benchmarks_and_tasks_are_told_apart():
  with pytest.raises(errors.UserError, match="playground_topik.*playground_topic"):
    exams.open_exams(["playground_topik"])
  found = exams.open_exams(["playground_topic"], exams.Choice(most=7))
  assert len(found.exams[0].questions) == 7


def test_the_normalised_average_puts_chance_at_zero_and_weighs_suites_alike():
  """Chung et al. 2022, footnote 5."""
  row = {"suite": "a", "setting": "direct", "chance": 0.5, "score": 75.0, "higher_is_better": True}
  assert tuning.normalised([row]) == pytest.approx(50)
  assert tuning.normalised([row, {**row, "score": 25.0}]) == pytest.approx(0)
  other = {**row, "suite": "b", "score": 100.0}
  assert tuning.normalised([row, row, row, other]) == pytest.approx(75)
  unknown, toxic = {**other, "score": None}, {**other, "higher_is_better": False}
  assert tuning.normalised([row, unknown, toxic]) == pytest.approx(50)
  assert tuning.normalised([unknown, toxic]) is tuning.normalised([]) is None


def test_before_and_after_are_joined_by_question_and_averaged_without_weights():
  asked = opened()
  right, wrong = taken(asked, targets(asked).__getitem__), taken(asked, lambda prompt: "zzz")
  compared = tuning.compare(wrong, right)
  assert all(row["before"] == 0.0 and row["after"] == 1.0 for row in compared.rows)
  assert {entry["name"] for entry in compared.summary} >= {"muffin", "all trained"}
  assert all(entry["after"] == 1.0 for entry in compared.summary)
  assert len(compared.samples) == len(right.records)
  sample = compared.samples[0]
  assert sample["right_after"] and not sample["right_before"] and sample["before"] == "zzz"
  assert sample["after"] == sample["targets"]
