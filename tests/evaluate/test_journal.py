"""An evaluation's folder: nothing is asked twice, nothing is mixed, a kill costs one batch."""

import collections
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any, NamedTuple

import pytest

from flan_tune import errors
from flan_tune.benchmarks.exam import Exam, Question
from flan_tune.evaluate import engine, journal

SHARD = "answers-00000-of-00001.jsonl"


class Text(NamedTuple):
  text: str
  tokens: tuple[int, ...] = (1,)
  log_prob: float = -1.0
  ended: str = "eos"


class Model:
  """Says (A), and dies after so many batches."""

  def __init__(self, batches: float = float("inf")):
    self.left = batches
    self.asked: list[str] = []
    self.counted = 0

  def decode(self, prompts, **options):
    if not self.left:
      raise KeyboardInterrupt
    self.left -= 1
    self.asked += prompts
    return [[Text("(A)")] * options["num_samples"] for _ in prompts]

  def judge(self, pairs, **options):
    raise NotImplementedError

  def count_tokens(self, text):
    self.counted += 1
    return len(text)

  def can_write(self, text):
    return True


def exam(name: str = "x", count: int = 20, **changes: Any) -> Exam:
  questions = [
    Question(str(i), f"{name} {i} ü\u2028", ("(A)" if i % 3 else "(B)",), ("(A)", "(B)"))
    for i in range(count)
  ]
  made = Exam(
    name=name,
    setting="direct",
    suite="s",
    benchmark=name.upper(),
    label="0-shot direct",
    questions=questions,
    metric="exact_match",
    extract="option",
    fingerprint="a" * 64,
  )
  return dataclasses.replace(made, **changes)


def answer(folder, *, exams=None, model=None, checkpoint=None, missing=(), **options):
  return engine.answer(
    exams or [exam()],
    model or Model(),
    engine.Options(batch_size=4, **options),
    folder=folder,
    checkpoint=checkpoint or {"path": "m", "step": 7},
    missing=missing,
  )


def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
  texts = [path.read_text() for path in sorted(folder.glob(journal.ANSWERS))]
  return [json.loads(line) for text in texts for line in text.splitlines()]


def results(folder: pathlib.Path) -> dict[str, Any]:
  """Without what a stop leaves its trace in."""
  found = json.loads((folder / "results.json").read_text())
  return {key: value for key, value in found.items() if key not in ("seconds", "notes")}


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def finished(tmp_path) -> pathlib.Path:
  folder = tmp_path / "finished"
  answer(folder, limit=10)
  return folder


@pytest.mark.parametrize("batches", [0, 1, 3])
@pytest.mark.parametrize("torn", ["", '{"exam": "x", "sett', '{"whole": 1}'])
def test_a_stopped_evaluation_goes_on_with_the_same_result_and_asks_nothing_twice(
  tmp_path, batches, torn
):
  folder, first, second = tmp_path / "stopped", Model(batches), Model()
  with pytest.raises(KeyboardInterrupt):
    answer(folder, model=first)
  assert not (folder / "results.json").exists()
  with (folder / SHARD).open("a") as file:
    file.write(torn)
  found = answer(folder, model=second)
  assert len(first.asked) == found.asked - 20 + 2 * len(first.asked) == 4 * batches
  assert collections.Counter(first.asked + second.asked) == collections.Counter(
    one.prompt for one in exam().questions
  )
  assert bool([note for note in found.notes if "torn" in note]) == bool(torn)
  answer(tmp_path / "whole")
  assert results(folder) == results(tmp_path / "whole")
  assert len(lines(folder)) == 20


def test_a_finished_evaluation_asks_nothing_and_changes_nothing(finished):
  before, model = contents(finished), Model(0)
  found = answer(finished, model=model, limit=10)
  assert (found.asked, found.remaining, model.counted) == (0, 0, 0)
  assert contents(finished) == before
  assert [one["id"] for one in found.records["x_direct"]] == [str(i) for i in range(10)]


