"""A failed save costs nothing but itself, and is told in one sentence."""

import errno
import os
import pathlib
import subprocess
import sys

import pytest

from flan_tune import errors
from flan_tune.checkpoint import folders, manifest, orbax_io, writing

CHILD = pathlib.Path(__file__).with_name("child.py")


def assert_nothing_lost(folder, make_state, assert_bits_equal):
  assert sorted(os.listdir(folder)) == ["checkpoint_4", "checkpoint_8"]
  assert_bits_equal(orbax_io.restore(folder, make_state(0)).state, make_state(8))


def test_too_little_space_is_noticed_before_anything_is_written(
  two, make_state, assert_bits_equal, monkeypatch
):
  monkeypatch.setattr(writing, "free_bytes", lambda folder: 100)
  monkeypatch.setattr(writing, "write_arrays", lambda *args: pytest.fail("it was written"))
  with pytest.raises(errors.UserError) as caught:
    orbax_io.save(two, 12, make_state(12))
  assert f"{two}/checkpoint_12 cannot be saved: {os.strerror(errno.ENOSPC)}; it needs" in str(
    caught.value
  )
  assert_nothing_lost(two, make_state, assert_bits_equal)


@pytest.mark.parametrize(
  "moment", ["write_arrays", "manifest.write", "folders.commit", "write_json"]
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_of_the_disk_at_any_moment_loses_nothing(
  two, make_state, assert_bits_equal, monkeypatch, moment, code
):
  def fail(*args, **kwargs):
    raise OSError(code, os.strerror(code))

  owner = {"write_arrays": writing, "folders.commit": folders}.get(moment, manifest)
  monkeypatch.setattr(owner, moment.rpartition(".")[2], fail)
  with pytest.raises(errors.UserError, match=f"checkpoint_12 cannot be saved: {os.strerror(code)}"):
    orbax_io.save(two, 12, make_state(12), documents={"data": {}})
  assert_nothing_lost(two, make_state, assert_bits_equal)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_other_errors_pass_through_and_lose_nothing(
  two, make_state, assert_bits_equal, monkeypatch, error
):
  def fail(*args, **kwargs):
    raise error("stop")

  monkeypatch.setattr(manifest, "write", fail)
  with pytest.raises(error):
    orbax_io.save(two, 12, make_state(12))
  assert_nothing_lost(two, make_state, assert_bits_equal)


def test_a_folder_that_may_only_be_read_is_an_error_without_talk_of_space(
  tmp_path, make_state, monkeypatch
):
  def fail(*args, **kwargs):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr(pathlib.Path, "mkdir", fail)
  with pytest.raises(errors.UserError) as caught:
    orbax_io.save(tmp_path / "new", 1, make_state(1))
  assert str(caught.value) == (
    f"{tmp_path}/new/checkpoint_1 cannot be saved: Read-only file system; nothing of it was kept,"
    " and earlier checkpoints are untouched"
  )


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path, make_state):
  (tmp_path / "file").write_text("")
  with pytest.raises(
    errors.UserError, match=r"file/checkpoint_1 cannot be saved: (File exists|Not a)"
  ):
    orbax_io.save(tmp_path / "file", 1, make_state(1))


@pytest.mark.slow
def test_a_file_size_limit_of_the_system_loses_nothing(tmp_path, users_environment):
  """The real thing: the kernel refuses the write, tensorstore's threads report it."""
  command = [sys.executable, str(CHILD), "limited", str(tmp_path)]
  done = subprocess.run(command, capture_output=True, text=True, env=users_environment, check=False)
  assert done.returncode == 0, done.stderr
  assert f"checkpoint_2 cannot be saved: {os.strerror(errno.EFBIG)}" in done.stdout
  assert done.stderr == ""
  assert os.listdir(tmp_path) == ["checkpoint_1"]
  assert orbax_io.restore_params(tmp_path)["w"].shape == (300, 300)
