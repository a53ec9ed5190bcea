"""Parameters that do not learn: a run's checkpoints leave them out and say how to get them again.

They come from INITIAL_CHECKPOINT_PATH or were drawn from the seed.  A checkpoint's `meta.json` has
under "base" where they came from, and checksums that tell whether the same are found again.
"""

import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from flan_tune import errors, optim
from flan_tune.checkpoint import folders, native
from flan_tune.models import lora, stack
from flan_tune.train import trainable

Params = Mapping[str, Any]
# (shapes, shardings or None) -> arrays: of another checkpoint, without adapters.
Read = Callable[[Params, Any], Params]


def initial(network: Any, *, seed: int, read: Read | None = None, shardings: Any = None) -> Params:
  """Parameters before tuning: read where there is something to read, or drawn from the seed.

  Args:
    network: Its adapters are drawn in either case.
    seed: Of the draw, which a mesh does not change.
    read: Reads what the network has besides adapters.
    shardings: Where each array goes; None for the default device.
  """
  draw = lambda: network.init(jax.random.key(seed))
  if read is None:
    return jax.jit(draw, out_shardings=shardings)()
  plain = lambda tree: trainable.choose(tree, lambda path: not lora.is_adapter(path))
  adapters = lambda tree: trainable.choose(tree, lora.is_adapter)
  params = read(plain(network.shapes), shardings and plain(shardings))
  if not adapters(network.shapes):
    return params
  placed = shardings and adapters(shardings)
  return trainable.join(params, jax.jit(lambda: adapters(draw()), out_shardings=placed)())


def describe(frozen: Params, *, seed: int, path: pathlib.Path | None) -> dict[str, Any]:
  """What a checkpoint without them says of the frozen parameters; JSON.

  Args:
    frozen: Of the network, stacked or not.
    seed: Of the draw of what was not read.
    path: Where they were read; of a run, its newest checkpoint is named.
  """
  if path and native.recognises(path):
    path = folders.find(path, None, hashes=False).path
  sums = {name: sha256(array) for name, array in _tensors(frozen)}
  return {"seed": seed, "path": str(path.absolute()) if path else None, "sha256": sums}


def check(frozen: Params, base: Mapping[str, Any], *, where: str) -> None:
  """Raises UserError unless these are the parameters that `base`, from `describe`, tells of."""
  names = set()
  for name, array in _tensors(frozen):
    check_tensor(name, array, base, where=where)
    names.add(name)
  for name in sorted(base["sha256"].keys() - names):
    check_tensor(name, None, base, where=where)


def check_tensor(
  name: str, array: np.ndarray | None, base: Mapping[str, Any], *, where: str
) -> None:
  """Raises UserError unless a frozen parameter is the one that `base` tells of.

  Args:
    name: Of one layer's parameter.
    array: None where there is none.
    base: From `describe`.
    where: The checkpoint, for the message.
  """
  if array is not None and base["sha256"].get(name) == sha256(array):
    return
  found = f"{where}: holds only the parameters that learned, and of the others {name} is not as"
  if base["path"]:
    raise errors.UserError(
      f"{found} it was in training: they were those of {base['path']}; name that checkpoint in"
      " INITIAL_CHECKPOINT_PATH, and restore it if it has changed"
    )
  raise errors.UserError(
    f"{found} it was in training, where seed {base['seed']} drew them: use that seed, and the"
    " version of JAX and the kind of device of the training"
  )


def sha256(array: np.ndarray) -> str:
  """Over dtype, shape and all numbers; a second a gigabyte or less."""
  total = hashlib.sha256(f"{array.dtype} {array.shape}\n".encode())
  total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return total.hexdigest()


def _tensors(params: Params) -> Iterator[tuple[str, np.ndarray]]:
  """Every parameter layer by layer, one at a time in host memory.

  Where parameters lie on several hosts, all of them must go through all of it.
  """
  for name, leaf in optim.named_leaves(params):
    paths, _ = stack.layer_paths(name, leaf.shape)
    for layer, path in enumerate(paths):
      # Not of `leaf` itself: JAX keeps an array's copy on the host as long as the array.
      if paths == [name]:
        one = jnp.copy(leaf)
      else:
        one = jax.lax.dynamic_index_in_dim(leaf, layer, stack.LAYER_AXIS, keepdims=False)
      if not one.is_fully_addressable:  # gathered on every device
        one = multihost_utils.process_allgather(one, tiled=True)
      yield path, np.asarray(one)