def test_what_is_read_back_is_what_was_recorded(tmp_path):
  facts = {"surrogate": "\udc80", "many": ("a", 1), "nan": float("nan")}
  odd = exam(count=0, questions=[Question("1", "line\nbreak \u2028", ("(A)", "(B)"), facts=facts)])
  first, again = (answer(tmp_path, exams=[odd]).records for _ in range(2))
  assert first == again
  (record,) = again["x_direct"]
  assert record["facts"] == {"surrogate": "\udc80", "many": ["a", 1], "nan": None}
  assert record["targets"] == ["(A)", "(B)"]


def test_shards_share_a_folder_and_the_last_writes_the_results(tmp_path):
  answer(tmp_path / "whole")
  folder, models = tmp_path / "shards", [Model() for _ in range(3)]
  for number, model in enumerate(models):
    found = answer(folder, model=model, shard=(number, 3))
    assert (found.remaining == 0) == (folder / "results.json").exists() == (number == 2)
  assert [len(model.asked) for model in models] == [7, 7, 6]
  assert results(folder) == results(tmp_path / "whole")
  # One process goes on where three were.
  (folder / "answers-00001-of-00003.jsonl").write_text("")
  assert answer(folder).asked == 7


def test_one_process_answers_a_shard_at_a_time(tmp_path):
  with journal.Journal(tmp_path, (0, 2)):
    with pytest.raises(errors.UserError, match="answers-00000-of-00002.*another process"):
      journal.Journal(tmp_path, (0, 2))
    with pytest.raises(
      errors.UserError, match="answering this of 2 shards and this one was told 1"
    ):
      journal.Journal(tmp_path, (0, 1))
    assert not [path for path in tmp_path.iterdir() if "of-00001" in path.name]
    journal.Journal(tmp_path, (1, 2)).close()
  journal.Journal(tmp_path, (0, 2)).close()


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"exams": [exam(fingerprint="b" * 64, version=2)]}, "x_direct version 1, fingerprint aaaaaaaaaaaa; this program makes version 2, fingerprint bbbbbbbbbbbb"),  # noqa: E501
    ({"exams": [exam("y")]}, "holds x_direct, which is not asked now"),
    ({"checkpoint": {"path": "m", "step": 8}}, "another checkpoint (step 7, not 8)"),
    ({"seed": 1, "samples": 3}, "other options (samples 1, not 3, seed 0, not 1)"),
    ({"limit": 9}, "holds 10 questions of each exam and limit is 9"),
    ({"exams": [exam(questions=[one._replace(prompt="!") for one in exam().questions])]}, "question 0 of x, direct, had prompt"),  # noqa: E501
    ({"exams": [exam(questions=[one._replace(answers=("(C)",)) for one in exam().questions])]}, "question 0 of x, direct, had target '(B)', now '(C)'"),  # noqa: E501
    ({"exams": [exam(questions=exam().questions[1:])]}, "question 0 of x, direct, is answered there and is not among"),  # noqa: E501
  ],
  ids=["fingerprint", "exam", "checkpoint", "options", "limit", "prompt", "target", "row"],
)  # fmt: skip
def test_a_folder_of_another_evaluation_is_refused_and_left_alone(finished, changes, told):
  before = contents(finished)
  with pytest.raises(errors.UserError) as caught:
    answer(finished, **({"limit": 10, "shard": (1, 2)} | changes))
  assert told in str(caught.value) and str(finished) in str(caught.value)
  assert "use another --output" in str(caught.value)
  assert contents(finished) == before


@pytest.mark.parametrize("name", ["x_direct", "task"])
def test_data_that_have_gone_are_named_and_nothing_changes(finished, name):
  both = [exam(), exam("task", setting="zs_opt")]
  answer(finished, exams=both, limit=10)
  before = contents(finished)
  left = [one for one in both if not one.key.startswith(name)]
  gone = {"name": name, "path": "$DATA/rows.json", "how": "clone it"}
  other = {"name": "x", "path": "", "how": "another"}
  with pytest.raises(errors.UserError, match="not there now .*rows.json: clone it.*put them back"):
    answer(finished, exams=left, missing=[other, gone], limit=10)
  assert contents(finished) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "exams": 3}'])
def test_a_damaged_description_is_refused(finished, text):
  (finished / "evaluation.json").write_text(text)
  with pytest.raises(errors.UserError, match="evaluation.json: is damaged"):
    answer(finished, limit=10)
  (finished / "evaluation.json").unlink()
  with pytest.raises(errors.UserError, match="has answers but no evaluation.json"):
    answer(finished, limit=10)


