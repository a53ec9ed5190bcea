"""What is usable, kept and best in a folder of checkpoints; leftovers of dead saves."""

import logging
import os
import shutil
import subprocess
import time

import pytest

from flan_tune import errors
from flan_tune.checkpoint import folders, manifest, owner, unfinished


def add(folder, *steps):
  """Checkpoints with nothing in them but a manifest."""
  for step in steps:
    temporary = folders.begin(folder, step)
    (temporary / "data.json").write_text(f"{step}")
    manifest.write(temporary, arrays={})
    folders.commit(temporary, folder, step)


def damage(folder, step):
  (folders.path_of(folder, step) / "data.json").write_text("something else")


def ended():
  """The number of a process that has ended."""
  child = subprocess.Popen(["true"])
  child.wait()
  return child.pid


def leftover(
  folder, *, machine=owner.MACHINE, process=None, age=1e6, complete=False, end="00c0ffee"
):
  """A temporary folder as a killed save leaves it, whose files' times are `age` seconds ago."""
  path = folder / f"checkpoint_9.tmp-{machine}-{process or ended()}-{end}"
  (path / "state").mkdir(parents=True)
  (path / "state" / "arrays").write_text(end)
  if complete:
    manifest.write(path, arrays={})
  for inside in (path, *path.rglob("*")):
    os.utime(inside, (time.time() - age,) * 2)
  return path


def test_steps_are_in_the_order_of_numbers(tmp_path):
  add(tmp_path, 100, 9, 20)
  assert folders.steps(tmp_path) == [9, 20, 100]
  assert folders.latest(tmp_path) == tmp_path / "checkpoint_100"


def test_other_names_are_no_checkpoints(tmp_path):
  add(tmp_path, 3)
  for name in ("checkpoint_07", "checkpoint_x", "checkpoint_5.bak", "Checkpoint_5", "best.json"):
    (tmp_path / name).mkdir()
  assert folders.present(tmp_path) == [3]


def test_an_empty_or_absent_folder_has_no_checkpoints(tmp_path):
  for folder in (tmp_path, tmp_path / "absent"):
    assert folders.steps(folder) == [] and folders.latest(folder) is None
    with pytest.raises(folders.NoCheckpoint, match="no finished checkpoint"):
      folders.newest(folder)


def test_a_damaged_checkpoint_is_passed_over_loudly_and_left_alone(tmp_path, caplog):
  add(tmp_path, 1, 2, 3)
  damage(tmp_path, 3)
  with caplog.at_level(logging.WARNING):
    assert folders.latest(tmp_path) == tmp_path / "checkpoint_2"
  assert f"{tmp_path}/checkpoint_3: data.json: 14 bytes instead of 1" in caplog.text
  listing = folders.survey(tmp_path)
  assert listing.steps == [1, 2]
  assert [problem.folder.name for problem in listing.problems] == ["checkpoint_3"]
  assert (tmp_path / "checkpoint_3").is_dir()


def test_when_all_are_damaged_starting_over_is_not_an_accident(tmp_path):
  add(tmp_path, 1, 2)
  damage(tmp_path, 1)
  damage(tmp_path, 2)
  assert folders.steps(tmp_path) == []
  with pytest.raises(errors.UserError, match=r"nor any of the 1 older .*checkpoint_2: data.json"):
    folders.latest(tmp_path)


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/checkpoint_4"])
def test_a_run_its_checkpoints_and_one_of_them_are_found(tmp_path, name):
  add(tmp_path / "checkpoints", 4)
  step = 4 if name.endswith("4") else None
  assert folders.locate(tmp_path / name) == (tmp_path / "checkpoints", step)


@pytest.mark.parametrize(
  ("keep", "every", "left"),
  [(1, None, [2, 6]), (2, None, [2, 5, 6]), (2, 3, [2, 3, 5, 6]), (9, None, [1, 2, 3, 4, 5, 6])],
)
def test_the_newest_the_multiples_and_the_best_are_kept(tmp_path, keep, every, left):
  add(tmp_path, *range(1, 7))
  folders.mark_best(tmp_path, step=2, score=0.5)
  removed = folders.prune(tmp_path, keep=keep, keep_every=every)
  assert folders.steps(tmp_path) == left and sorted(removed + left) == [1, 2, 3, 4, 5, 6]
  assert len(os.listdir(tmp_path)) == len(left) + 1


