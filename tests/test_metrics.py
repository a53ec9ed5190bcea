"""Metrics: what counts as equal, and means that add up."""

import decimal
import math

import hypothesis
import hypothesis.strategies as st
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
    ("18 dollars", "18"),
    ("12 %", "12"),
    ("-$1,000", "-1000"),
    ("๑๘", "18"),
    ("\u200f١٬٢٣٤٫٥\u200f", "1234.5"),
    ("１，２３４", "1234"),
    ("1'234", "1234"),
    ("1.234", "1.234"),
    ("1.234,5", "1234.5"),
    ("1.234.567", "1234567"),
    ("1,234.5", "1234.5"),
    ("18,00 €", "18"),
    ("0,125", "0.125"),
    ("1,2345", "2345"),
    ("1234,567", "567"),
    ("1.234'567,8", "8"),
    ("3/4", "4"),
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


@pytest.mark.parametrize(
  ("prediction", "answer"),
  [
    ("«1794»", "1794"),
    ("“Köln”。", "Ko\u0308ln"),
    ("১৯৭১।", "১৯৭১"),
    ("\u200fتبليسي؟", "تبليسي"),
    ("179,7 juta km2", "179,7 juta km²"),
    ("средняя глубина — 7,5 метра", "средняя глубина\u00a0— 7,5 метра"),
    ("STRASSE", "straße"),
    ("the Nile", "nile"),
    ("1832-1833", "1832—1833"),
  ],
)
def test_spans_of_any_script_are_compared_without_marks_case_and_forms(prediction, answer):
  assert metrics.squad_em([prediction], [answer]) == Mean(1, 1)
  assert metrics.squad_f1([prediction], [answer]) == Mean(1, 1)


@pytest.mark.parametrize(
  ("prediction", "answer"),
  [
    ("১৯৭১", "1971"),
    ("te", "té"),
    ("హెక్టార్", "హెక్టర్"),  # a vowel sign is no punctuation
    ("le Nil", "Nil"),
  ],
)
def test_spans_that_differ_in_digits_accents_signs_or_foreign_articles_differ(prediction, answer):
  assert metrics.squad_em([prediction], [answer]) == Mean(0, 1)


@hypothesis.given(st.text(st.characters(max_codepoint=127)))
def test_ascii_spans_are_compared_as_squad_does(text):
  assert metrics.squad_normalised(text) == normalised(text)


@hypothesis.given(st.text())
def test_comparing_spans_never_fails_and_normalises_once(text):
  once = metrics.squad_normalised(text)
  assert set(once.split()).isdisjoint({"a", "an", "the"})
  assert metrics.squad_em([text], [text]) == Mean(1, 1)
  assert metrics.squad_f1([text], [text]) == Mean(1, 1)


def test_the_best_reference_of_a_span_counts_for_f1():
  answers = [["upele wa kuwasha", "kati ya 1956 na 1972"]]
  assert metrics.squad_f1(["upele wa"], answers).value == pytest.approx(4 / 5)


@pytest.mark.parametrize(
  ("prediction", "score"),
  [("The doctor.", 1), ("a Doctor", 1), ("doctor", 1), ("the doctor's", 0), ("doctor nurse", 0)],
)
def test_no_articles_ignores_articles_case_and_a_full_stop_alone(prediction, score):
  assert metrics.no_articles([prediction], ["the doctor"]) == Mean(score, 1)


@pytest.mark.parametrize(
  ("values", "labels", "area"),
  [
    ([1, 2, 3, 4], [0, 0, 1, 1], 1),
    ([4, 3, 2, 1], [0, 0, 1, 1], 0),
    ([1, 2, 3, 4], [0, 1, 0, 1], 3 / 4),
    ([5, 5, 5], [1, 0, 0], 1 / 2),
    ([1, 2, 2, 3], [0, 0, 1, 1], 7 / 8),
    ([-math.inf, 0, math.inf], [False, True, True], 1),
  ],
)
def test_auc(values, labels, area):
  assert metrics.auc(values, labels) == area


@hypothesis.given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1))
def test_auc_is_the_share_of_pairs_in_order(rows):
  pairs = [
    (a > b) + (a == b) / 2 for a, positive in rows if positive for b, other in rows if not other
  ]
  found = metrics.auc([value for value, _ in rows], [label for _, label in rows])
  if pairs:
    assert found == pytest.approx(sum(pairs) / len(pairs))
  else:
    assert math.isnan(found)


@pytest.mark.parametrize(("values", "labels"), [([1], [1, 0]), ([math.nan, 1], [0, 1])])
def test_auc_refuses_what_has_no_rank(values, labels):
  with pytest.raises(ValueError, match="auc"):
    metrics.auc(values, labels)


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
