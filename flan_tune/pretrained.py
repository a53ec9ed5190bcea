"""Models from files: what a run writes of its model, and reading any format back."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import assets, errors, model, partition, vocab, whole
from flan_tune.checkpoint import infer, manifest, native, stores
from flan_tune.models import choices, registry, stack

CHECKPOINTS = native.CHECKPOINTS
VOCABULARY = native.VOCABULARY

_log = logging.getLogger(__name__)

Path = str | pathlib.Path
Vocabulary = Path | vocab.Vocabulary


def describe(ready: model.Model) -> dict[str, Any]:
  """What a checkpoint must say so that its arrays can be used again."""
  config = ready.network.config
  return native.describe(registry.name_of(config), config, ready.vocabulary)


def load(
  path: Path,
  *,
  step: int | str | None = None,
  vocabulary: Vocabulary | None = None,
  dtype: str | None = None,
) -> model.Model:
  """A model from a run or checkpoint of ours, a T5X checkpoint or a Hugging Face folder.

  Args:
    path: A folder; of a run, the MODEL_DIR or `MODEL_DIR/checkpoints/checkpoint_N`.
    step: Which checkpoint of several, of a run also "best"; the last good one by default.
    vocabulary: A SentencePiece model, or a `Vocabulary` made of one, for folders that hold none.
    dtype: Of the parameters, "float32" or "bfloat16"; as they are stored by default.

  Raises:
    UserError: Nothing usable is there, or it has no vocabulary.
  """
  if dtype is not None:
    choices.check_dtype(dtype, "dtype")
  return of_store(whole.open_store(path, step=step), vocabulary=vocabulary, dtype=dtype, told=path)


def of_store(
  store: stores.Store,
  *,
  vocabulary: Vocabulary | None = None,
  dtype: str | None = None,
  told: Path | None = None,
) -> model.Model:
  """A model from a folder that is open already; the rest as for `load`.

  Args:
    told: What to call the folder in messages; its path by default.
  """
  say_what_was_inferred(store)
  # Before the parameters, which may take long.
  opened = open_vocabulary(store, vocabulary)
  network = registry.build(configuration(store, dtype=dtype))
  if opened is None:
    raise errors.UserError(
      f"{told or store.path}: holds no vocabulary; name the SentencePiece model that the model was"
      " trained with (--vocabulary, or load(..., vocabulary=...))"
    )
  return model.Model(network, read(store, network.shapes), opened)


def read_params(
  path: pathlib.Path, shapes: Any, shardings: Any, *, vocabulary: vocab.Vocabulary
) -> Any:
  """Parameters to start a run from, of any format and whether layers are stacked or not.

  Adapters in the checkpoint are merged: a run that has adapters starts with new ones.

  Args:
    path: As `load` takes it.
    shapes: The tree that this model needs.
    shardings: Where each array goes.
    vocabulary: The run's.

  Raises:
    UserError: Another model's or vocabulary's, naming the first difference.
  """
  store = whole.Merged.of(whole.open_store(path))
  say_what_was_inferred(store)
  where = f"INITIAL_CHECKPOINT_PATH = {str(path)!r}"
  known = store.description.meta.get("vocabulary")
  if known is not None and known != vocabulary.fingerprint:
    raise errors.UserError(
      f"{where}: was trained with another vocabulary than {vocabulary.name}; set VOCABULARY to the"
      f" {VOCABULARY} of that run"
    )
  _check_same_model(store, shapes, where)
  return read(store, shapes, shardings)


def say_what_was_inferred(store: stores.Store) -> None:
  """Logs where a model comes from, and what its folder does not say but its tensors do."""
  _log.info("%s: a checkpoint in the format of %s", store.path, store.format)
  for note in store.description.notes:
    _log.info("%s: %s", store.path, note)


def configuration(store: stores.Store, *, dtype: str | None = None) -> Any:
  """The configuration of a stored model, checked against all its names and shapes.

  Args:
    dtype: Of the parameters; None for what is stored, float32 where that is mixed.

  Raises:
    UserError: Tensors are missing, unknown or of other shapes; names the first.
  """
  where = str(store.path)
  infer.check(store.tensors, store.description, where=where)
  config = registry.configuration(
    store.description.architecture, store.description.config, where=where
  )
  types = {entry.dtype for entry in store.tensors.values()}
  stored = types.pop() if len(types) == 1 else "float32"
  # How the machine that trained it went about it is not for the one that reads it to follow.
  plain = {"attention_kernel": "xla", "shard_length": False}
  return dataclasses.replace(config, param_dtype=dtype or stored, **plain)


def open_vocabulary(
  store: stores.Store, given: Vocabulary | None = None
) -> vocab.Vocabulary | None:
  """The vocabulary given, or that of the folder; None where there is neither.

  Raises:
    UserError: It is not the one that the model was trained with, or has more ids than the model.
  """
  path = given or store.vocabulary
  if path is None:
    return None
  meta = store.description.meta
  if isinstance(path, vocab.Vocabulary):
    opened = path
  else:
    opened = _opened(path, meta, store.description.config["vocab_size"])
  if meta.get("vocabulary") not in (None, opened.fingerprint):
    raise errors.UserError(f"{opened.name}: not the vocabulary that {store.path} was made with")
  if opened.size > store.description.config["vocab_size"]:
    raise errors.UserError(
      f"{opened.name}: has {opened.size} ids, and {store.path} only"
      f" {store.description.config['vocab_size']}: not the vocabulary that it was made with"
    )
  return opened


def _opened(path: Path, meta: Mapping[str, Any], table_size: int) -> vocab.Vocabulary:
  """The model's vocabulary; where nobody says how many sentinels it has, T5's 100 if they fit."""
  build = functools.partial(vocab.Vocabulary, path, escape=bool(meta.get("escape", False)))
  extra_ids = meta.get("extra_ids")
  if type(extra_ids) is int and extra_ids >= 0:
    return build(extra_ids=extra_ids)
  opened = build()
  return opened if opened.size <= table_size else build(extra_ids=0)


def read(store: stores.Store, shapes: Any, shardings: Any = None) -> Any:
  """Parameters in the tree and the types of `shapes`; layers are stacked or not as it has them.

  Args:
    shapes: A nested dict of shapes; every name was compared with the store's before.
    shardings: A tree of them like `shapes`, or None for the default device.
  """
  parts = _parts(shapes)
  structure = jax.tree.structure(shapes)
  places = [None] * len(parts) if shardings is None else structure.flatten_up_to(shardings)
  # A deliberate copy to the devices, whatever guard the training loop has set.
  with jax.transfer_guard("allow"):
    arrays = [
      partition.place(_joined(store, part), place)
      for part, place in zip(parts, places, strict=True)
    ]
  return structure.unflatten(arrays)


class _Part(NamedTuple):
  """A leaf of the tree, and the stored tensors of shape `one` that it is made of."""

  leaf: Any
  names: list[str]
  one: tuple[int, ...]


def _parts(shapes: Any) -> list[_Part]:
  parts = []
  for keys, leaf in jax.tree_util.tree_leaves_with_path(shapes):
    path = jax.tree_util.keystr(keys, simple=True, separator="/")
    parts.append(_Part(leaf, *stack.layer_paths(path, leaf.shape)))
  return parts


def _joined(store: stores.Store, part: _Part) -> np.ndarray:
  if part.one == part.leaf.shape:
    return store.read(part.names[0]).astype(part.leaf.dtype, copy=False)
  whole = np.empty(part.leaf.shape, part.leaf.dtype)
  for layer, name in enumerate(part.names):
    whole[(slice(None),) * stack.LAYER_AXIS + (layer,)] = store.read(name)
  return whole


def _check_same_model(store: stores.Store, shapes: Any, where: str) -> None:
  parts = _parts(shapes)
  wanted = {name: part.one for part in parts for name in part.names}
  found = {name: entry.shape for name, entry in store.tensors.items()}
  told = lambda shape: "absent" if shape is None else str(list(shape))
  for name in (*wanted, *sorted(found.keys() - wanted.keys())):
    if wanted.get(name) != found.get(name):
      raise errors.UserError(
        f"{where}: a checkpoint of another size or family: {name} is {told(found.get(name))} in it,"
        f" {told(wanted.get(name))} in this run's model{_advice(store, wanted)}"
      )


def _advice(store: stores.Store, wanted: Mapping[str, tuple[int, ...]]) -> str:
  """What would make the run's model the stored one."""
  run = {name: manifest.ArrayEntry(shape, "float32") for name, shape in wanted.items()}
  try:
    theirs, ours = (infer.describe(one, where="") for one in (store.tensors, run))
  except errors.UserError:  # adapters, say: then the tensor's name must do
    return ""
  fitting = _gin_file(theirs)
  advice = f"; {fitting} fits it" if fitting and fitting != _gin_file(ours) else ""
  if theirs.architecture == ours.architecture:
    sizes = [
      f"{key.upper()} = {size}"
      for key, size in theirs.config.items()
      if type(size) is int and ours.config.get(key) != size
    ]
    advice += f"; it needs {', '.join(sizes)}" if sizes else ""
  return advice


_SIZE = re.compile(r"The sizes are those of ([\w. ]+)\.")


def _gin_file(description: stores.Description) -> str | None:
  """The file of configs/ with the published size that was recognised, else with the family."""
  named = _SIZE.search(" ".join(description.notes))
  family = {"palm": "PaLM", "t5": "T5 1.1"}[description.architecture]
  if description.config.get("logits_via_embedding"):
    family = "T5 1.0"
  for name in (named[1] if named else family, family):
    file = f"models/{re.sub(r'[. ]', '_', name).lower()}.gin"
    with contextlib.suppress(errors.UserError):
      assets.find("configs", file)
      return file
  return None
