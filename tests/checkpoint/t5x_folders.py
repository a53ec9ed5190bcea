"""Tiny T5X checkpoints for the tests, and changes to their index."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import msgpack
import numpy as np
import orbax.checkpoint as ocp

from flan_tune.checkpoint import infer, manifest, t5x
from flan_tune.models import registry, t5

CONFIG = t5.T5Config(
  vocab_size=16,
  emb_dim=8,
  num_heads=2,
  head_dim=3,
  mlp_dim=12,
  num_encoder_layers=2,
  num_decoder_layers=1,
)


def leaves(tree: Any) -> dict[str, Any]:
  """What a nested dict holds, by path."""
  found = jax.tree_util.tree_leaves_with_path(tree)
  return {"/".join(str(key.key) for key in path): leaf for path, leaf in found}


def named(config: Any = CONFIG, *, seed: int = 0) -> dict[str, np.ndarray]:
  """Random parameters of a network by name."""
  rng = np.random.default_rng(seed)
  shapes = leaves(registry.build(config).shapes)
  return {name: rng.standard_normal(leaf.shape, np.float32) for name, leaf in shapes.items()}


def entries(arrays: dict[str, np.ndarray]) -> dict[str, manifest.ArrayEntry]:
  return {name: manifest.ArrayEntry(a.shape, a.dtype.name) for name, a in arrays.items()}


def write(folder: pathlib.Path, arrays: dict[str, np.ndarray], **options: Any) -> pathlib.Path:
  shapes = entries(arrays)
  description = infer.describe(shapes, where="test")
  return t5x.write(folder, shapes, arrays.__getitem__, description=description, **options)


def write_with_orbax(state: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """The same parameters in Orbax's layout, without the optimiser's state."""
  tree: dict[str, Any] = {"target": {}}
  for name, array in arrays.items():
    *parents, last = name.split("/")
    inner = tree["target"]
    for part in parents:
      inner = inner.setdefault(part, {})
    inner[last] = array
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False)) as checkpointer:
    checkpointer.save(state, tree)


def change_index(folder: pathlib.Path, change: Callable[[dict[str, Any]], Any]) -> None:
  """Rewrites a checkpoint's index after `change` was called with its tree."""
  path = folder / "checkpoint"
  tree = msgpack.unpackb(path.read_bytes())
  change(tree)
  packed = msgpack.packb(tree)
  assert packed is not None
  path.write_bytes(packed)


def read_all(store: Any) -> dict[str, np.ndarray]:
  return {name: store.read(name) for name in store.tensors}
