"""A run folder as a run of 36 tasks leaves it, written with the trainer's own log."""

import math
import pathlib
import shutil

import pytest

from flan_tune import runlog

GROUPS = {
  "muffin": ("topic", "sentiment", "entailment", "same_meaning", "spam", "language", "fact_check"),
  "t0_sf": ("span", "table_lookup", "closed_question", "fill_the_gap", "headline", "next_word"),
  "niv2": ("sort_words", "remove_vowels", "count_letter", "roman_numeral", "replace_word",
           "translate_into_the_invented_language_of_the_island", "reverse_list", "initials"),
  "cot": ("add_and_take", "shopping", "dates", "units", "ages", "queue", "speed", "logic"),
  "held_out": ("anagram", "calendar", "compare_prices", "family_tree", "odd_one_out", "seating",
               "a_task_with_a_name_that_is_much_too_long_to_fit_beside_any_bar_whatsoever"),
}  # fmt: skip
TASKS = [(f"playground_{name}", group) for group, names in GROUPS.items() for name in names]

CONFIG = """from __gin__ import dynamic_registration
import __main__ as train_script
from flan_tune import optim

BATCH_SIZE = 32
DROPOUT_RATE = 0.05
MIXTURE_OR_TASK_NAME = 'playground'
TASK_FEATURE_LENGTHS = {'inputs': 256, 'targets': 96}
TRAIN_STEPS = %d

optim.adafactor:
  learning_rate = 5e-4  # a < b && c > d
"""


class Clock:
  """Seconds that pass when told to."""

  def __init__(self, now: float = 1_750_000_000.0):
    self.now = now

  def __call__(self) -> float:
    return self.now


def noise(index: int) -> float:
  """Numbers in -1..1 that look random and are the same every time."""
  return math.modf(math.sin(12.9898 * index) * 43758.5453)[0]


def score(index: int, done: float) -> float:
  """Exact match of task `index` when a part `done` of training is over."""
  best = 0.35 + 0.62 * abs(noise(index + 7))
  best *= 0.4 if TASKS[index][1] == "held_out" else 1.0
  return round(best * done**0.5, 3)


def write_log(folder: pathlib.Path, steps: int, every: int) -> None:
  clock = Clock()
  with runlog.RunLog(folder, tensorboard=False, clock=clock) as log:
    for step in range(every, steps + 1, every):
      clock.now += 0.11 * every
      loss = 0.42 + 6.8 * math.exp(-9 * step / steps) + 0.05 * noise(step)
      loss += 3.0 if step == steps // 2 else 0.0
      log.train(step, {
        "loss": loss, "accuracy": 1 - loss / 9, "z_loss": 1e-4, "grad_norm": 0.3 + loss / 4,
        "learning_rate": 5e-4, "tokens_per_second": 20_000 + 900 * noise(step + 1),
        "fill": 0.93 + 0.02 * noise(step + 2), "tokens_seen": step * 8_000, "seconds": 0.11 * step,
      })  # fmt: skip
      if step % (steps // 5) < every:
        write_evaluations(log, step, step / steps)
        clock.now += 4.0


def write_evaluations(log: runlog.RunLog, step: int, done: float) -> None:
  for index, (task, group) in enumerate(TASKS):
    exact = score(index, done)
    scores = {"exact_match": exact, "loss": 1.6 - 1.2 * exact, "n": 40}
    held = group == "held_out"
    log.evaluation(step, task=task, group=group, held_out=held, setting="zs_opt", **scores)


def write_scores(folder: pathlib.Path, steps: int) -> None:
  rows = [
    {
      "task": task, "group": group, "category": task.removeprefix("playground_").replace("_", " "),
      "held_out": group == "held_out", "setting": "zs_opt", "metric": "exact_match", "n": 100,
      "before": round(0.05 * abs(noise(index)), 3), "after": score(index, 1.0),
      "chance": [0.25, 0.5, 0.0, 0.33, 0.1][index % 5],
    }
    for index, (task, group) in enumerate(TASKS)
  ]  # fmt: skip
  summary = []
  for name, held in (("trained tasks", False), ("held-out tasks", True)):
    some = [row for row in rows if row["held_out"] is held]
    means = {k: sum(r[k] for r in some) / len(some) for k in ("before", "after", "chance")}
    summary.append({"name": name, **means})
  scores = {"step": steps, "best_step": steps * 4 // 5, "rows": rows, "summary": summary}
  runlog.write_json(folder / "scores.json", {**scores, "seconds": 41.5})


def write_samples(folder: pathlib.Path) -> None:
  verdicts = [(False, True), (False, False), (True, False), (True, True), (False, True)]
  records = [
    {
      "task": task, "kind": ["zs_opt", "fs_opt", "zs_noopt"][index % 3],
      "inputs": f"Read the words below and say what they are about.\n\nrain, wind, cloud {index}"
                "\n\nOptions:\n- sport\n- weather\n- food",
      "targets": "Rain, wind and cloud belong together. The answer is weather.",
      "answer": "weather", "before": ["", "sport sport sport", "weather"][index % 3],
      "after": "The answer is weather.", "right_before": before, "right_after": after,
    }
    for index, (task, _) in enumerate(TASKS)
    for before, after in [verdicts[index % 5]]
  ]  # fmt: skip
  runlog.write_lines(folder / "samples.jsonl", records)


def write_data(folder: pathlib.Path) -> None:
  trained = [task for task, group in TASKS if group != "held_out"]
  planned = {task: 1.0 + index % 4 for index, task in enumerate(trained)}
  seen = {task: round(900 * rate * (1 + 0.01 * noise(i))) for i, (task, rate) in
          enumerate(planned.items())}  # fmt: skip
  seen[trained[3]] //= 2
  runlog.write_json(folder / "data.json", {
    "mixture": "playground", "planned": planned, "seen": seen, "fill": 0.931,
    "dropped": {trained[0]: {"inputs longer than 256 tokens": 12}, trained[5]: {"no answer": 3}},
    "missing": [{"task": "cot_qed", "path": "QED/qed-train.jsonlines", "how": "clone QED"}],
  })  # fmt: skip


def build(folder: pathlib.Path, *, steps: int = 100, every: int = 1) -> pathlib.Path:
  """Writes a whole run folder, without checkpoints."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.gin").write_text(CONFIG % steps)
  write_log(folder, steps, every)
  write_scores(folder, steps)
  write_samples(folder)
  write_data(folder)
  facts = {"model": "t5_1_1_tiny", "parameters": 7_340_032}
  runlog.write_environment(folder, devices=["cpu"], **facts)
  return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> pathlib.Path:
  return build(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run_folder(finished_run, tmp_path) -> pathlib.Path:
  """A copy that a test may change."""
  return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture(scope="session")
def long_run(tmp_path_factory) -> pathlib.Path:
  return build(tmp_path_factory.mktemp("long") / "run", steps=3_000)
