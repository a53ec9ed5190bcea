"""Where arrays lie: parameters by their paths, an optimiser's state by its parameters, activations.

A model's table gives every parameter's path its logical axes.  `RULES` gives logical axes, those
of parameters and those of activations, their mesh axes.
The logical names are T5X's (T5X: t5x/partitioning.py, standard_logical_axis_rules).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from flan_tune import errors

Table = Sequence[tuple[str, tuple[str, ...]]]

# Logical axis -> mesh axis, or several; None: every device has it whole.
RULES: Mapping[str, str | tuple[str, ...] | None] = {
  # Of parameters.
  "vocab": "model",
  "embed": "fsdp",
  "mlp": "model",
  "joined_kv": "model",
  "kv": None,
  "heads": None,  # of T5's position bias: 32 numbers a head, which the attention needs at once
  "layers": None,
  "relpos_buckets": None,
  "lora": None,
  # Of activations.
  "batch": ("data", "fsdp"),
  "length": None,
  "cut_length": "model",  # of what lies between layers, with SHARD_LENGTH
  "act_embed": None,
  "act_heads": "model",
  "act_kv": None,
  "act_mlp": "model",
  "act_vocab": "model",
}
BATCH = PartitionSpec(RULES["batch"])
# What a user calls them.
TITLES: Mapping[str, str] = {
  "vocab": "VOCAB_SIZE",
  "embed": "EMB_DIM",
  "mlp": "MLP_DIM",
  "joined_kv": "NUM_HEADS x HEAD_DIM",
  "act_heads": "NUM_HEADS",
}


def path_of(keys: Sequence[Any]) -> str:
  """A pytree path as `encoder/layers_0/attention/query/kernel`."""
  return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in keys)


def logical_axes(path: str, axes: Table) -> tuple[str, ...]:
  """The axes of the one pattern that matches the whole path.

  Raises:
    ValueError: No pattern matches, or several do: every parameter is placed on purpose, and no row
      of a table hides behind another.
  """
  found = [(pattern, names) for pattern, names in axes if re.fullmatch(pattern, path)]
  if not found:
    near = errors.nearest(path, [pattern for pattern, _ in axes])
    hint = f"; the nearest is {near!r}" if near else ""
    raise ValueError(f"no placement for parameter {path}: none of {len(axes)} patterns{hint}")
  if len(found) > 1:
    told = " and ".join(repr(pattern) for pattern, _ in found)
    raise ValueError(f"several placements for parameter {path}: {told}")
  return tuple(found[0][1])


def shardings(tree: Any, axes: Table, mesh: Any) -> Any:
  """A sharding for every array of a tree whose paths contain parameter paths.

  Args:
    tree: Arrays or shapes; a training state works, too.  An optimiser's array is placed like its
      parameter when it has its shape.  A node of its state with a method `kept(path, shape, axes)`
      tells of each of its arrays the dimensions of the parameter that are left in it, and these are
      placed like the parameter's.  All else is copied to every device.
    axes: The model's table of path patterns.
    mesh: Of devices, or abstract.

  Raises:
    UserError: The mesh does not divide a parameter's dimension.
  """
  whole = (tree.params, tree.frozen) if hasattr(tree, "params") else (tree,)
  shapes = {
    path_of(keys): leaf.shape
    for params in whole
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  specs = {path: _spec(path, shapes[path], logical_axes(path, axes), mesh) for path in shapes}

  def place(keys, node):
    path = next(filter(shapes.__contains__, _ends(path_of(keys))), None)
    part = lambda leaf, dims: _part(leaf, dims, path, shapes, specs, mesh)
    if not hasattr(node, "kept"):
      return part(node, None)
    if path is None:
      return jax.tree.map(lambda leaf: part(leaf, None), node)
    return jax.tree.map(part, node, node.kept(path, shapes[path], axes))

  return jax.tree_util.tree_map_with_path(place, tree, is_leaf=lambda node: hasattr(node, "kept"))


def _part(leaf, dims, path, shapes, specs, mesh) -> NamedSharding:
  """Where an array lies that has these dimensions (None: all) of the parameter at `path`."""
  spec = PartitionSpec()
  if path is not None:
    dims = range(len(shapes[path])) if dims is None else dims
    if leaf.shape == tuple(shapes[path][d] for d in dims):
      spec = PartitionSpec(*(specs[path][d] for d in dims))
  return NamedSharding(mesh, spec)


def _ends(path: str) -> Iterable[str]:
  """Every end of a path, longest first: a parameter's is one, below its place in the tree."""
  pieces = path.split("/")
  return ("/".join(pieces[start:]) for start in range(len(pieces)))


def _spec(path: str, shape: tuple[int, ...], names: tuple[str, ...], mesh: Any) -> PartitionSpec:
  if len(shape) != len(names):
    raise ValueError(f"axes {names} for {path} of shape {shape}")
  used = [RULES[name] for name in names if RULES[name] is not None]
  if len(set(used)) < len(used):
    raise ValueError(f"axes {names} of {path} name one mesh axis twice")
  for size, name in zip(shape, names, strict=True):
    divide(size, name, mesh, title=f"{TITLES.get(name, name)} = {size} of {path}")
  return PartitionSpec(*(RULES[name] for name in names))


def divide(size: int, name: str, mesh: Any, *, title: str) -> None:
  """Raises UserError unless a dimension's mesh axes cut it evenly.

  Args:
    size: Of the dimension.
    name: Its logical axis.
    mesh: Whose axes.
    title: What the dimension is, with its size, for the message.
  """
  cuts = axes_of(name)
  ways = math.prod(mesh.shape[axis] for axis in cuts)
  if size % ways == 0:
    return
  told = " x ".join(f"{axis}={mesh.shape[axis]}" for axis in cuts)
  fits = [str(n) for n in range(1, mesh.size + 1) if mesh.size % n == 0 and size % n == 0]
  raise errors.UserError(
    f"MESH: {told} does not divide {title}; of {mesh.size} devices, {' x '.join(cuts)} can be"
    f" {' or '.join(fits)}"
  )


def axes_of(name: str) -> tuple[str, ...]:
  """The mesh axes of a logical axis."""
  axes = RULES[name]
  return () if axes is None else (axes,) if isinstance(axes, str) else axes


def ways(name: str, size: int) -> int:
  """Into how many parts the mesh that is set cuts a dimension; 1 where it does not divide.

  Args:
    name: Its logical axis.
    size: Of the dimension.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or set(mesh.axis_types) != {AxisType.Auto}:
    return 1
  count = math.prod(mesh.shape[axis] for axis in axes_of(name))
  return 1 if size % count else count


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
  """`x` lying as `RULES` say of its dimensions' logical axes; None: whole on every device.

  Without a mesh (`jax.set_mesh`), on one device, and where a kernel has taken the mesh into its own
  hands it is `x`.  A dimension that does not divide, such as the last rows of an evaluation, is
  left to the compiler; `check` has refused those of a training.
  """
  if len(names) != x.ndim:
    raise ValueError(f"axes {names} for an activation of shape {x.shape}")
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1 or set(mesh.axis_types) != {AxisType.Auto}:
    return x
  spec = []
  for size, name in zip(x.shape, names, strict=True):
    axes = () if name is None else tuple(one for one in axes_of(name) if one in mesh.shape)
    ways = math.prod(mesh.shape[axis] for axis in axes)
    spec.append(PartitionSpec.UNCONSTRAINED if size % ways else (axes or None))
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))
