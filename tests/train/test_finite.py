"""Skipped steps are counted, told and written down; a row of them ends the run."""

import json

import numpy as np
import pytest

import flan_tune as ft
from flan_tune.train import finite

GOOD = {"loss": (2.0, 1.0), "skipped": (0.0, 1.0)}
BAD = {"loss": (np.nan, 1.0), "grad_norm": (np.inf, 1.0), "skipped": (1.0, 1.0)}


class Told:
  """A watch, and what it had others do."""

  def __init__(self, limit=3, **settings):
    self.dumped, self.events = [], []
    self.watch = finite.Watch(
      limit,
      lambda step, metrics, batch: self.dumped.append(step),
      event=lambda step, text: self.events.append((step, text)),
      **settings,
    )

  def run(self, text, first=2):
    """Steps, a letter each: g is good, b is skipped.  Returns what may be summed up."""
    metrics = {"g": GOOD, "b": BAD}
    return [self.watch(step, metrics[one], step) for step, one in enumerate(text, start=first)]


def test_numbers_of_skipped_steps_are_kept_out():
  assert Told().run("gbbg") == [True, False, False, True]


def test_a_good_step_ends_a_row():
  told = Told()
  told.run("bbgbbgbb")
  assert told.watch.state() == {"in_a_row": 2, "total": 6}


def test_the_run_ends_after_so_many_in_a_row_with_the_last_batch_written_down():
  told = Told()
  told.run("gbb")
  with pytest.raises(finite.NonFinite, match="steps 3 to 5: .*loss nan, grad_norm inf") as caught:
    told.run("b", first=5)
  assert (caught.value.step, caught.value.metric, caught.value.batch) == (5, "loss", 5)
  assert told.dumped == [3, 5]
  assert "no step of this run" not in str(caught.value)


def test_a_run_that_was_never_finite_says_so():
  with pytest.raises(finite.NonFinite, match="no step of this run was finite"):
    Told().run("bbb", first=1)


def test_a_row_is_told_once_and_so_is_its_end():
  told = Told()
  told.run("gbbgg")
  assert [step for step, _ in told.events] == [3, 5]
  assert "loss nan" in told.events[0][1] and "2 steps" in told.events[1][1]


def test_a_row_goes_on_across_a_restart():
  told = Told()
  told.run("bb")
  with pytest.raises(finite.NonFinite, match="steps 2 to 4"):
    Told(state=told.watch.state()).run("b", first=4)


def test_a_metric_that_is_not_finite_though_the_step_was_done_ends_the_run():
  spoilt = {**GOOD, "param_rms/logits": (np.inf, 1.0)}
  with pytest.raises(finite.NonFinite, match="step 7 was done") as caught:
    Told().watch(7, spoilt, None)
  assert caught.value.metric == "param_rms/logits"


@pytest.mark.parametrize(
  ("metrics", "told"),
  [
    (BAD, "not finite: loss nan, grad_norm inf and 30 more"),
    (GOOD, "not finite: grad_norm/0 nan, grad_norm/1 nan, grad_norm/2 nan, grad_norm/3 nan and 26"),
  ],
)
def test_norms_by_group_do_not_drown_what_is_told(metrics, told):
  norms = {f"grad_norm/{group}": (np.nan, 1.0) for group in range(30)}
  with pytest.raises(finite.NonFinite, match=told):
    Told(limit=1).watch(2, metrics | norms, None)


def test_a_dump_that_fails_hides_nothing():
  events = []

  def full(*_):
    raise OSError("no space left")

  watch = finite.Watch(1, full, event=lambda step, text: events.append(text))
  with pytest.raises(finite.NonFinite) as caught:
    watch(9, BAD, None)
  assert caught.value.dump is None
  assert "no space left" in events[0]


def test_what_went_wrong_is_written_as_json_with_the_names_of_groups(tmp_path):
  by_group = (np.array([np.nan, 3.0]), np.array([4.0, 2.0]))
  path = finite.write(
    tmp_path / "nonfinite",
    12,
    {**BAD, "loss_by_group": by_group},
    rows=[{"row": 0}],
    groups=(("cot", "zs_opt"), ("muffin", "fs_opt")),
  )
  told = json.loads(path.read_text())
  assert path.name == "step_12.json"
  assert told["not_finite"] == ["loss", "grad_norm", "loss_by_group"]
  assert told["metrics"]["grad_norm"]["sum"] == "inf"
  assert told["metrics"]["loss_by_group"]["sum"] == {"cot/zs_opt": "nan", "muffin/fs_opt": 3.0}
  assert told["rows"] == [{"row": 0}]


@pytest.mark.parametrize("features", ["encoder_decoder", "decoder_only"])
def test_a_batch_is_told_with_tasks_templates_places_and_texts(features):
  from flan_tune.data import provenance

  batches = ft.batches(
    "playground", lengths={"inputs": 96, "targets": 32}, batch_size=3, shots=1, features=features
  )
  batch, examples = next(batches), batches._examples
  told = provenance.rows(batch, examples)
  assert [[one["position"] for one in row["examples"]] for row in told] == batch.examples
  assert sum(len(row["examples"]) for row in told) > len(told)  # packed
  for one in (one for row in told for one in row["examples"]):
    rendered = examples.rendered[one["position"]]
    assert (one["task"], one["template"], one["kind"], one["index"]) == (
      rendered.task,
      rendered.template,
      rendered.kind,
      rendered.index,
    )
    decoded = [
      examples.recipe.vocabulary.decode(examples.recipe.vocabulary.encode(text))
      for text in (rendered.inputs, rendered.targets)
    ]
    assert [one["inputs"], one["targets"]] == decoded
