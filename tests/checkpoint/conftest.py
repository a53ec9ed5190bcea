"""States to save, and the means to damage a checkpoint."""

import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flan_tune import optim
from flan_tune.checkpoint import orbax_io


class TrainState(NamedTuple):
  """Like the training loop's."""

  step: Any
  params: Any
  opt_state: Any


def _make_state(step=7, *, width=6, beta1=None, layers=2):
  rng = np.random.default_rng(step)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32))
  params = {
    "encoder": {f"layers_{i}": {"mlp": {"kernel": draw(4, width)}} for i in range(layers)},
    "decoder": {"scale": draw(width)},
    "lora": {"a": draw(3, 2).astype(jnp.bfloat16), "b": jnp.array([jnp.nan, -0.0, jnp.inf])},
  }
  tx = optax.chain(optax.identity(), optim.adafactor(1e-3, beta1=beta1))
  return TrainState(jnp.int32(step), params, tx.init(params))


@pytest.fixture(scope="session")
def make_state():
  """A small state of every dtype a run may hold; its numbers depend on the step alone."""
  return _make_state


@pytest.fixture(scope="session")
def assert_bits_equal():
  """The same tree, dtypes and bits (those of a NaN, too)."""

  def check(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
      assert (a.shape, a.dtype) == (b.shape, b.dtype)
      assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

  return check


@pytest.fixture(scope="session")
def two_saved(tmp_path_factory) -> pathlib.Path:
  """Checkpoints of steps 4 and 8; not to be changed."""
  folder = tmp_path_factory.mktemp("saved")
  for step in (4, 8):
    documents = {"data": {"rows": step}, "meta": {"architecture": "t5"}}
    orbax_io.save(folder, step, _make_state(step), documents=documents)
  return folder


@pytest.fixture
def two(two_saved, tmp_path) -> pathlib.Path:
  """A copy of checkpoints 4 and 8 to damage."""
  return pathlib.Path(shutil.copytree(two_saved, tmp_path / "checkpoints"))


@pytest.fixture(scope="session")
def largest_file():
  """The file of a checkpoint that is full of arrays."""

  def find(checkpoint: pathlib.Path) -> pathlib.Path:
    files = (path for path in (checkpoint / "state").rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)

  return find


@pytest.fixture(scope="session")
def flip_byte():
  """Changes one bit in the middle of a file."""

  def flip(path: pathlib.Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)

  return flip