def test_a_damaged_checkpoint_neither_counts_as_kept_nor_is_removed(tmp_path):
  add(tmp_path, 1, 2, 3, 4)
  damage(tmp_path, 4)
  folders.prune(tmp_path, keep=2)
  assert folders.present(tmp_path) == [2, 3, 4]


def test_the_best_is_found_by_that_name(tmp_path):
  add(tmp_path, 1, 2, 3)
  with pytest.raises(errors.UserError, match="none is the best"):
    folders.find(tmp_path, "best")
  folders.mark_best(tmp_path, step=2, score=0.5)
  assert folders.find(tmp_path, "best").step == 2
  with pytest.raises(errors.UserError, match="'worst' is neither a number nor 'best'"):
    folders.find(tmp_path, "worst")


def test_nothing_is_removed_while_the_best_is_unknown(tmp_path, caplog):
  add(tmp_path, 1, 2, 3)
  (tmp_path / folders.BEST_FILE).write_text("{")
  assert folders.prune(tmp_path, keep=1) == [] and folders.steps(tmp_path) == [1, 2, 3]
  assert "best.json: not readable" in caplog.text


def test_the_best_is_what_was_marked_last(tmp_path):
  assert folders.best(tmp_path) is None
  add(tmp_path, 1, 2)
  folders.mark_best(tmp_path, step=1, score=0.25)
  folders.mark_best(tmp_path, step=2, score=0.75)
  assert folders.best(tmp_path) == (0.75, 2)
  with pytest.raises(ValueError, match="no checkpoint_3"):
    folders.mark_best(tmp_path, step=3, score=1.0)


def test_a_mark_that_cannot_be_written_leaves_the_one_before_and_nothing_else(
  tmp_path, monkeypatch
):
  def fail(path):
    raise OSError(28, "No space left on device")

  add(tmp_path, 1, 2)
  folders.mark_best(tmp_path, step=1, score=0.25)
  monkeypatch.setattr(manifest, "sync", fail)
  with pytest.raises(OSError, match="No space"):
    folders.mark_best(tmp_path, step=2, score=0.75)
  assert folders.best(tmp_path) == (0.25, 1)
  assert sorted(os.listdir(tmp_path)) == ["best.json", "checkpoint_1", "checkpoint_2"]


@pytest.mark.parametrize("text", ["", "[]", '{"step": 1}', '{"step": "x", "score": 1}'])
def test_an_unreadable_best_is_reported_and_none(tmp_path, caplog, text):
  (tmp_path / folders.BEST_FILE).write_text(text)
  assert folders.best(tmp_path) is None and "not readable as a step and a score" in caplog.text


def test_saving_a_step_again_replaces_it(tmp_path):
  add(tmp_path, 5)
  first = (tmp_path / "checkpoint_5").stat().st_ino
  add(tmp_path, 5)
  assert os.listdir(tmp_path) == ["checkpoint_5"]
  assert (tmp_path / "checkpoint_5").stat().st_ino != first and folders.steps(tmp_path) == [5]


def test_saving_over_a_damaged_checkpoint_sets_it_aside(tmp_path, caplog):
  add(tmp_path, 5)
  damage(tmp_path, 5)
  add(tmp_path, 5)
  assert folders.steps(tmp_path) == [5]
  (aside,) = tmp_path.glob("checkpoint_5.damaged-*")
  assert (aside / "data.json").read_text() == "something else" and aside.name in caplog.text


def test_a_failed_rename_puts_the_old_checkpoint_back(tmp_path):
  add(tmp_path, 5)
  with pytest.raises(FileNotFoundError):
    folders.commit(tmp_path / "not there", tmp_path, 5)
  assert folders.steps(tmp_path) == [5]


def test_what_a_killed_save_left_is_ignored_loudly_and_removed_by_the_next_save(tmp_path, caplog):
  add(tmp_path, 3)
  path = leftover(tmp_path)
  assert folders.steps(tmp_path) == [3] and folders.latest(tmp_path).name == "checkpoint_3"
  assert path.is_dir() and "an interrupted save" in caplog.text
  folders.begin(tmp_path, 4)
  assert not path.exists()


@pytest.mark.parametrize("age", [1e9, 10, -1e9])
@pytest.mark.parametrize(
  "case", ["its process lives", "this process writes it", "another name", "a link"]
)
def test_temporary_folders_that_may_be_somebody_elses_stay(tmp_path, case, age):
  """Whatever the clocks say: those of the files may be years behind or ahead."""
  match case:
    case "its process lives":
      path = leftover(tmp_path, process=os.getppid(), age=age)
    case "this process writes it":
      path = folders.begin(tmp_path, 9)
      os.utime(path, (time.time() - age,) * 2)
    case "another name":
      path = leftover(tmp_path, age=age).rename(tmp_path / "checkpoint_9.tmp-mine")
    case _:
      path = tmp_path / "checkpoint_9.tmp-host-1-00c0ffee"
      (tmp_path / "other").mkdir()
      path.symlink_to(tmp_path / "other")
  folders.begin(tmp_path, 4)
  assert path.exists()


