"""Initial parameters, distributed as T5X's (T5X: t5x/examples/t5/layers.py and network.py)."""

import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from flan_tune.models.stack import LAYER_AXIS, layer_paths


class Distribution(NamedTuple):
  """Draws of mean 0 and standard deviation 1, and the deviation wanted for a shape."""

  draw: Callable[[Array, tuple[int, ...]], Array] | None  # None: ones
  deviation: Callable[[tuple[int, ...]], float]


def _normal(key, shape):
  return jax.random.normal(key, shape, jnp.float32)


def _truncated(key, shape):
  # 0.8796 is the deviation of a standard normal cut at -2 and 2 (JAX: variance_scaling).
  return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) / 0.87962566103423978


def _uniform(key, shape):
  return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0) * math.sqrt(3.0)


_fan_in = lambda shape: shape[0] ** -0.5
_fan_average = lambda shape: (sum(shape) / 2) ** -0.5


def distributions(head_dim: int) -> tuple[tuple[str, Distribution], ...]:
  """Path patterns in order; the first that matches a whole path decides."""
  # No 1/sqrt(head_dim) in the attention: it is in the initial queries instead.
  query = lambda shape: (shape[0] * head_dim) ** -0.5
  return (
    (r"token_embedder/embedding", Distribution(_normal, lambda shape: 1.0)),
    (r".*/rel_embedding", Distribution(_uniform, _fan_average)),
    (r".*attention/query/kernel", Distribution(_normal, query)),
    (r".*attention/(key|value|out)/kernel", Distribution(_normal, _fan_in)),
    (r".*/kernel", Distribution(_truncated, _fan_in)),
    (r".*/scale", Distribution(None, lambda shape: 1.0)),
  )


def draw_params(key: Array, shapes: Mapping[str, Any], *, head_dim: int) -> Any:
  """Parameters of these shapes; the same numbers whether layers are stacked or not.

  Equal shapes come from one draw: a draw of a new shape costs a third of a second to compile.
  """
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  names = ["/".join(part.key for part in path) for path, _ in leaves]
  places = [layer_paths(name, leaf.shape) for name, (_, leaf) in zip(names, leaves, strict=True)]
  shape_of = {path: shape for paths, shape in places for path in paths}
  numbers = _draw_all(key, shape_of, distributions(head_dim))
  stack = lambda paths: jnp.stack([numbers[path] for path in paths], axis=LAYER_AXIS)
  arrays = [
    numbers[name] if name in numbers else stack(paths)
    for name, (paths, _) in zip(names, places, strict=True)
  ]
  return jax.tree.unflatten(structure, arrays)


def _draw_all(key, shape_of, table) -> dict[str, Array]:
  groups: dict[tuple, list[str]] = {}
  deviations = {}
  for path, shape in sorted(shape_of.items()):
    found = next(value for pattern, value in table if re.fullmatch(pattern, path))
    deviations[path] = found.deviation(shape)
    groups.setdefault((found.draw, shape), []).append(path)
  numbers = {}
  for (draw, shape), paths in groups.items():
    if draw is None:
      numbers |= {path: jnp.ones(shape, jnp.float32) for path in paths}
      continue
    group_key = jax.random.fold_in(key, zlib.crc32(f"{draw.__name__} {shape}".encode()))
    many = draw(group_key, (len(paths), *shape))
    numbers |= {path: many[i] * deviations[path] for i, path in enumerate(paths)}
  return numbers
