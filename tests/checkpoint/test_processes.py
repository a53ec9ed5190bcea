"""Several real processes save one checkpoint; any other number of them restores it."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from flan_tune import errors
from flan_tune.checkpoint import manifest, orbax_io

PEER = pathlib.Path(__file__).with_name("peer.py")
WHOLE_BYTES = 4 * 8 * 16 + 2 * 16 + 4 * 4 * 3 * 8 + 4 * 5 + 4


@pytest.fixture
def together(users_environment):
  """Runs so many processes, of two devices each, and returns what each said."""

  def run(count, folder, mesh, *actions, codes=None):
    environment = users_environment | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with socket.socket() as probe:
      probe.bind(("localhost", 0))
      port = probe.getsockname()[1]
    with contextlib.ExitStack() as stack:
      running = []
      for k in range(count):
        command = [sys.executable, PEER, port, count, k, folder, mesh, *actions]
        process = subprocess.Popen(
          [str(part) for part in command],
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
          env=environment,
        )
        stack.callback(process.kill)
        running.append(process)
      said = [process.communicate(timeout=100) for process in running]
    found = [process.returncode for process in running]
    assert found == (codes or [0] * count), [error[-2000:] for _, error in said]
    return [out for out, _ in said]

  return run


@pytest.mark.slow
def test_two_processes_save_and_two_restore_on_another_mesh(tmp_path, together):
  said = together(2, tmp_path, "2x2", "save", "restore")
  assert said[0] == said[1] and said[0].startswith("saved\nrestored 2 ")
  for out in together(2, tmp_path, "4x1", "restore"):
    step, read = out.split()[1:]
    assert step == "2" and int(read) < WHOLE_BYTES * 0.7
  # And one process, the test's own, without a mesh.
  params = orbax_io.restore_params(tmp_path)
  assert (np.asarray(params["w"]).ravel() == np.arange(128) * 2 + 2).all()
  assert orbax_io.best(tmp_path) == (0.2, 2) and orbax_io.steps(tmp_path) == [1, 2]
  files = manifest.verify(tmp_path / "checkpoint_2", hashes=True).manifest.files
  assert {name.split("/")[1] for name in files if ".process_" in name} == {
    "ocdbt.process_0",
    "ocdbt.process_1",
  }


@pytest.mark.slow
@pytest.mark.parametrize(("written", "mesh"), [(1, "1x2"), (2, "1x4"), (4, "2x4")])
def test_any_number_of_processes_restores_what_another_number_saved(
  tmp_path, together, written, mesh
):
  together(written, tmp_path, mesh, "save")
  for count, other in ((1, "2x1"), (2, "4x1"), (4, "4x2"), (4, "1x8")):
    outs = together(count, tmp_path, other, "restore")
    assert [out.split()[:2] for out in outs] == [["restored", "2"]] * count
    if count == 4:
      assert max(int(out.split()[2]) for out in outs) < WHOLE_BYTES * 0.6


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_death_of_one_process_during_a_save_costs_that_save_alone(
  tmp_path, together, count, assert_bits_equal, caplog
):
  codes = [0] * (count - 1) + [-signal.SIGKILL]
  *living, _ = together(count, tmp_path, f"{count}x2", "die", codes=codes)
  for out in living:
    assert f"process {count - 1} did not answer process 0 within 4 s" in out
    assert f"{tmp_path}/checkpoint_2 cannot be saved" in out
  assert os.listdir(tmp_path).count("checkpoint_2") == 0
  assert [out.split()[:2] for out in together(1, tmp_path, "2x1", "restore")] == [["restored", "1"]]
  (tmp_path / "checkpoint_2").mkdir()
  assert orbax_io.latest(tmp_path).name == "checkpoint_1"
  assert "checkpoint_2: MANIFEST.json: missing" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
  ("action", "reason"),
  [("full", os.strerror(28)), ("unshared", "all hosts must share MODEL_DIR")],
)
def test_a_failure_of_one_process_is_told_by_all(tmp_path, together, action, reason):
  outs = together(2, tmp_path / "run", "2x2", action)
  for out in outs:
    assert out.count("\n") == 2 and reason in out and "process 1 (" in out
    assert f"{tmp_path}/run/checkpoint_2 cannot be saved" in out
  assert [path.name for path in (tmp_path / "run").glob("checkpoint*")] == ["checkpoint_1"]


def test_a_process_that_does_not_answer_is_named_in_time(tmp_path, monkeypatch):
  from flan_tune.checkpoint import agreement

  class Silent:
    def blocking_key_value_get(self, key, milliseconds):
      raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: nothing there")

  monkeypatch.setattr(agreement, "TIMEOUT_SECONDS", 0.05)
  monkeypatch.setattr(agreement, "_client", Silent)
  monkeypatch.setattr(agreement.jax, "process_count", lambda: 2)
  with pytest.raises(errors.UserError, match="saving: process 1 did not answer process 0 within"):
    agreement.Talk("test", "saving").reports()
