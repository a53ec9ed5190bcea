import itertools

import pytest

from flan_tune.evaluate import vote


@pytest.mark.parametrize(
  ("answers", "answer", "share", "tie"),
  [
    (["b", "a", "a"], "a", 2 / 3, False),
    (["b", "a", "a", "b"], "b", 0.5, True),  # a tie: drawn first
    (["b", None, None, None], "b", 0.25, False),  # no answer is no vote, and no confidence
    ([None, None], None, 0.0, False),
    ([], None, 0.0, False),
    (["", "", "x"], "", 2 / 3, False),  # an empty answer is one
  ],
)
def test_the_most_frequent_answer_wins_and_of_equals_the_first(answers, answer, share, tie):
  found = vote.majority(answers)
  assert (found.answer, found.share, found.tie) == (answer, pytest.approx(share), tie)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 6])
def test_decided_is_exactly_when_no_rest_can_change_the_answer(total):
  """Against all ways to go on; "new" stands for an answer that has not been seen."""
  for size in range(total + 1):
    for answers in itertools.product(["a", "b", None], repeat=size):
      ends = {
        vote.majority([*answers, *rest]).answer
        for rest in itertools.product(["a", "b", "new", None], repeat=total - size)
      }
      assert vote.decided(answers, total) == (len(ends) == 1), (answers, total)


def _by_enumeration(pool, k, right):
  orders = list(itertools.permutations(pool, k))
  return sum(vote.majority(order).answer == right for order in orders) / len(orders)


@pytest.mark.parametrize(
  "pool", ["aaabb", "abcde", "aabbcc", ["a", None, "b", "a", None], [None, None, None]]
)
def test_the_curve_is_the_mean_over_all_ordered_subsets(pool):
  ks = range(1, len(pool) + 1)
  found = vote.curve([list(pool)], lambda _, answer: answer == "a", ks)
  expected = {k: pytest.approx(_by_enumeration(pool, k, "a")) for k in ks}
  assert found == expected


def test_the_curve_averages_over_questions_and_scores_each_by_its_own_key():
  pools = [["a"] * 40, ["b"] * 30 + ["a"] * 10]
  found = vote.curve(pools, lambda question, answer: answer == "ab"[question], [1, 5, 40])
  assert found[1] == pytest.approx((1 + 0.75) / 2)
  assert found[1] < found[5] < found[40] == 1.0


def test_a_curve_needs_pools_of_one_size_that_hold_k():
  with pytest.raises(ValueError, match=r"not of \[1, 2\]"):
    vote.curve([["a"], ["a", "b"]], lambda *_: 1.0, [1])
  with pytest.raises(ValueError, match="k = 3: a pool has 2 samples"):
    vote.curve([["a", "b"]], lambda *_: 1.0, [3])
