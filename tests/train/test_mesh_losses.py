"""Every mesh gives the run of one device; the whole table is that of scripts/mesh_table.py."""

import functools
import importlib.util
import pathlib
import sys

import jax
import optax
import pytest

from flan_tune import partition

QUICK = {"xla_backend_optimization_level": 0}


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
  """Losses of a run, by family, kind, mesh and number of steps."""

  @functools.cache
  def run(family, kind, text, steps, tx=None):
    count = 1
    for part in text.split(","):
      count *= int(part.partition("=")[2])
    model = table.Model(family, *table.KINDS[kind])
    return table.run(model, table.on(count, text), steps=steps, tx=tx, compiler_options=QUICK)

  return run


@pytest.mark.slow  # one mesh of T5: tests/train/test_loop.py
# The first of this module, so that the programs are compiled here and not found in JAX's cache.
@pytest.mark.parametrize("family", ["palm", "t5"])
def test_a_mesh_gives_the_run_of_one_device(table, losses, family, capfd):
  """Stacked layers, length cut, two microbatches, dropout; one device of those, and eight.

  And XLA knows how to: where it does not, a whole batch crosses the network, and it says so.
  """
  # Adafactor takes as long to compile as the model.
  short = functools.partial(losses, family, "cut", steps=4, tx=optax.sgd(1e-3))
  assert table.difference(short("data=2,fsdp=2,model=2"), short("data=1")) < table.LIMIT
  assert "rematerialization" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("kind", ["looped", "scanned", "cut"])
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_every_mesh_gives_the_run_of_one_device(table, losses, family, kind, count):
  """Twenty steps; ten meshes of eight devices, six of four, three of two."""
  one = losses(family, kind, "data=1", 20)
  apart = {
    text: table.difference(losses(family, kind, text, 20), one) for text in table.meshes(count)
  }
  assert max(apart.values()) < table.LIMIT, apart
  assert len(apart) == {2: 3, 4: 6, 8: 10}[count]


@pytest.mark.slow
def test_two_slices_give_the_run_of_one_device(table, losses):
  mesh = partition.make_mesh(
    "fsdp=2,model=2", jax.devices(), dcn="data=2", slice_of=lambda device: device.id % 2
  )
  ours = table.run(table.Model("t5", *table.KINDS["scanned"]), mesh, compiler_options=QUICK)
  assert table.difference(ours, losses("t5", "scanned", "data=1", 20)) < table.LIMIT