@pytest.mark.parametrize("age", [1e9, 10, -1e9])
def test_leftovers_of_processes_that_ended_are_removed_whatever_the_clock_says(tmp_path, age):
  """Also those whose process numbers were given to others since: to this process, or its parent."""
  paths = [leftover(tmp_path, age=age), leftover(tmp_path, process=os.getpid(), age=age)]
  paths.append(leftover(tmp_path, process=os.getppid(), end="0badc0de00c0ffee", age=age))
  folders.begin(tmp_path, 4)
  assert not any(path.exists() for path in paths)


def test_another_machines_leftover_is_removed_once_nothing_changes_in_it(
  tmp_path, monkeypatch, caplog
):
  path, now = leftover(tmp_path, machine="elsewhere"), [5.0]
  monkeypatch.setattr(unfinished.time, "monotonic", lambda: now[0])
  step = iter(range(100))
  for seconds, grown, stays in ((0, False, True), (599, True, True), (599, False, True)):
    now[0] += seconds
    if grown:
      (path / "state" / "arrays").write_text("more of it")
    folders.begin(tmp_path, next(step))
    assert path.exists() == stays
  now[0] += 2
  folders.begin(tmp_path, next(step))
  assert not path.exists() and f"removing what an interrupted save left: {path}" in caplog.text


def test_another_machines_complete_save_is_used_at_once_and_its_owner_may_live(tmp_path):
  """The owner, about to rename it itself, finds it in its place."""
  add(tmp_path, 8)
  temporary = folders.begin(tmp_path, 9)
  manifest.write(temporary, arrays={})
  elsewhere = temporary.with_name(temporary.name.replace(owner.MACHINE, "elsewhere"))
  temporary.rename(elsewhere)
  assert folders.latest(tmp_path) == tmp_path / "checkpoint_9" and not elsewhere.exists()
  assert folders.commit(temporary, tmp_path, 9) == tmp_path / "checkpoint_9"
  assert sorted(os.listdir(tmp_path)) == ["checkpoint_8", "checkpoint_9"]


def test_a_complete_leftover_is_put_in_its_place(tmp_path, caplog):
  """A save was killed just before its rename, or while it was replacing the only checkpoint."""
  older = leftover(tmp_path, complete=True, age=1000, end="00000000")
  leftover(tmp_path, complete=True, age=10, end="11111111")
  assert folders.latest(tmp_path) == tmp_path / "checkpoint_9"
  assert (tmp_path / "checkpoint_9" / "state" / "arrays").read_text() == "11111111"
  assert "interrupted save was complete" in caplog.text and older.exists()
  folders.begin(tmp_path, 10)
  assert not older.exists() and folders.steps(tmp_path) == [9]


def test_a_complete_leftover_is_found_by_its_step_and_never_for_another(tmp_path):
  leftover(tmp_path, complete=True)
  with pytest.raises(errors.UserError, match="no checkpoint of step 5; there are 9"):
    folders.find(tmp_path, 5)
  add(tmp_path / "other", 3)
  leftover(tmp_path / "other", complete=True)
  assert folders.find(tmp_path / "other", 9).step == 9


def test_a_complete_leftover_never_takes_the_place_of_a_checkpoint(tmp_path):
  add(tmp_path, 9)
  leftover(tmp_path, complete=True)
  assert folders.latest(tmp_path) == tmp_path / "checkpoint_9"
  assert (tmp_path / "checkpoint_9" / "data.json").exists()


def test_a_complete_leftover_beside_a_damaged_checkpoint_is_kept_and_named(tmp_path, caplog):
  add(tmp_path, 9)
  damage(tmp_path, 9)
  path = leftover(tmp_path, complete=True)
  folders.begin(tmp_path, 10)
  assert path.exists() and f"checkpoint_9 is damaged; {path} is complete" in caplog.text


def test_a_removal_cut_short_does_not_look_damaged(tmp_path, monkeypatch):
  add(tmp_path, 1, 2)
  monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
  assert folders.prune(tmp_path, keep=1) == [1]
  assert folders.present(tmp_path) == [2]
