"""Judging answers: oracles score 1, constants score chance, sums are right."""

import dataclasses

import pytest

from flan_tune import cards
from flan_tune.evaluate import compare, runner

NAMES = ["playground", "playground_held_out"]


def _items(setting: str = "zs_opt", count: int = 40) -> list[runner.Item]:
  return runner.questions(NAMES, setting=setting, count=count, held_out=False, seed=0, shots=2)


@pytest.mark.parametrize("setting", ["zs_opt", "fs_opt"])
def test_an_oracle_scores_one_on_every_task(setting):
  items = _items(setting, 10)
  outcomes = runner.ask(items, lambda texts: [item.example.targets for item in items])
  rows = runner.scores(outcomes)
  known = {card.name for name in NAMES for card in cards.load().members(name)}
  assert len(rows) == len(known)
  assert {row.task for row in rows} == known
  assert all(row.value == 1.0 and row.n == 10 for row in rows)
  assert runner.normalised(rows) == pytest.approx(100.0)


def test_the_best_constant_answer_is_no_better_than_chance_says():
  """Where a constant can be right at all: chance counts what a guess among candidates gets, too."""
  items = _items(count=200)
  by_task: dict[str, list[runner.Item]] = {}
  for item in items:
    by_task.setdefault(item.card.name, []).append(item)
  for chosen in by_task.values():
    answers = {item.example.targets for item in chosen}
    best = max(
      runner.scores(runner.ask(chosen, lambda texts, a=answer: [a] * len(texts)))[0].value
      for answer in list(answers)[:20]
    )
    assert best <= chosen[0].card.chance + 0.12


def test_questions_are_unseen_and_the_same_every_time():
  first, again = _items(count=5), _items(count=5)
  assert [item.example for item in first] == [item.example for item in again]
  assert all(item.example.index < 5 for item in first)
  assert {"validation"} <= set(cards.load().tasks["playground_topic"].splits)


def test_a_rationale_need_not_match_only_the_answer():
  items = [item for item in _items(count=1) if item.card.extract == "final_answer"]
  answers = [f"Never mind how. So the answer is {item.example.answer}." for item in items]
  assert all(outcome.right for outcome in runner.ask(items, lambda texts: answers))
  wrong = [f"{item.example.targets} No: the answer is zzz." for item in items]
  assert not any(outcome.right for outcome in runner.ask(items, lambda texts: wrong))


def test_the_normalised_average_puts_chance_at_zero():
  """Chung et al. 2022, footnote 5."""
  row = runner.Score("t", "g", "", False, "zs_opt", "exact_match", 0.5, 10, 0.75)
  below = dataclasses.replace(row, value=0.25)
  assert runner.normalised([row]) == pytest.approx(50)
  assert runner.normalised([below]) == pytest.approx(-50)
  assert runner.normalised([row, below]) == pytest.approx(0)
  assert runner.normalised([]) == 0.0


def test_before_and_after_are_joined_by_task_and_averaged_without_weights():
  items = _items(count=4)
  right = runner.ask(items, lambda texts: [item.example.targets for item in items])
  wrong = runner.ask(items, lambda texts: ["" for _ in texts])
  compared = compare.compare(wrong, right)
  assert all(row["before"] == 0.0 and row["after"] == 1.0 for row in compared.rows)
  assert {entry["name"] for entry in compared.summary} >= {"muffin", "all trained"}
  assert all(entry["after"] == 1.0 for entry in compared.summary)
  assert len(compared.samples) == len(items)
  assert compared.samples[0].keys() >= {"inputs", "targets", "before", "after", "right_after"}
