import numpy as np
import pytest

from flan_tune.evaluate import bootstrap


def test_an_interval_depends_on_the_seed_alone():
  scores = np.random.default_rng(0).random(50)
  assert bootstrap.interval(scores, seed=3) == bootstrap.interval(scores, seed=3)
  assert bootstrap.interval(scores, seed=3) != bootstrap.interval(scores, seed=4)


@pytest.mark.parametrize("kinds", [2, 5, 200], ids=["right or wrong", "few scores", "many scores"])
def test_draws_have_the_mean_and_the_spread_of_a_resampled_mean(kinds):
  """Whichever way they are drawn: by counts of equal scores, or question by question."""
  scores = np.random.default_rng(1).integers(kinds, size=400) / (kinds - 1)
  means = bootstrap.draws(scores, num_draws=20_000)
  assert means.mean() == pytest.approx(scores.mean(), abs=1e-3)
  assert means.std() == pytest.approx(scores.std() / 20, rel=0.03)


def test_blocks_of_draws_change_nothing_but_memory(monkeypatch):
  scores = np.random.default_rng(2).random(100)
  whole = bootstrap.draws(scores, num_draws=50)
  monkeypatch.setattr(bootstrap, "_BLOCK", 700)
  np.testing.assert_array_equal(bootstrap.draws(scores, num_draws=50), whole)


def test_a_share_and_its_number_of_questions_do_for_rights_and_wrongs():
  known = bootstrap.draws([1.0] * 30 + [0.0] * 70, num_draws=20_000)
  share = bootstrap.right_or_wrong(0.3, 100, num_draws=20_000, seed=1)
  assert share.mean() == pytest.approx(known.mean(), abs=2e-3)
  assert share.std() == pytest.approx(known.std(), rel=0.03)


def test_tasks_count_alike_in_a_macro_interval_whatever_their_size():
  low, high = bootstrap.macro_interval([[1.0] * 1000, [0.0] * 10])
  assert (low, high) == (0.5, 0.5)


def test_nineteen_of_twenty_intervals_hold_the_truth():
  rng = np.random.default_rng(5)
  inside = 0
  for trial in range(400):
    low, high = bootstrap.interval(rng.random(100) < 0.3, seed=trial, num_draws=500)
    inside += low <= 0.3 <= high
  assert 0.91 <= inside / 400 <= 0.98


def test_a_run_does_not_differ_from_itself():
  scores = np.random.default_rng(3).random(40)
  assert bootstrap.paired(scores, scores) == (0.0, 0.0, 0.0, 1.0, 40)


def test_pairing_sees_what_two_intervals_cannot():
  rng = np.random.default_rng(4)
  a = (rng.random(200) < 0.5).astype(float)
  b = np.maximum(a, rng.random(200) < 0.1)  # the same answers, and a few more right
  assert bootstrap.interval(a)[1] > bootstrap.interval(b)[0]
  result = bootstrap.paired(a, b)
  assert result.low > 0
  assert result.p_value < 0.01
  mirrored = bootstrap.paired(b, a)
  assert mirrored.difference == -result.difference


def test_chance_differences_are_rarely_called_significant():
  rng = np.random.default_rng(6)
  found = [
    bootstrap.paired(rng.random(100) < 0.5, rng.random(100) < 0.5, num_draws=400).p_value
    for _ in range(200)
  ]
  assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.1


def test_runs_of_other_lengths_and_no_questions_are_refused():
  with pytest.raises(ValueError, match="2 questions in one run and 1 in the other"):
    bootstrap.paired([1, 0], [1])
  with pytest.raises(ValueError, match="no questions"):
    bootstrap.interval([])
