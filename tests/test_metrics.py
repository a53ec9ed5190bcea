"""Metrics: what counts as equal, and means that add up."""

import decimal
import math

import pytest

from flan_tune import metrics
from flan_tune.metrics import METRICS, Mean, last_number, normalised


def test_exact_match_compares_characters():
  assert metrics.exact_match(["yes", "Yes", "yes "], ["yes"] * 3) == Mean(1, 3)


def test_normalised_exact_match_ignores_case_articles_punctuation_and_white_space():
  predictions = ["The  Eiffel\nTower.", "an eiffel-tower", "eiffel towers"]
  # A hyphen is dropped, not replaced by a space, as in SQuAD's own comparison.
  assert metrics.normalised_exact_match(predictions, ["Eiffel Tower"] * 3) == Mean(1, 3)
  assert normalised("A theory, the AN!") == "theory"


@pytest.mark.parametrize(
  ("text", "number"),
  [
    ("18", "18"),
    ("So 3 + 4 = 7.", "7"),
    ("$1,000.", "1000"),
    ("1,234,567.50 dollars", "1234567.5"),
    ("12,34,567", "1234567"),
    ("1\u202f000 euros", "1000"),
    ("3, 4", "4"),
    ("(1,2)", "2"),
    ("2000,3000", "3000"),
    ("3.50", "3.5"),
    ("It is 3.5.", "3.5"),
    (".5", "0.5"),
    ("-4", "-4"),
    ("x = \u22124", "-4"),
    ("7-3", "3"),
    ("(5)-3", "3"),
    ("১২", "12"),
    ("12th", "12"),
    ("none", None),
    ("", None),
    ("...", None),
  ],
)
def test_last_number(text, number):
  assert last_number(text) == (None if number is None else decimal.Decimal(number))


def test_number_match_compares_values():
  assert metrics.number_match(["It costs $1,000.00", "10", "no", ""], ["1000"] * 4) == Mean(1, 4)


def test_an_answer_without_a_number_is_never_matched():
  assert metrics.number_match(["none"], ["none"]) == Mean(0, 1)


@pytest.mark.parametrize(
  ("prediction", "answer", "score"),
  [
    ("the cat sat", "cat sat down", 4 / 5),
    ("cat cat", "cat", 2 / 3),
    ("dog", "cat", 0),
    ("", "cat", 0),
    ("", "", 1),
    ("the", "a", 1),
  ],
)
def test_token_f1(prediction, answer, score):
  assert metrics.token_f1([prediction], [answer]).value == pytest.approx(score)


@pytest.mark.parametrize("name", METRICS)
def test_the_best_of_several_answers_counts(name):
  assert METRICS[name](["7"], [["5", "7"]]) == Mean(1, 1)
  assert METRICS[name](["7"], [[]]) == Mean(0, 1)


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_for_every_answer(name):
  with pytest.raises(ValueError, match="longer"):
    METRICS[name](["7"], ["7", "8"])


@pytest.mark.parametrize("name", METRICS)
def test_parts_add_up_to_the_whole(name):
  predictions, answers = ["7", "cat", "the dog", ""], ["7", "7 cats", "dog", "x"]
  parts = METRICS[name](predictions[:1], answers[:1]) + METRICS[name](predictions[1:], answers[1:])
  assert parts == METRICS[name](predictions, answers)


def test_the_mean_of_nothing_is_not_a_number():
  assert math.isnan(Mean().value)
  assert Mean(1, 4).value == 0.25
