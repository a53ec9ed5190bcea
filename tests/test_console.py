"""The terminal: one line that does not wrap, plain lines in a log, tables that fit."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from flan_tune import console

ROWS = [
  {
    "task": task, "group": group, "category": "word problems", "held_out": group == "held_out",
    "setting": "zs_opt", "n": 100, "before": 0.1, "after": after, "chance": 0.25,
  }
  for task, group, after in (
    ("playground_units", "cot", 0.864),
    ("playground_calendar", "held_out", 0.2),
    ("playground_topic", "muffin", 1.0),
    ("playground_translate_into_the_invented_language_of_the_island", "niv2", 0.05),
  )
]  # fmt: skip
SUMMARY = [{"name": "trained tasks", "before": 0.1, "after": 0.638, "chance": 0.25}]
METRICS = {"loss": 1.2345, "tokens_per_second": 2345.6, "fill": 0.912}


class Screen(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self) -> bool:
    return True


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self) -> float:
    return self.now


def terminal(width: int = 80, **options) -> Console:
  return Console(file=Screen(), force_terminal=True, width=width, color_system=None, **options)


def plain(width: int = 80) -> Console:
  return Console(file=io.StringIO(), width=width)


def written(to: Console) -> str:
  return to.file.getvalue()  # pyright: ignore


def run_bar(to: Console, *, updates: int, seconds: float, interval: float = 10.0) -> str:
  clock = Clock()
  with console.Progress(updates, console=to, clock=clock, interval=interval) as bar:
    for step in range(1, updates + 1):
      clock.now += seconds
      bar.update(step, METRICS)
  return written(to)


def test_a_log_gets_a_plain_line_every_interval_and_the_last():
  lines = run_bar(plain(), updates=50, seconds=1.0).splitlines()
  assert [line.split()[1] for line in lines] == [f"{n}/50" for n in (1, 11, 21, 31, 41, 50)]
  assert lines[1] == "step 11/50  22%  loss 1.234  2,346 tok/s  fill 91%  ETA 0:39"
  assert "\x1b" not in "".join(lines)
  assert "\r" not in "".join(lines)


def test_a_log_gets_the_last_line_once():
  assert len(run_bar(plain(), updates=1, seconds=1.0).splitlines()) == 1


def test_a_stream_that_is_no_terminal_gets_plain_lines_whatever_the_colours(monkeypatch):
  monkeypatch.setenv("FORCE_COLOR", "1")
  out = run_bar(Console(file=io.StringIO(), width=80), updates=3, seconds=1.0)
  assert "\r" not in out
  assert len(out.splitlines()) == 2


def test_a_terminal_gets_one_line_redrawn_in_place():
  out = run_bar(terminal(), updates=50, seconds=1.0)
  assert out.count("\n") == 1  # the end of the bar
  assert "50/50" in out.rsplit("\r", 1)[1]


@pytest.mark.parametrize("width", [12, 30, 40, 60, 80, 120, 200])
def test_the_line_never_reaches_the_edge(width):
  out = run_bar(terminal(width), updates=30, seconds=1.0)
  shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", out)
  assert max(len(line) for line in re.split(r"[\r\n]+", shown)) < width


def test_narrow_terminals_keep_what_matters_most():
  assert "loss 1.234" in run_bar(terminal(30), updates=3, seconds=1.0)
  wide = run_bar(terminal(80), updates=3, seconds=1.0)
  assert all(part in wide for part in ("loss 1.234", "2,346 tok/s", "fill 91%", "ETA", "━"))


def test_drawing_is_limited_in_rate():
  assert run_bar(terminal(), updates=1000, seconds=0.001).count("\r") < 20


def test_time_left_leaves_out_the_first_step_which_compiles():
  clock = Clock()
  with console.Progress(11, console=plain(), clock=clock, interval=0.0) as bar:
    clock.now = 100.0
    bar.update(1)
    clock.now = 102.0
    bar.update(2)
  assert "ETA 0:18" in written(bar._console)


def test_a_resumed_bar_starts_where_the_run_was():
  with console.Progress(100, 60, console=terminal()) as bar:
    bar.note("compiling")
  assert "60/100" in written(bar._console)
  assert "compiling" in written(bar._console)


def test_metrics_may_be_arrays_or_absent_or_not_finite():
  jax_like = type("Scalar", (), {"__float__": lambda self: 0.5})()
  out = plain()
  with console.Progress(3, console=out, interval=0.0) as bar:
    bar.update(1, {"loss": jax_like})
    bar.update(2)
    bar.update(3, {"loss": float("nan"), "fill": None})
  assert written(out).count("loss 0.500") == 2


def test_a_real_terminal_gets_a_real_line():
  """Through a pseudo-terminal, as a user runs it."""
  code = (
    "from flan_tune import console\n"
    "with console.Progress(3) as bar:\n"
    "  [bar.update(s, {'loss': 1.0}) for s in (1, 2, 3)]\n"
    "  bar.print('a message')\n"
  )
  ours, theirs = pty.openpty()
  env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
  subprocess.run([sys.executable, "-c", code], stdout=theirs, env=env, check=True)
  os.close(theirs)
  out = os.read(ours, 65536).decode()
  os.close(ours)
  assert "3/3" in out
  assert "a message" in out
  assert out.count("\n") == 2


def test_the_table_groups_tasks_and_puts_held_out_last():
  out = plain(120)
  console.score_table(ROWS, SUMMARY, console=out)
  lines = [line.strip() for line in written(out).splitlines()]
  order = [line for line in lines if line in ("Muffin", "NIV2", "CoT", "Held out", "Averages")]
  assert order == ["Muffin", "NIV2", "CoT", "Held out", "Averages"]
  (units,) = [line for line in lines if line.startswith("playground_units")]
  cells = ["playground_units", "word", "problems", "zs_opt", "100", "25.0", "10.0", "86.4", "+76.4"]
  assert units.split() == cells


@pytest.mark.parametrize("width", [36, 50, 64, 80, 100, 140])
def test_the_table_fits_and_shows_whole_numbers(width):
  out = terminal(width)
  console.score_table(ROWS, SUMMARY, console=out)
  text = written(out)
  assert max(len(line) for line in text.splitlines()) <= width
  assert all(number in text for number in ("86.4", "+76.4", "100.0", "5.0*", "-5.0", "20.0*"))


def test_scores_not_above_chance_are_marked_without_colours():
  out = plain()
  console.score_table(ROWS, SUMMARY, console=out)
  assert "20.0*" in written(out)
  assert "not above chance" in written(out)
  assert "86.4*" not in written(out)


def test_scores_may_be_missing():
  out = plain()
  console.score_table([{"task": "t", "group": "new_group", "after": float("nan")}], console=out)
  assert "new_group" in written(out)
  out = plain()
  console.score_table([], console=out)
  assert "No task was scored" in written(out)


def test_samples_show_prompt_and_answers_and_keep_the_terminal_safe():
  out = plain()
  hostile = {
    "task": "t[red]", "kind": "zs_opt", "inputs": "Is [bold]it\x1b[2J\x07?\nYes", "targets": "no",
    "before": "", "after": "no " * 500, "right_before": False, "right_after": True,
  }  # fmt: skip
  console.samples([hostile] * 5, limit=2, console=out)
  text = written(out)
  assert text.count("t[red]") == 2
  assert "Is [bold]it␛[2J␇?" in text
  assert "before (wrong)" in text
  assert "(nothing)" in text
  assert "after (right)" in text
  assert "900 more characters" in text
  assert "\x1b" not in text
