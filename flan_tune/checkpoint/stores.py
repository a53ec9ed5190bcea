"""Checkpoints of any format as one thing: names, shapes, and tensors read one at a time."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from flan_tune import errors
from flan_tune.checkpoint import manifest

_REMOTE = re.compile(r"([a-z][a-z0-9]*)://.*")
_HUB_NAME = re.compile(r"[A-Za-z0-9_.\-]+/[A-Za-z0-9_.\-]+")
_NAMED = 8  # of the files found, so many are named


class Description(NamedTuple):
  """What a folder says of the model it holds.

  Attributes:
    architecture: A key of `models.registry.ARCHITECTURES`.
    config: Fields of its configuration that are known, as plain values.
    notes: What was inferred and from what, one sentence each.
    meta: Facts that only our own folders carry: "escape" and "extra_ids" of the vocabulary, its
      fingerprint.
  """

  architecture: str
  config: dict[str, Any]
  notes: tuple[str, ...] = ()
  meta: Mapping[str, Any] = {}


class Store(Protocol):
  """A folder of tensors under canonical names: T5X's, layer by layer, joined by "/"."""

  @property
  def path(self) -> pathlib.Path:
    """The folder."""
    ...

  @property
  def format(self) -> str:
    """flan_tune, t5x or huggingface."""
    ...

  @property
  def description(self) -> Description:
    """The architecture."""
    ...

  @property
  def tensors(self) -> Mapping[str, manifest.ArrayEntry]:
    """Parameter to shape and dtype; nothing is read for it."""
    ...

  @property
  def optimizer(self) -> Mapping[str, manifest.ArrayEntry]:
    """The same of "<parameter>/v_row", "/v_col", "/v" and "/m"; empty where there is none."""
    ...

  @property
  def step(self) -> int | None:
    """Updates done, where known."""
    ...

  @property
  def vocabulary(self) -> pathlib.Path | None:
    """A SentencePiece model beside the tensors."""
    ...

  def read(self, name: str) -> np.ndarray:
    """One parameter; bfloat16 as `ml_dtypes.bfloat16`."""
    ...

  def read_optimizer(self, name: str) -> np.ndarray:
    """One array of the optimiser's state."""
    ...


def open_store(path: str | os.PathLike[str], *, step: int | str | None = None) -> Store:
  """A checkpoint of any format, found by what is in its folder; no numbers are read yet.

  Args:
    path: Of ours a run, its folder of checkpoints or one checkpoint; of T5X a checkpoint or the
      folder of several; of Hugging Face the folder with config.json.
    step: Which checkpoint of several, of a run of ours also "best"; the newest by default.

  Raises:
    UserError: Nothing is there that can be read, or it is damaged.
  """
  # They import this module for the types above.
  from flan_tune.checkpoint import huggingface, native, t5x

  check_is_there(path)
  if native.recognises(path):
    return native.open_store(path, step=step)
  if step is not None:
    path = _of_step(pathlib.Path(path), step)
  for module in (t5x, huggingface):
    if module.recognises(path):
      return module.open_store(path)
  raise errors.UserError(f"{path}: no checkpoint: {_LOOKED_FOR}; {_found(pathlib.Path(path))}")


_LOOKED_FOR = (
  "looked for a run folder or checkpoint of flan_tune (MANIFEST.json), one of T5X (checkpoint, or"
  " state/ of Orbax) and a Hugging Face folder (config.json and safetensors)"
)


def check_is_there(path: str | os.PathLike[str]) -> None:
  """Raises UserError for what is no path on this machine, or leads nowhere."""
  told = os.fspath(path)
  if match := _REMOTE.match(told):
    raise errors.UserError(
      f"{told}: {match[1]}:// is not read over the network; download the folder first (gsutil -m cp"
      " -r, for Google's buckets) and name the copy"
    )
  if os.path.exists(told):
    return
  hint = ""
  if _HUB_NAME.fullmatch(told):
    hint = (
      f"; if it is the name of a model on the Hugging Face hub, download it first (hf download"
      f" {told} --local-dir DIR) and name that folder"
    )
  raise errors.UserError(f"{told}: there is no such folder, so no finished checkpoint{hint}")


def _of_step(path: pathlib.Path, step: int | str) -> pathlib.Path:
  if path.name == f"checkpoint_{step}":
    return path
  if (path / f"checkpoint_{step}").is_dir():
    return path / f"checkpoint_{step}"
  raise errors.UserError(f"{path}: there is no checkpoint of step {step} in it")


def _found(path: pathlib.Path) -> str:
  if not path.is_dir():
    return "found a file"
  names = sorted(one.name + "/" * one.is_dir() for one in path.iterdir())
  more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
  return f"found {', '.join(names[:_NAMED])}{more}" if names else "found an empty folder"
