"""Saves and restores a training state with Orbax: complete or not at all.

A state is any tree of arrays.  Its arrays are stored under their path in the tree, such as
`params/encoder/layers_0/attention/query/kernel` or `opt_state/param_states/.../v_row`, so neither
the classes of the tree nor Flax are needed to read them.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import errors
from flan_tune.checkpoint import agreement, folders, manifest, pieces, writing
from flan_tune.checkpoint.folders import NoCheckpoint, best, latest, steps

__all__ = [
  "MANIFEST",
  "NoCheckpoint",
  "Restored",
  "best",
  "copied",
  "latest",
  "mark_best",
  "read_arrays",
  "read_documents",
  "restore",
  "restore_params",
  "save",
  "save_arrays",
  "shared",
  "steps",
]

MANIFEST = manifest.FILE_NAME
STATE_FOLDER = writing.STATE_FOLDER
system_error = writing.system_error

_PARAMS = "params/"

_PART = re.compile(r"[A-Za-z0-9_\-]+")
_DOCUMENT = re.compile(r"[a-z][a-z0-9_]*")

Arrays = dict[str, pieces.Pieces]


class Restored(NamedTuple):
  """What a checkpoint held: arrays in the template's tree, and its JSON documents by name.

  problems: Why newer checkpoints, if any, were passed over; already logged.
  """

  step: int
  state: Any
  documents: dict[str, Any]
  problems: list[manifest.Problem]


def save(
  folder: str | os.PathLike[str],
  step: int,
  state: Any,
  *,
  documents: Mapping[str, Any] | None = None,
  keep: int | None = None,
  keep_every: int | None = None,
  score: float | None = None,
) -> pathlib.Path:
  """Writes `state` to `folder`/checkpoint_<step>; then removes older checkpoints as told.

  In a run of several processes all of them call it, for the same steps in the same order.

  Args:
    folder: The folder of checkpoints; made if need be.
    step: Updates done; a checkpoint of this step that is there already is replaced.
    state: A tree of JAX or NumPy arrays, which may be sharded over processes.
    documents: What JSON can hold, by name: each becomes <name>.json beside the arrays.
    keep: How many of the newest checkpoints stay; None: all of them.
    keep_every: Checkpoints whose step is a multiple of this stay, too.
    score: Marks this checkpoint as the best one, which always stays.

  Raises:
    UserError: The disk is full, or writing failed in any other way the system reports.  The
      checkpoints that were there before are untouched and no temporary files stay.
  """
  check_kept(keep=keep, keep_every=keep_every)
  documents = dict(documents or {})
  check_documents(documents)
  folder = pathlib.Path(folder).absolute()  # tensorstore takes no relative paths
  rules = {"keep": keep, "keep_every": keep_every, "score": score}
  return save_arrays(folder, step, shared(state), documents=documents, **rules)


def check_kept(**kept: int | None) -> None:
  """Raises a `UserError` for a number of checkpoints, by name, that is less than 1."""
  for name, value in kept.items():
    if value is not None and value < 1:
      raise errors.UserError(f"checkpoints: {name} is {value}; it must be at least 1")


def shared(state: Any) -> Arrays:
  """What this process is to store of a tree; on a CPU in the tree's memory, so to be used at once.

  Donating the tree to a compiled function meanwhile is safe: JAX then copies.
  """
  return pieces.shared(dict(_named_leaves(state)))


def copied(state: Any) -> Arrays:
  """The same in host memory of its own, for later: the tree may be donated or overwritten."""
  return pieces.copied(dict(_named_leaves(state)))


def save_arrays(
  folder: pathlib.Path,
  step: int,
  arrays: Arrays,
  *,
  documents: Mapping[str, Any],
  keep: int | None = None,
  keep_every: int | None = None,
  score: float | None = None,
) -> pathlib.Path:
  """`save` for arrays from `shared` or `copied`, in any thread; `folder` is absolute."""
  path = writing.write(folder, arrays, _nested(arrays), step=step, documents=documents)
  if not agreement.is_first():
    return path
  if score is not None:
    mark_best(folder, step=step, score=score)
  if keep is not None:
    folders.prune(folder, keep=keep, keep_every=keep_every)
  return path


def mark_best(folder: pathlib.Path, *, step: int, score: float) -> None:
  """Names checkpoint `step` the best.

  Raises:
    UserError: The system said no.
  """
  try:
    folders.mark_best(folder, step=step, score=score)
  except OSError as error:
    raise errors.UserError(
      f"{folders.path_of(folder, step)} is saved, but cannot be marked as the best:"
      f" {error.strerror}"
    ) from error


def restore(
  path: str | os.PathLike[str],
  template: Any,
  *,
  step: int | None = None,
  shardings: Any = None,
) -> Restored:
  """The state of a checkpoint, in the tree of `template`; complete, or an error.

  In a run of several processes all of them call it; the first one looks for the checkpoint and
  compares its files with the manifest, and each reads of the arrays what its devices need.

  Args:
    path: A folder of checkpoints, a run's folder, or one checkpoint.
    template: A tree of arrays or `jax.ShapeDtypeStruct`; every name, shape and dtype must agree.
    step: Which checkpoint of a folder; None for the newest usable one.
    shardings: Where the arrays go: one sharding, or a tree of them like `template`.  None: where
      the template's arrays are, or on the default device if it does not say.

  Raises:
    NoCheckpoint: There is none.
    UserError: None can be used, or it is one of another model.
  """
  found = _find(path, step)
  if shardings is None:
    shardings = jax.tree.map(lambda leaf: getattr(leaf, "sharding", None), template)
  state = _in_template(found, template, shardings)
  return Restored(found.step, state, documents_of(found), found.problems)


def restore_params(
  path: str | os.PathLike[str],
  *,
  template: Any = None,
  step: int | None = None,
  shardings: Any = None,
) -> Any:
  """Only the parameters of a checkpoint of a training state; takes `restore`'s arguments.

  Returns:
    A nested dictionary of arrays; `template`'s tree if one is given to be compared with.

  Raises:
    NoCheckpoint: There is none.
    UserError: None can be used, it is one of another model, or it holds no parameters.
  """
  found = _find(path, step)
  stored = {n: one for n, one in found.contents.arrays.items() if n.startswith(_PARAMS)}
  if not stored:
    raise errors.UserError(f"{found.path}: the checkpoint holds no arrays under {_PARAMS!r}")
  if template is not None:
    return _in_template(found, template, shardings, prefix=_PARAMS)
  shapes = {name.removeprefix(_PARAMS): _template_of(entry) for name, entry in stored.items()}
  return _in_template(found, _nested(shapes), shardings, prefix=_PARAMS)


def _template_of(entry: manifest.ArrayEntry) -> Any:
  return np.broadcast_to(np.zeros((), jax.numpy.dtype(entry.dtype)), entry.shape)


def read_arrays(path: str | os.PathLike[str], *, step: int | None = None) -> dict[str, np.ndarray]:
  """Every array of a checkpoint by its name, in host memory; takes `restore`'s kinds of path."""
  found = _find(path, step)
  shapes = {name: _template_of(entry) for name, entry in found.contents.arrays.items()}
  state = _in_template(found, _nested(shapes), None)
  return {name: np.asarray(leaf) for name, leaf in _named_leaves(state)}


