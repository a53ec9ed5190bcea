"""Parameters layer by layer <-> stacked over layers for `lax.scan`, as functions of the dict.

Layer by layer: encoder/layers_0/attention/query/kernel, [emb, heads * head_dim].
Stacked: encoder/encoder/attention/query/kernel, [emb, layers, heads * head_dim]
(T5X: t5x/examples/scalable_t5/network.py, which also puts the layers' axis at 1).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LAYER_AXIS = 1
STACKS = ("encoder", "decoder")
_PREFIX = "layers_"

Params = Mapping[str, Any]


def stack_layers(params: Params) -> dict[str, Any]:
  """The stacked form of parameters given layer by layer; NumPy arrays stay NumPy arrays."""
  return dict(params) | {name: _stacked(name, params[name]) for name in STACKS if name in params}


def unstack_layers(params: Params) -> dict[str, Any]:
  """The inverse of `stack_layers`."""
  return dict(params) | {name: _unstacked(name, params[name]) for name in STACKS if name in params}


def is_stacked(params: Params) -> bool:
  """True for the form that `stack_layers` gives."""
  return any(name in params.get(name, {}) for name in STACKS)


def _stacked(name: str, stack: Params) -> dict[str, Any]:
  count = sum(key.startswith(_PREFIX) for key in stack)
  if count == 0:
    raise ValueError(f"{name}: no {_PREFIX}0, {_PREFIX}1, ... to stack")
  each = [stack[f"{_PREFIX}{i}"] for i in range(count)]
  rest = {key: value for key, value in stack.items() if not key.startswith(_PREFIX)}
  return {name: jax.tree.map(_stack, *each), **rest}


def _stack(*leaves: Any) -> Any:
  library = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
  return library.stack(leaves, axis=LAYER_AXIS)


def _unstacked(name: str, stack: Params) -> dict[str, Any]:
  if name not in stack:
    raise ValueError(f"{name}: no {name}/{name} to take apart")
  count = jax.tree.leaves(stack[name])[0].shape[LAYER_AXIS]
  pick = lambda i: jax.tree.map(lambda leaf: leaf[:, i], stack[name])
  rest = {key: value for key, value in stack.items() if key != name}
  return {f"{_PREFIX}{i}": pick(i) for i in range(count)} | rest