def test_more_questions_and_more_exams_may_be_asked_later(finished):
  model = Model()
  answer(finished, exams=[exam(), exam("y", 3)], model=model, limit=15)
  assert len(model.asked) == 5 + 3
  assert [row["n"] for row in results(finished)["rows"]] == [15, 3]
  held = json.loads((finished / "evaluation.json").read_text())
  assert {key: one["questions"] for key, one in held["exams"].items()} == {
    "x_direct": 15,
    "y_direct": 3,
  }


def test_more_is_not_asked_beside_a_process_that_asks_less(finished):
  with journal.Journal(finished, (0, 2)):
    before = contents(finished)
    with pytest.raises(errors.UserError, match="another process is answering fewer questions"):
      answer(finished, limit=15, shard=(1, 2))
    assert contents(finished) == before
    assert answer(finished, limit=10, shard=(1, 2)).remaining == 0


def test_results_of_less_than_is_asked_do_not_outlive_a_stop(finished):
  with pytest.raises(KeyboardInterrupt):
    answer(finished, model=Model(1), limit=20)
  assert not (finished / "results.json").exists()


def test_damaged_and_repeated_lines_are_counted_and_the_first_answer_counts(finished):
  path = finished / SHARD
  first, *others = path.read_text().splitlines(keepends=True)
  again = first.replace('"(A)"', '"(B)"')
  path.write_text("".join([first, "\x00\x00\n", '{"id": []}\n', *others[1:], again]))
  model = Model()
  found = answer(finished, model=model, limit=10)
  assert len(model.asked) == 1  # the one whose line was overwritten
  assert [note for note in found.notes if note.startswith("2 damaged lines")]
  assert [note for note in found.notes if note.startswith("1 questions answered twice")]
  assert json.loads(first) in found.records["x_direct"]


def test_the_time_of_every_session_is_added_up(tmp_path):
  class Slow(Model):
    def decode(self, prompts, **options):
      time.sleep(0.02)
      return super().decode(prompts, **options)

  with pytest.raises(KeyboardInterrupt):
    answer(tmp_path, model=Slow(3))
  seconds = answer(tmp_path, model=Slow()).seconds
  assert 5 * 0.02 <= seconds.model < seconds.total < 5


def test_progress_counts_what_was_answered_before(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    answer(tmp_path, model=Model(2))
  told = []
  options = engine.Options(batch_size=4)
  engine.answer(
    [exam()],
    Model(),
    options,
    folder=tmp_path,
    checkpoint={"path": "m", "step": 7},
    progress=lambda *args: told.append(args),
  )
  assert told == [(done, 20, "x_direct") for done in (8, 12, 16, 20)]
  engine.answer(
    [exam()],
    Model(0),
    options,
    folder=tmp_path,
    checkpoint={"path": "m", "step": 7},
    progress=lambda *args: told.append(args),
  )
  assert told[4:] == [(20, 20, "x_direct")]  # a finished one says so


@pytest.mark.slow
def test_kill_9_and_start_again(tmp_path, users_environment):
  """A real process dies in the middle, twice; together they ask every question once."""
  script = textwrap.dedent(f"""
    import importlib.util, pathlib, sys, time
    spec = importlib.util.spec_from_file_location("journal_tests", {str(__file__)!r})
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)

    class Slow(tests.Model):
      def decode(self, prompts, **options):
        time.sleep(0.05)
        return super().decode(prompts, **options)

    exams = [tests.exam(count=100)]
    tests.answer(pathlib.Path(sys.argv[1]), exams=exams, model=Slow(), samples=2)
  """)
  command = [sys.executable, "-c", script]
  for wanted in (8, 40):
    process = subprocess.Popen([*command, str(tmp_path / "killed")], env=users_environment)
    path = tmp_path / "killed" / SHARD
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < wanted:
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.json").exists()
  for name in ("killed", "whole"):
    subprocess.run([*command, str(tmp_path / name)], env=users_environment, check=True, timeout=60)
  assert len(lines(tmp_path / "killed")) == len({one["id"] for one in lines(tmp_path / "killed")})
  assert results(tmp_path / "killed") == results(tmp_path / "whole")
