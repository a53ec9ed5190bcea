"""Curves: peaks survive thinning, averages neither lag nor invent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan_tune.report import run_folder, scoreboard, series
from flan_tune.report.visible import middle_cut, shortened, visible

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


def make(values: list[float]) -> series.Series:
  return series.Series([float(step) for step in range(len(values))], values)


@given(VALUES, st.integers(2, 50))
def test_thinning_keeps_extremes_ends_and_order(values, limit):
  thin = series.thinned(make(values), limit)
  assert len(thin.steps) <= max(limit, 2) + 2
  assert (min(thin.values), max(thin.values)) == (min(values), max(values))
  assert (thin.steps[0], thin.steps[-1]) == (0.0, len(values) - 1.0)
  assert thin.steps == sorted(set(thin.steps))


@given(VALUES, st.integers(1, 60))
def test_smoothing_stays_between_lowest_and_highest(values, window):
  calm = series.smoothed(make(values), window).values
  assert len(calm) == len(values)
  assert min(calm) >= min(values) - 1e-3
  assert max(calm) <= max(values) + 1e-3


def test_smoothing_leaves_a_straight_slope_alone():
  slope = [3.0 - 0.1 * step for step in range(50)]
  assert series.smoothed(make(slope), 11).values == pytest.approx(slope)


def test_values_that_are_not_finite_are_left_out():
  records = [
    {"step": 1, "x": 1.0},
    {"step": 2, "x": None},
    {"step": 3, "x": float("inf")},
    {"step": 4},
  ]
  assert series.of(records, "x") == series.Series([1], [1.0])


def test_every_task_counts_the_same_in_a_mean():
  records = [
    {"step": 1, "x": 0.0, "n": 1}, {"step": 1, "x": 1.0, "n": 99}, {"step": 2, "x": 1.0, "n": 1},
  ]  # fmt: skip
  assert series.mean_by_step(records, "x", lambda _: True) == series.Series([1, 2], [0.5, 1.0])


def test_time_between_sessions_is_not_training_time(tmp_path):
  lines = [
    '{"kind": "event", "what": "start", "step": 0, "time": 100}',
    '{"kind": "train", "step": 1, "time": 130}',
    '{"kind": "event", "what": "resume", "step": 1, "time": 9000}',
    '{"kind": "train", "step": 2, "time": 9020}',
  ]
  (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
  assert run_folder.read(tmp_path).seconds() == 50.0


def test_a_step_logged_twice_counts_once_and_the_last_wins(tmp_path):
  lines = [f'{{"kind": "train", "step": {s}, "loss": {x}}}\n' for s, x in ((1, 5), (2, 6), (1, 7))]
  (tmp_path / "metrics.jsonl").write_text("".join(lines))
  assert series.of(run_folder.read(tmp_path).train, "loss").values == [7.0, 6.0]


def test_a_held_out_task_is_listed_as_such_whatever_its_group():
  rows = [{"task": "a", "group": "cot", "held_out": True}, {"task": "b", "group": "cot"}]
  shown = scoreboard.grouped(scoreboard.score(row) for row in rows)
  assert [(name, [s.task for s in members]) for name, members in shown] == [
    ("CoT", ["b"]), ("Held out", ["a"]),
  ]  # fmt: skip


def test_no_chance_means_nothing_to_beat():
  assert scoreboard.Score("t", after=0.0).above_chance
  assert not scoreboard.Score("t", after=0.0, chance=0.0).above_chance
  assert scoreboard.Score("t", after=0.3, chance=0.25).above_chance


@pytest.mark.parametrize(
  ("seconds", "shown"),
  [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (None, "-:--"), (-3, "0:00")],
)
def test_durations_read_like_a_clock(seconds, shown):
  assert scoreboard.duration(seconds) == shown


@given(st.text())
def test_visible_text_has_no_controls_but_tabs_and_line_ends(text):
  shown = visible(text)
  assert len(shown) == len(text)
  shown.encode("utf-8")
  assert all(c in "\t\n" or ord(c) >= 0x20 for c in shown)


@given(st.text(max_size=80), st.integers(5, 60))
def test_cutting_in_the_middle_keeps_both_ends(name, limit):
  cut = middle_cut(name, limit)
  assert len(cut) <= limit
  assert cut == name or (cut[0] == name[0] and cut[-1] == name[-1])


def test_shortened_text_says_how_much_is_gone():
  assert shortened("abcdef", 4) == "abcd ... (2 more characters)"
  assert shortened("abcd", 4) == "abcd"
