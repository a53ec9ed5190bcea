"""Compiled programs are kept, found again whole, and never a reason to stop."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from flan_tune import compilation
from flan_tune.train import loop
from tests import one_run

_SETTINGS = (
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def kept(monkeypatch):
  """`compilation.keep` as a user has it, undone afterwards."""
  before = {name: getattr(jax.config, name) for name in _SETTINGS}
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
  yield compilation.keep
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def compiled(number: float) -> int:
  """How many programs a function that no test before has made needs compiled."""
  jax.clear_caches()
  with compilation.Tally() as tally:
    jax.block_until_ready(jax.jit(lambda x: jnp.cos(x) * number)(np.float32(1)))
  return tally.compiled


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.rglob("*-cache"))


@pytest.mark.slow
def test_a_restart_compiles_nothing_and_gives_the_same_bits(
  tmp_path, users_environment, repository
):
  """Two processes of one configuration; donated buffers work as in a freshly compiled step."""

  def process(*arguments):
    command = [sys.executable, "-m", "tests.one_run", *map(str, arguments)]
    done = subprocess.run(
      command,
      capture_output=True,
      text=True,
      env=users_environment,
      check=True,
      cwd=repository,
      timeout=120,
    )
    return json.loads(done.stdout), done.stderr

  first, _ = process(tmp_path)
  again, noise = process(tmp_path)
  plain, _ = process()
  print(f"\nto the first step: {first['first']:.1f} s, then {again['first']:.1f} s")
  assert first["compiled"] >= 2 and first["taken"] == 0
  assert again["compiled"] == 0 and again["taken"] == first["compiled"]
  assert again["losses"] == first["losses"] == plain["losses"]
  assert again["state"] == first["state"] == plain["state"]
  assert noise == ""


def test_a_step_compiled_ahead_is_found_by_the_loop(tmp_path, kept):
  kept(tmp_path)
  settings, shapes = one_run.parts()
  sharded = jax.tree.map(
    lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
    shapes,
    settings["state_sharding"],
  )
  step_fn = loop.compiled_step(
    settings["state_sharding"],
    **{name: settings[name] for name in ("loss_fn", "tx", "seed")},
  )
  ahead = lambda: compilation.precompile(
    step_fn,
    sharded,
    next(one_run.batches()).arrays,
    mesh=settings["mesh"],
    batch_sharding=settings["batch_sharding"],
  )
  program = ahead()
  assert not program.taken and "Compiled in" in program.told() and "MiB more" in program.told()
  assert program.peak and program.arguments and program.peak >= program.arguments
  (entry,) = [path for path in entries(tmp_path) if "train_step" in path.name]
  jax.clear_caches()
  one_run.train(num_steps=1)
  assert [path for path in entries(tmp_path) if "train_step" in path.name] == [entry]
  jax.clear_caches()
  assert ahead().taken


def test_a_folder_is_used_at_once_whatever_was_compiled_before(tmp_path, kept):
  assert compiled(1.5) == 1
  kept(tmp_path)
  assert compiled(1.5) == 1 and entries(tmp_path)
  assert compiled(1.5) == 0


def test_programs_of_a_cpu_are_kept_apart_from_those_of_another(tmp_path, kept, monkeypatch):
  """Machine code of a newer CPU would crash an older one, in a folder that both see."""
  first = kept(tmp_path)
  monkeypatch.setattr(compilation, "_cpu", lambda: "older")
  second = kept(tmp_path)
  assert first != second and first.parent == second.parent == tmp_path


@pytest.mark.parametrize("torn", [b"", b"\x78\x9c", "half", b"\x28\xb5\x2f\xfd\x04\x00", b"junk"])
def test_a_torn_entry_is_removed_and_made_again(tmp_path, kept, torn):
  """A process that is killed as it writes leaves one."""
  folder = kept(tmp_path)
  compiled(2.5)
  path = max(entries(folder), key=lambda entry: entry.stat().st_size)
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2] if torn == "half" else torn)
  kept(tmp_path)
  assert path not in entries(folder)
  compiled(2.5)
  assert compiled(2.5) == 0


def test_a_clock_that_was_set_back_hides_no_torn_entry(tmp_path, kept):
  folder = kept(tmp_path)
  compiled(3.5)
  ahead = time.time() + 1e7
  os.utime(folder / ".checked", (ahead, ahead))
  path = max(entries(folder), key=lambda entry: entry.stat().st_size)
  path.write_bytes(path.read_bytes()[:-1])
  kept(tmp_path)
  assert path not in entries(folder)


def frame(*blocks: tuple[int, bytes], checksum: bytes = b"") -> bytes:
  """A Zstandard frame of (kind, content) blocks; content of kind 1 is repeated three times."""
  made = b"\x28\xb5\x2f\xfd" + bytes([0x20 | (4 if checksum else 0), 9])
  for place, (kind, content) in enumerate(blocks, start=1):
    size = 3 if kind == 1 else len(content)
    made += ((place == len(blocks)) | kind << 1 | size << 3).to_bytes(3, "little") + content
  return made + checksum


@pytest.mark.parametrize("checksum", [b"", b"1234"])
def test_zstandard_entries_are_whole_only_to_their_last_byte(tmp_path, checksum):
  data = frame((0, b"plain"), (1, b"r"), (2, b"packed"), checksum=checksum)
  path = tmp_path / "one-cache"
  for length in range(len(data) + 1):
    path.write_bytes(data[:length])
    assert compilation._whole(path) == (length == len(data)), length


def test_the_oldest_entries_go_when_there_are_too_many_bytes(tmp_path, kept, monkeypatch):
  folder = kept(tmp_path)
  for age in range(6):
    path = folder / f"jit_{age}-cache"
    path.write_bytes(zlib.compress(os.urandom(1000)))
    os.utime(path, (1e9 - age, 1e9 - age))
  monkeypatch.setattr(compilation, "_MOST_BYTES", 3500)
  kept(tmp_path)
  assert [path.name for path in entries(folder)] == [f"jit_{age}-cache" for age in range(3)]


def test_a_folder_that_cannot_be_made_is_told_once_and_training_goes_on(tmp_path, kept):
  (tmp_path / "compiled").write_text("a file")
  said = []
  assert kept(tmp_path / "compiled", say=said.append) is None
  assert compiled(3.5) == 1 and len(said) == 1
  assert "compiled programs are not kept" in said[0]


def test_a_full_disk_keeps_nothing_more_but_gives_what_is_there(tmp_path, kept, monkeypatch):
  folder = kept(tmp_path)
  compiled(4.5)
  before, said = entries(folder), []
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(compilation.shutil, "disk_usage", lambda _: usage)
  assert kept(tmp_path, say=said.append) == folder
  assert compiled(4.5) == 0
  assert compiled(5.5) == 1 and entries(folder) == before
  assert len(said) == 1 and "less than 256 MiB of disk space is left" in said[0]


def test_a_write_that_fails_later_does_not_stop_training(tmp_path, kept):
  folder = kept(tmp_path)
  shutil.rmtree(folder)
  folder.write_text("a file")
  assert compiled(6.5) == 1


def test_a_folder_of_the_environment_stays(tmp_path, monkeypatch):
  before = jax.config.jax_compilation_cache_dir
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(before))
  assert compilation.keep(tmp_path / "other") is None
  assert jax.config.jax_compilation_cache_dir == before
  assert not (tmp_path / "other").exists()


def test_a_users_own_programs_are_beside_his_other_caches(monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
  assert compilation.of_user() == pathlib.Path("/caches/flan_tune/compiled")
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert compilation.of_user() == pathlib.Path.home() / ".cache/flan_tune/compiled"
