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
  """Runs groups of processes, of two devices each, beside each other; returns what each said.

  A group is (how many, their actions); `codes` are the exit codes of all processes in order.
  """

  def run(folder, *groups, codes):
    environment = users_environment | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with contextlib.ExitStack() as stack:
      running = []
      for count, actions in groups:
        with socket.socket() as probe:
          probe.bind(("localhost", 0))
          port = probe.getsockname()[1]
        for k in range(count):
          process = subprocess.Popen(
            [str(part) for part in (sys.executable, PEER, port, count, k, folder, *actions)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
          )
          stack.callback(process.kill)
          running.append(process)
      said = [process.communicate(timeout=100) for process in running]
    found = [process.returncode for process in running]
    assert found == codes, [error[-2000:] for _, error in said]
    return [out.splitlines() for out, _ in said]

  return run


@pytest.mark.slow
def test_any_number_of_processes_restores_what_any_number_saved_on_another_mesh(tmp_path, together):
  """Each process compares what it restores, bit for bit."""
  meshes = {
    1: {"one": "1x2", "two": "2x1", "four": "2x1"},
    2: {"two": "2x2", "one": "1x4", "four": "4x1"},
    4: {"four": "2x4", "one": "4x2", "two": "1x8"},
  }
  groups = [
    (count, [f"save:{own}:{mesh}"] + [f"restore:{name}:{there}" for name, there in all_.items()])
    for count, all_ in meshes.items()
    for own, mesh in [next(iter(all_.items()))]
  ]
  said = together(tmp_path, *groups, codes=[0] * 7)
  for (count, all_), outs in zip(meshes.items(), (said[:1], said[1:3], said[3:]), strict=True):
    for out in outs:
      restored = [line.split() for line in out]
      assert [(name, step) for name, step, _ in restored] == [(name, "2") for name in all_]
      # Of what is cut in as many parts as there are processes, each reads its own.
      assert all(
        int(read) < WHOLE_BYTES * {1: 1.01, 2: 0.76, 4: 0.6}[count] for *_, read in restored
      )
  # And one process, the test's own, without a mesh.
  params = orbax_io.restore_params(tmp_path / "two")
  assert (np.asarray(params["w"]).ravel() == np.arange(128) * 2 + 2).all()
  assert orbax_io.best(tmp_path / "two") == (0.2, 2) and orbax_io.steps(tmp_path / "two") == [1, 2]
  files = manifest.verify(tmp_path / "two" / "checkpoint_2", hashes=True).manifest.files
  assert {name.split("/")[1] for name in files if ".process_" in name} == {
    "ocdbt.process_0",
    "ocdbt.process_1",
  }


@pytest.mark.slow
def test_what_fails_in_one_process_is_told_by_all_and_costs_that_save_alone(
  tmp_path, together, caplog
):
  """A full disk, a folder that is not shared, and death while it stores its part."""
  *living, dead = together(tmp_path, (4, ["faults:run:4x2"]), codes=[0, 0, 0, -signal.SIGKILL])
  reasons = {2: os.strerror(28), 3: "all hosts must share MODEL_DIR", 5: "process 3 did not answer"}
  for out in living:
    assert len(out) == len(reasons)
    for line, (step, reason) in zip(out, reasons.items(), strict=True):
      assert f"{tmp_path}/run/checkpoint_{step} cannot be saved" in line and reason in line
      assert "process 3 (" in line or step == 5
  assert len(dead) == 2 and os.strerror(28) in dead[0]
  folder = tmp_path / "run"
  assert orbax_io.steps(folder) == [1, 4]
  assert (np.asarray(orbax_io.restore_params(folder)["w"]).ravel() == np.arange(128) * 4 + 4).all()
  (folder / "checkpoint_5").mkdir()
  assert orbax_io.latest(folder).name == "checkpoint_4"
  assert "checkpoint_5: MANIFEST.json: missing" in caplog.text


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
