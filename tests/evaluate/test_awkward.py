"""Twelve awkward but right ways to answer: loose extraction credits them, strict does not."""

import pytest

from flan_tune.benchmarks.exam import Exam, Question
from flan_tune.evaluate import engine, outcomes
from tests.evaluate import stand_ins
from tests.text.awkward import AWKWARD

TARGETS = {
  "option": ("(B)", ("(A)", "(B)", "(C)")),
  "word": ("Yes", ("Yes", "No")),
  "number": ("1234", ()),
  "text": ("] ) }", ()),
  "span": ("Lake Victoria", ()),
}


@pytest.mark.parametrize("rule", sorted(AWKWARD))
def test_awkward_ways_count_in_the_loose_score_alone(rule):
  target, options = TARGETS[rule.removesuffix("_cot")]
  ways = AWKWARD[rule]
  assert len(ways) == 12
  questions = [Question(str(n), f"{n} ?", (target,), options) for n in range(len(ways))]
  exam = Exam(
    name="pond",
    setting="direct",
    suite="pond",
    benchmark="Pond",
    label="0-shot direct",
    questions=questions,
    metric="exact_match",  # TyDi QA's own metric forgives punctuation, whatever was extracted
    extract=rule,
    fingerprint="",
  )
  answer = lambda prompt: ways[int(prompt.split()[0])](target)
  found = engine.answer([exam], stand_ins.Model(answer))
  (row,) = outcomes.table([exam], found.records)
  assert row["scores"] == {"strict": 0.0, "loose": 100.0}
  plain = stand_ins.Model(lambda prompt: f"The answer is {target}." if "cot" in rule else target)
  (row,) = outcomes.table([exam], engine.answer([exam], plain).records)
  assert row["scores"] == {"strict": 100.0, "loose": 100.0}