def read_documents(path: str | os.PathLike[str], *, step: int | None = None) -> dict[str, Any]:
  """The JSON documents of a checkpoint, by name; takes `restore`'s kinds of path."""
  return documents_of(folders.find(path, step, hashes=False))


def _find(path: str | os.PathLike[str], step: int | None) -> folders.Usable:
  """As `folders.find`, which in a run of several processes only the first one does."""
  found = None

  def look() -> dict[str, Any]:
    nonlocal found
    try:
      found = folders.find(path, step)
    except NoCheckpoint as error:
      return {"none": str(error)}
    return {"step": found.step}

  told = agreement.by_the_first("restore", f"looking for a checkpoint in {path}", look)
  if "none" in told:
    raise NoCheckpoint(told["none"])
  if found is not None:
    return found
  # Hosts may know the shared folder by different names, so each goes by its own.
  folder = folders.locate(path).folder.absolute()
  return folders.newest(folder, among=[told["step"]], hashes=False)


def _in_template(found: folders.Usable, template: Any, shardings: Any, *, prefix: str = "") -> Any:
  stored = {n: entry for n, entry in found.contents.arrays.items() if n.startswith(prefix)}
  wanted = {prefix + name: _entry_of(leaf) for name, leaf in _named_leaves(template)}
  _check_same(found.path, wanted, stored)
  structure = jax.tree.structure(template)
  if shardings is None or isinstance(shardings, jax.sharding.Sharding):
    each = [shardings] * len(wanted)
  else:
    # None stands for the default device, so the shardings cannot be flattened by themselves.
    each = structure.flatten_up_to(shardings)
  return structure.unflatten(pieces.read(found.path / STATE_FOLDER, wanted, each))


def _check_same(
  path: pathlib.Path,
  wanted: Mapping[str, manifest.ArrayEntry],
  found: Mapping[str, manifest.ArrayEntry],
) -> None:
  names = (*wanted, *(name for name in found if name not in wanted))
  # Parameters first: of another model, the optimiser's state differs, too.
  for name in sorted(names, key=lambda name: not name.startswith(_PARAMS)):
    if wanted.get(name) != found.get(name):
      other = "optimiser" if name.startswith("opt_state/") else "model"
      raise errors.UserError(
        f"{path} is a checkpoint of another {other}: {name} is {_text_of(found.get(name))} in it,"
        f" {_text_of(wanted.get(name))} expected; use the one it was saved with, or a new folder"
      )


def _entry_of(array: Any) -> manifest.ArrayEntry:
  return manifest.ArrayEntry(tuple(array.shape), np.dtype(array.dtype).name)


def _text_of(entry: manifest.ArrayEntry | None) -> str:
  return f"{entry.dtype}{list(entry.shape)}" if entry else "absent"


def _named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
  """(name, leaf) of every array; names are unique, and made of parts that any store can hold."""
  seen = set()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    parts = [jax.tree_util.keystr((key,), simple=True) for key in path]
    name = "/".join(parts)
    if name in seen or not parts or not all(_PART.fullmatch(part) for part in parts):
      raise ValueError(f"{name!r} cannot name an array in a checkpoint")
    seen.add(name)
    yield name, leaf


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for name, array in arrays.items():
    *parents, last = name.split("/")
    inner = tree
    for part in parents:
      inner = inner.setdefault(part, {})
    inner[last] = array
  return tree


def check_documents(documents: Mapping[str, Any]) -> None:
  """Raises a `ValueError` or `TypeError` for what cannot be saved as a document."""
  for name, document in documents.items():
    if not _DOCUMENT.fullmatch(name):
      raise ValueError(f"{name!r} cannot name a document; use lower case letters and _")
    json.dumps(document, allow_nan=False)  # raises before anything is written


def documents_of(found: folders.Usable) -> dict[str, Any]:
  """The JSON documents of a checkpoint that was found, by name, compared with its manifest."""
  names = [name for name in found.contents.files if "/" not in name and name.endswith(".json")]
  for problem in manifest.changed(found.path, found.contents, names):
    raise errors.UserError(str(problem))
  return {
    name.removesuffix(".json"): json.loads((found.path / name).read_text(encoding="utf-8"))
    for name in names
  }
