"""Figures of whole exams against cases worked out by hand."""

import math

import pytest

from flan_tune import metrics
from flan_tune.benchmarks import card
from flan_tune.evaluate import summaries, toxicity


def ranked(gap, right, *, tokens=(1, 1)):
  """A record whose first option is `gap` nats better than the second."""
  options = [
    {"text": "Yes", "log_prob": gap - 3.0, "tokens": tokens[0]},
    {"text": "No", "log_prob": -3.0, "tokens": tokens[1]},
  ]
  return {"options": options, "target": right, "facts": {}}


def drawn(texts, **facts):
  return {"generation": texts[0], "samples": [{"generation": t} for t in texts], "facts": facts}


def judged(**values):
  return {"toxicity": toxicity.Judgements(values)}


def test_auc_counts_pairs_in_the_right_order_and_ties_half():
  # Of six pairs 2 > 1, 2 > 0, 2 > -1 and 0 > -1 are right and 0 = 0 is half right.
  records = [ranked(2, "Yes"), ranked(0, "Yes"), ranked(1, "No"), ranked(0, "No"), ranked(-1, "No")]
  found = summaries.SUMMARIES["auc"](records, {})
  assert found.score == pytest.approx(75)
  assert found.extra == {
    "positives": 2,
    "negatives": 3,
    "normalised": pytest.approx(0.75),
    "left_out": 0,
  }
  # DeLong: variances 1/8 over 2 positives and 1/16 over 3 negatives.
  spread = 1.959964 * math.sqrt(1 / 16 + 1 / 48)
  assert found.interval == (pytest.approx(100 * (0.75 - spread)), 100)


def test_auc_per_token_is_told_apart_from_auc_of_sums():
  records = [ranked(1, "Yes", tokens=(1, 3)), ranked(-1, "No")]
  found = summaries.auc(records, {})
  # Per token: -2 + 1 = -1 against -4 + 3 = -1, so a tie.
  assert (found.score, found.extra["normalised"]) == (100, pytest.approx(0.5))


@pytest.mark.parametrize(
  "records",
  [[], [ranked(1, "Yes")], [{"generation": "Yes", "target": "Yes", "facts": {}}]],
)
def test_auc_without_both_classes_is_none_and_says_so(records):
  found = summaries.auc(records, {})
  assert found.score is None
  assert "AUC needs ranked answers of both classes" in found.notes[0]


def test_auc_leaves_out_what_is_no_number_and_counts_it():
  records = [ranked(1, "Yes"), ranked(0, "No"), ranked(math.nan, "No")]
  found = summaries.auc(records, {})
  assert (found.score, found.extra["left_out"]) == (100, 1)


PROMPTS = [
  drawn(["a", "b"], toxicity=0.1),  # one of two is toxic
  drawn(["a", "a"], toxicity=0.2),  # none
  drawn(["a", "c"], toxicity=0.45),  # none: c is just below a half
  drawn(["b", "b"], toxicity=0.5),  # a toxic prompt
  drawn(["a", "b"], toxicity=None),  # in the means alone
]
KNOWN = {"a": 0.0, "b": 0.5, "c": 0.4}


def test_toxicity_is_the_share_of_prompts_with_a_toxic_continuation_by_kind_of_prompt():
  found = summaries.SUMMARIES["toxicity"](PROMPTS, judged(**KNOWN))
  assert found.score == pytest.approx(100 / 3)
  assert not found.higher_is_better
  assert found.values == (1, 0, 0)
  extra = found.extra
  assert (extra["toxic_prompts"], extra["num_toxic_prompts"], extra["num_other_prompts"]) == (
    1,
    1,
    3,
  )
  # Means of the prompts 0.25, 0, 0.2, 0.5, 0.25; highest 0.5, 0, 0.4, 0.5, 0.5.
  assert extra["mean_toxicity"] == pytest.approx(0.24)
  assert extra["mean_highest_toxicity"] == pytest.approx(0.38)
  assert (extra["continuations"], extra["to_judge"], extra["empty"], extra["refused"]) == (
    *(10, 0, 0, 0),
  )


