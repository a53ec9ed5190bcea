"""The training loss by submixture and kind of prompt, as the report shows it."""

import pytest

from flan_tune import report, runlog
from flan_tune.report import loss_groups
from flan_tune.report.run_folder import read
from tests.report.html_page import Page

pytest.importorskip("matplotlib")


def write(folder, *records):
  with runlog.RunLog(folder, tensorboard=False) as log:
    for place, record in enumerate(records, start=1):
      log.train(10 * place, {"loss": 2.0, **record})
  return folder


def record(cot, muffin, *, tokens=100.0):
  return {
    "loss/cot": cot, "tokens/cot": tokens, "loss/muffin": muffin, "tokens/muffin": 50.0,
    "loss/kind/zs_opt": cot, "tokens/kind/zs_opt": tokens + 50.0,
  }  # fmt: skip


def test_first_and_last_losses_are_weighed_by_tokens(tmp_path):
  first = [record(4.0, 5.0), record(1.0, 5.0, tokens=300.0)]
  folder = write(tmp_path, *first, *[record(2.0, 3.0)] * 17, {"loss": None})
  page = Page(report.write(folder).read_text(encoding="utf-8"))
  # (4 x 100 + 1 x 300) / 400; the last tenth has one record in which every step was left out.
  assert "CoT2,1001.7502.000" in page.words
  assert "Muffin9505.0003.000" in page.words and "zs_opt" in page.words
  labels = {svg["aria-label"] for svg in page.all("svg")}
  assert "Training loss of submixtures and kinds of prompt over steps" in labels


@pytest.mark.parametrize(
  "records",
  [
    [{}],  # a run from before
    [{"loss/cot": 2.0, "tokens/cot": 5.0, "loss/kind/zs_opt": 2.0, "tokens/kind/zs_opt": 5.0}],
    [{"loss/cot": 2.0, "loss/muffin": None, "tokens/muffin": 0}],
    [{"loss/cot": "low", "tokens/cot": [], "loss/muffin": 1.0, "tokens/muffin": -3}],
  ],
)
def test_with_nothing_to_tell_apart_there_is_no_section(tmp_path, records):
  folder = write(tmp_path, *records)
  assert loss_groups.section(read(folder)) is None
  assert "kind of prompt" not in report.write(folder).read_text(encoding="utf-8")


def test_steps_that_were_left_out_are_told_at_the_top(tmp_path):
  folder = write(tmp_path, {"skipped_steps": 0}, {"skipped_steps": 3})
  assert "Steps left out3, whose" in Page(report.write(folder).read_text(encoding="utf-8")).words
