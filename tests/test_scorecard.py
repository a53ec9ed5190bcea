"""What is followed while training: some unseen examples of every group of the mixture."""

import numpy as np
import pytest

import flan_tune as ft
from flan_tune import assembly, config, gin_files, scorecard


@pytest.fixture(scope="module")
def model(finished_run) -> ft.Model:
  return ft.load(finished_run)


def resolved(tiny_quickstart, *more: str) -> config.Run:
  bindings = [flag.removeprefix("--gin.") for flag in tiny_quickstart if flag.startswith("--gin.")]
  run, _ = gin_files.resolve(
    config.Run,
    ["experiments/quickstart.gin"],
    [*bindings, "TRAIN_STEPS=4", "MODEL_DIR=nowhere", *more],
  )
  return run


@pytest.mark.slow
def test_losses_are_followed_of_every_group_on_rows_that_nobody_trains_on(tiny_quickstart, model):
  run = resolved(tiny_quickstart, "EVAL_PERIOD=2")
  watched = scorecard.watched_exams(run, model, assembly.plan(run.data))
  assert {exam.suite for exam in watched} == {"muffin", "t0_sf", "niv2", "cot"}
  assert not any(exam.held_out or exam.stand_in for exam in watched)
  found = scorecard.watched_losses(run, model, watched)
  assert [exam.key for exam, _, _ in found] == [exam.key for exam in watched]
  assert all(n == 4 for _, _, n in found)
  exam, loss, _ = found[5]
  questions = [exam.questions[number] for number in range(4)]
  judged = model.judge([(one.prompt, one.facts["targets"]) for one in questions])
  tokens = [token for one in judged for token in one.log_probs]
  np.testing.assert_allclose(loss, -np.mean(tokens), rtol=1e-5)


def test_nothing_is_followed_without_evaluations(tiny_quickstart, model):
  run = resolved(tiny_quickstart)
  assert scorecard.watched_exams(run, model, assembly.plan(run.data)) == []
  assert scorecard.held_out_exams(run, model) == []


def test_what_is_left_out_of_a_mixture_is_not_followed(tiny_quickstart, model):
  run = resolved(tiny_quickstart, "EVAL_PERIOD=2", "WITHOUT=('niv2', 'playground_topic')")
  watched = scorecard.watched_exams(run, model, assembly.plan(run.data))
  assert {exam.suite for exam in watched} == {"muffin", "t0_sf", "cot"}
  assert "playground_topic" not in {exam.name for exam in watched}
