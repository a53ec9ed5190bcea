"""Every mesh gives the run of one device; scripts/mesh_table.py does so for longer runs."""

import functools
import importlib.util
import pathlib
import sys

import jax
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from flan_tune import partition

QUICK = {"xla_backend_optimization_level": 0}
STEPS = 6


@pytest.fixture(scope="module")
def table():
  """scripts/mesh_table.py as a module."""
  path = pathlib.Path(__file__).parents[2] / "scripts/mesh_table.py"
  spec = importlib.util.spec_from_file_location("mesh_table", path)
  module = importlib.util.module_from_spec(spec)
  sys.modules["mesh_table"] = module
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def losses(table):
  """Losses of a run, by family, kind, mesh, and how many of eight devices it has."""

  @functools.cache
  def initial(model, tx):
    return jax.device_get(jax.jit(table.parts(model, tx)[2], compiler_options=QUICK)())

  # Adafactor takes as long to compile as the model: the kinds of stacked layers have it.
  quick = optax.sgd(1e-3)

  @functools.cache
  def run(family, kind, text, count):
    model = table.Model(family, *table.KINDS[kind])
    tx = quick if kind == "looped" else None
    # Cut or not, stacked layers have the same numbers.
    state = initial(table.Model(family, model.scan_layers), tx)
    mesh = table.on(count, text)
    return table.run(model, mesh, steps=STEPS, tx=tx, initial=state, compiler_options=QUICK)

  return run


@pytest.fixture
def freshly_compiled(tmp_path):
  """Nothing comes from JAX's cache, or the compiler would say nothing."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  compilation_cache.reset_cache()
  yield
  jax.config.update("jax_compilation_cache_dir", before)
  compilation_cache.reset_cache()


@pytest.mark.slow  # one mesh of T5: tests/train/test_loop.py
@pytest.mark.usefixtures("freshly_compiled")
@pytest.mark.parametrize("kind", ["looped", "cut"])
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_every_mesh_of_eight_devices_gives_the_run_of_one(table, losses, family, kind, capfd):
  """Looped; and stacked layers, length cut, two microbatches; dropout in both.

  And XLA knows how to: where it does not, a whole batch crosses the network, and it says so.
  """
  one = losses(family, kind, "data=1", 1)
  apart = {text: table.difference(losses(family, kind, text, 8), one) for text in table.meshes(8)}
  assert len(apart) == 10
  assert max(apart.values()) < table.LIMIT, apart
  assert "rematerialization" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_some_of_the_devices_at_hand_give_the_run_of_one(table, losses, family):
  one = losses(family, "scanned", "data=1", 1)
  for text in ("data=2,fsdp=2", "fsdp=2,model=2", "data=2,model=2"):
    assert table.difference(losses(family, "scanned", text, 4), one) < table.LIMIT, text


@pytest.mark.slow
def test_two_slices_give_the_run_of_one_device(table, losses):
  """Of numbers that are drawn on the mesh."""
  mesh = partition.make_mesh(
    "fsdp=2,model=2", jax.devices(), dcn="data=2", slice_of=lambda device: device.id % 2
  )
  model = table.Model("t5", *table.KINDS["scanned"])
  ours = table.run(model, mesh, steps=STEPS, compiler_options=QUICK)
  assert table.difference(ours, losses("t5", "scanned", "data=1", 1)) < table.LIMIT
