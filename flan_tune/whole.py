"""Whole models out of what is stored: frozen parameters found again, adapters merged."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flan_tune import errors, frozen, optim
from flan_tune.checkpoint import manifest, stores
from flan_tune.models import lora, registry, stack

_DEEPEST = 8  # runs that started from each other's small checkpoints; a circle would not end

Entries = Mapping[str, manifest.ArrayEntry]


def open_store(
  path: str | os.PathLike[str], *, step: int | str | None = None, depth: int = 0
) -> stores.Store:
  """As `stores.open_store`; of a checkpoint without its frozen parameters, with these.

  Raises:
    UserError: What `stores.open_store` says, or the frozen parameters are not where they were.
  """
  store = stores.open_store(path, step=step)
  base = store.description.meta.get("base")
  if not base:
    return store
  if depth == _DEEPEST:
    raise errors.UserError(f"{path}: {depth} runs started from each other's small checkpoints")
  return _Completed(store, base, depth)


class _Completed:
  """A checkpoint of the parameters that learned, and the others from where they were."""

  def __init__(self, store: stores.Store, base: Mapping[str, Any], depth: int):
    self._store, self._base = store, base
    self.path, self.format = store.path, store.format
    self.step: int | None = store.step
    self.vocabulary: pathlib.Path | None = store.vocabulary
    self._config = registry.configuration(
      store.description.architecture, store.description.config, where=str(store.path)
    )
    self._dtype = jnp.dtype(self._config.param_dtype)
    self._from = self._opened(depth)
    self._drawn: dict[str, np.ndarray] = {}
    rest = {
      name: manifest.ArrayEntry(shape, self._config.param_dtype)
      for name, shape in _shapes(registry.build(self._config)).items()
      if name in base["sha256"]
    }
    self.tensors: Entries = {**store.tensors, **rest}
    source = base["path"] or f"seed {base['seed']}"
    note = f"{len(rest)} parameters that did not learn are not in the checkpoint but from {source}"
    notes = (*store.description.notes, note)
    meta = {key: value for key, value in store.description.meta.items() if key != "base"}
    self.description: stores.Description = store.description._replace(notes=notes, meta=meta)
    # Of the parameters that learned, and no other format has a place for such a part.
    self.optimizer: Entries = {}

  def read(self, name: str) -> np.ndarray:
    """One parameter; one that did not learn is compared with its checksum."""
    if name in self._store.tensors:
      return self._store.read(name)
    if self._from and not lora.is_adapter(name):
      array = self._from.read(name) if name in self._from.tensors else None
    else:
      array = self._draw(name)
    array = None if array is None else array.astype(self._dtype, copy=False)
    frozen.check_tensor(name, array, self._base, where=str(self.path))
    assert array is not None
    return array

  def read_optimizer(self, name: str) -> np.ndarray:
    """There is none."""
    raise KeyError(name)

  def _opened(self, depth: int) -> stores.Store | None:
    """What the run began with; None if all of it was drawn from the seed."""
    path = self._base["path"]
    if path is None:
      return None
    if not os.path.exists(path):
      raise errors.UserError(
        f"{self.path}: holds only the parameters that learned; the others are those of {path},"
        " which is not there: put it back"
      )
    return Merged.of(open_store(path, depth=depth + 1))

  def _draw(self, name: str) -> np.ndarray:
    """A random parameter that the run began with."""
    if not self._drawn:
      params = jax.jit(registry.build(self._config).init)(jax.random.key(self._base["seed"]))
      for stored, leaf in optim.named_leaves(params):
        names, one = stack.layer_paths(stored, leaf.shape)
        array = np.asarray(leaf)
        layers = [array] if one == leaf.shape else np.moveaxis(array, stack.LAYER_AXIS, 0)
        self._drawn |= dict(zip(names, layers, strict=True))
    return self._drawn[name]


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
  """Every parameter's, layer by layer."""
  found = {}
  for stored, leaf in optim.named_leaves(network.shapes):
    names, one = stack.layer_paths(stored, leaf.shape)
    found |= dict.fromkeys(names, one)
  return found


class Merged:
  """A store whose kernels have the product of their adapters added when they are read."""

  def __init__(self, store: stores.Store):
    self._store = store
    self.path, self.format = store.path, store.format
    self.step: int | None = store.step
    self.vocabulary: pathlib.Path | None = store.vocabulary
    self.tensors: Entries = {
      name: entry for name, entry in store.tensors.items() if not lora.is_adapter(name)
    }
    config = store.description.config
    self._adapted = registry.configuration(
      store.description.architecture, config, where=str(store.path)
    )
    note = f"LoRA adapters of rank {config['lora_rank']} are merged into their kernels"
    self.description: stores.Description = store.description._replace(
      config={**config, "lora_rank": 0}, notes=(*store.description.notes, note)
    )
    # The state of kernels with adapters beside them is not that of the merged ones.
    self.optimizer: Entries = {}

  @staticmethod
  def of(store: stores.Store) -> stores.Store:
    """The model that computes the same without adapters; the store itself if it has none."""
    return Merged(store) if store.description.config.get("lora_rank") else store

  def read(self, name: str) -> np.ndarray:
    """One parameter, with what its adapter adds to it."""
    array = self._store.read(name)
    layer, _, last = name.rpartition("/")
    if last != "kernel" or f"{layer}/{lora.NAMES[0]}" not in self._store.tensors:
      return array
    adapted = {"kernel": array} | {one: self._store.read(f"{layer}/{one}") for one in lora.NAMES}
    merged, _ = lora.merge(adapted, self._adapted)
    return np.asarray(merged["kernel"])

  def read_optimizer(self, name: str) -> np.ndarray:
    """There is none."""
    raise KeyError(name)
