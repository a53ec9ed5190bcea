"""A run's folder belongs to one run that lives; a dead one's is taken over; nothing is deleted."""

import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from flan_tune import errors, run_lock
from flan_tune.checkpoint import agreement, owner

HOLDER = textwrap.dedent("""
  import os, sys, time, warnings
  warnings.simplefilter("ignore")
  from flan_tune import run_lock
  with run_lock.hold(sys.argv[1]):
    worker = os.fork()  # it outlives the run
    if not worker:
      time.sleep(60)
    print(worker, flush=True)
    time.sleep(60)
""")


@pytest.fixture
def holder(users_environment):
  """Starts a process that holds a folder; returns it."""
  running = []

  def start(folder):
    process = subprocess.Popen(
      [sys.executable, "-c", HOLDER, str(folder)],
      stdout=subprocess.PIPE,
      text=True,
      env=users_environment,
    )
    running.append(process)
    return process

  yield start
  for process in running:
    process.kill()
    process.wait()
    process.stdout.close()


def record(folder):
  return (folder / run_lock.FILE_NAME).read_text()


def test_a_live_runs_folder_is_refused_and_a_killed_ones_taken_over(tmp_path, holder, caplog):
  process = holder(tmp_path)
  worker = int(process.stdout.readline())
  try:
    named = json.loads(record(tmp_path))
    text = f"is in use by another run, process {process.pid} on {named['host']} since 20"
    for _ in range(2):  # to be refused changes nothing
      with pytest.raises(errors.UserError, match=text), run_lock.hold(tmp_path):
        pytest.fail("held twice")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with caplog.at_level(logging.WARNING), run_lock.hold(tmp_path):
      assert json.loads(record(tmp_path))["process"] == os.getpid()
    assert f"process {process.pid} on" in caplog.text and "taken over" in caplog.text
  finally:
    os.kill(worker, signal.SIGKILL)
  assert os.listdir(tmp_path) == [run_lock.FILE_NAME] and record(tmp_path) == ""


def test_a_folder_can_be_held_again_after_an_error_and_not_twice_at_once(tmp_path, caplog):
  folder = tmp_path / "new" / "run"
  with pytest.raises(ZeroDivisionError), run_lock.hold(folder):
    raise ZeroDivisionError
  (tmp_path / "link").symlink_to(folder)
  with run_lock.hold(str(folder)):
    for name in (folder, tmp_path / "link", f"{folder}/../run"):
      with (
        pytest.raises(errors.UserError, match=f"by another run, process {os.getpid()} on"),
        run_lock.hold(name),
      ):
        pytest.fail("held twice")
    with run_lock.hold(tmp_path):
      pass
  with run_lock.hold(folder):
    pass
  assert not caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"process": "x", "host": 1}', "\xff" * 9])
def test_half_a_name_is_no_hindrance(tmp_path, text):
  (tmp_path / run_lock.FILE_NAME).write_text(text, encoding="latin-1")
  with run_lock.hold(tmp_path):
    assert json.loads(record(tmp_path))["process"] == os.getpid()


@pytest.fixture
def no_locks(monkeypatch):
  """A file system without locks."""

  def fail(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, "lockf", fail)


def named(machine=owner.MACHINE, process=1, life=""):
  since = "2001-02-03T04:05:06+0000"
  return json.dumps(
    {"host": "mill", "process": process, "since": since, "machine": machine, "life": life}
  )


@pytest.mark.parametrize(
  ("text", "refused"),
  [
    (named(), True),
    (named(machine="elsewhere"), True),
    (named(life="0badc0de"), False),  # the number is another process's by now
    (named(process=2**22 + 1), False),
    ("", False),
  ],
)
def test_without_locks_the_process_named_is_looked_for(tmp_path, no_locks, text, refused):
  path = tmp_path / run_lock.FILE_NAME
  path.write_text(text)
  if not refused:
    with run_lock.hold(tmp_path):
      assert json.loads(record(tmp_path))["process"] == os.getpid()
    return
  with pytest.raises(errors.UserError) as caught, run_lock.hold(tmp_path):
    pytest.fail("held")
  assert "process 1 on mill since 2001-02-03T04:05:06+0000" in str(caught.value)
  assert f"if it does not, empty {path}" in str(caught.value) and path.read_text() == text


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  with (
    pytest.raises(errors.UserError, match=r"file cannot be used for a run: File exists"),
    run_lock.hold(tmp_path / "file"),
  ):
    pytest.fail("held")
  (tmp_path / run_lock.FILE_NAME).symlink_to(tmp_path / "file")
  with pytest.raises(errors.UserError, match="cannot be used for a run"), run_lock.hold(tmp_path):
    pytest.fail("held")


def test_of_several_processes_the_first_holds_the_folder(tmp_path, monkeypatch):
  monkeypatch.setattr(agreement, "is_first", lambda: False)
  with run_lock.hold(tmp_path), run_lock.hold(tmp_path):
    assert os.listdir(tmp_path) == []
