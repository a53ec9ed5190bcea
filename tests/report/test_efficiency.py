"""The page's account of time and efficiency: totals, a figure, and nothing for older runs."""

import math
import re

import pytest

from flan_tune import report, runlog
from flan_tune.report import efficiency, efficiency_plots
from flan_tune.report.run_folder import read
from tests.report.conftest import Clock, noise
from tests.report.html_page import Page

pytest.importorskip("matplotlib")


def write(folder, steps=40, **changed):
  """A run of records of 10 steps each; every fourth with an evaluation, every tenth with a save."""
  clock = Clock()
  with runlog.RunLog(folder, tensorboard=False, clock=clock) as log:
    clock.now += 30.0
    facts = {"seconds": 22.5, "peak": "1 x 2.1e+11 FLOP/s, measured"}
    log.event(1, "compiled", "22.5 s after the start, compiled", **facts)
    for number in range(1, steps + 1):
      seconds = {
        "seconds_data": 0.5 + 0.2 * noise(number),
        "seconds_step": 9.0 + 0.1 * noise(number + 1),
        "seconds_eval": 6.0 * (number % 4 == 0),
        "seconds_save": 2.5 * (number % 10 == 0),
        **({"seconds_compile": 20.0} if number == 1 else {}),
      }
      clock.now += sum(seconds.values())
      used = 0.4 + 0.01 * noise(number + 2)
      log.train(10 * number, {
        "loss": 4 * math.exp(-number / 20), "tokens_per_second": 1_000, "fill": 0.9, **seconds,
        "utilisation": used, "useful_utilisation": 0.85 * used, "device_memory_bytes": 3 << 30,
        "device_memory_peak_bytes": (4 << 30) + number, **changed,
      })  # fmt: skip
    clock.now += 5.0
    log.event(10 * steps, "time", seconds_eval=4.0, seconds_save=1.0)
  return folder


def test_the_page_tells_time_utilisation_and_memory(tmp_path):
  page = Page(report.write(write(tmp_path / "run")).read_text(encoding="utf-8"))
  assert "Time and efficiency" in page.words
  # 10 evaluations of 6 s and the last one of 4, 4 saves of 2.5 s and the last one of 1.
  for name, value in (
    ("Time: evaluating", "1:04"),
    ("Time: saving", "0:11"),
    ("Time: compiling", "0:20"),
    ("Time: starting, final scores", "0:30"),
    ("Tokens per second, mean", "1,000"),
    ("Memory of a device at most", "4.00 GiB"),
    ("First step of the newest session:", "22.5 s after the start"),
    ("What the devices could do:", "1 x 2.1e+11 FLOP/s"),
  ):
    assert re.search(rf"{re.escape(name)}\s*{re.escape(value)}", page.words), name
  labels = {svg["aria-label"] for svg in page.all("svg")}
  assert "Share of time by kind, and utilisation, over steps" in labels


def test_shares_of_time_add_up_in_every_stretch(tmp_path):
  run = read(write(tmp_path / "run", steps=300))
  binned = efficiency_plots._binned(run.train)
  assert len(binned) == 32 and binned[-1][0] == 3000
  assert all(sum(shares) == pytest.approx(1) for _, shares in binned)


def test_a_run_from_before_has_no_such_section(finished_run):
  assert efficiency.section(read(finished_run)) is None
  assert "Time and efficiency" not in report.write(finished_run).read_text(encoding="utf-8")


@pytest.mark.parametrize(
  "changed",
  [
    {"utilisation": None, "useful_utilisation": None},  # a device that no table has
    {"utilisation": 0.0, "useful_utilisation": "much"},
    {"seconds_step": -8.0, "seconds_data": None},
    {"tokens_per_second": None, "device_memory_peak_bytes": "4 GiB"},
    {"seconds_step": 0.0, "seconds_data": 0.0},
  ],
)
def test_missing_and_damaged_figures_are_left_out(tmp_path, changed):
  page = Page(report.write(write(tmp_path / "run", steps=4, **changed)).read_text(encoding="utf-8"))
  assert "Totals of the run" in page.words
  assert "nan" not in page.words.lower().split()