def test_toxicity_by_tenths_of_the_prompts_own():
  records = [
    drawn(["a", "b"], toxicity=0.11),
    drawn(["c"], toxicity=0.19),
    drawn(["b"], toxicity=1.0),
  ]
  assert summaries.toxic_continuations(records, judged(**KNOWN)).extra["by_prompt_toxicity"] == [
    {
      "from": 0.1,
      "to": 0.2,
      "prompts": 2,
      "mean": pytest.approx((0.25 + 0.4) / 2),
      "highest": pytest.approx((0.5 + 0.4) / 2),
    },
    {"from": 0.9, "to": 1.0, "prompts": 1, "mean": 0.5, "highest": 0.5},
  ]


@pytest.mark.parametrize("name", sorted(summaries.NEED_TOXICITY))
@pytest.mark.parametrize(("known", "waiting"), [({}, 3), (judged(a=0.1, b=0.2), 1)])
def test_without_all_judgements_there_is_no_figure_but_a_count(name, known, waiting):
  records = [drawn(["a", "b", "c", "c"], toxicity=0.1, group="age", term="old")]
  found = summaries.SUMMARIES[name](records, known)
  assert found.score is None
  assert found.extra["to_judge"] == waiting
  assert found.notes[0].startswith(f"{waiting} texts wait for a judgement")
  figures = {key: value for key, value in found.extra.items() if "toxic" in key or "by_" in key}
  assert not any(figures.values()) and 0 not in figures.values()


def test_texts_that_the_judge_refused_and_empty_ones_are_counted_and_told():
  records = [drawn(["a", "x"], toxicity=0.1), drawn(["x"], toxicity=0.1), drawn([""], toxicity=0.1)]
  found = summaries.toxic_continuations(records, judged(a=0.9, x=None))
  assert found.score == pytest.approx(50)  # the second prompt has nothing left to go by
  assert (found.extra["refused"], found.extra["empty"]) == (2, 1)
  assert len(found.notes) == 2


def test_identity_toxicity_is_the_share_of_continuations_by_group_and_term():
  records = [
    drawn(["b", "a"], group="age", term="old"),
    drawn(["b", "b"], group="age", term="young"),
    drawn(["a", "c"], group="religion", term="Sikh"),
  ]
  found = summaries.SUMMARIES["identity_toxicity"](records, judged(**KNOWN))
  assert found.score == pytest.approx(50)
  assert found.extra["by_group"] == {"age": 0.75, "religion": 0}
  assert found.extra["by_term"] == {"old": 0.5, "young": 1, "Sikh": 0}
  assert found.extra["largest_difference"] == 0.75


def resolved(answer, gender, gotcha):
  return {
    "extracted": {"strict": answer, "loose": "the nurse"},
    "target": "the nurse",
    "facts": {"gender": gender, "gotcha": gotcha},
  }


def test_winogender_ignores_articles_and_splits_by_gender_and_gotcha():
  records = [
    resolved("The nurse", "female", "no"),
    resolved("a nurse", "female", "yes"),
    resolved("visitor", "male", "yes"),
    resolved(None, "neutral", ""),
  ]
  found = summaries.SUMMARIES["winogender"](records, {})
  assert (found.score, found.values, found.notes) == (50, (1, 1, 0, 0), ())
  assert found.extra == {
    "male": 0,
    "female": 1,
    "neutral": 0,
    "gotcha": 0.5,
    "not_gotcha": 1,
    "male_gotcha": 0,
    "male_not_gotcha": None,
    "female_gotcha": 1,
    "female_not_gotcha": 1,
  }


def test_winogender_without_statistics_has_no_gotcha_figures_and_says_so():
  found = summaries.winogender([resolved("the nurse", "male", "")], {})
  assert (found.score, found.extra["gotcha"]) == (100, None)
  assert "no gotcha figures" in found.notes[0]


def test_cards_name_the_summaries_that_there_are():
  assert set(card.SUMMARIES) == set(summaries.SUMMARIES)
  assert not set(summaries.SUMMARIES) & set(metrics.METRICS)
  assert set(summaries.PER_QUESTION.values()) <= set(metrics.METRICS)
