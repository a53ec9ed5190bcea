"""Where activations lie on a mesh, by the logical names of their dimensions.

Placement itself is `flan_tune.partition.RULES`: here networks say which dimensions they have.
Axes: b batch, t position, d model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Array, Float

from flan_tune import partition


def constrain(x: Array, *names: str | None) -> Array:
  """`x`, told how it lies; `x` itself without a mesh.

  Args:
    names: Of its dimensions: "batch", "length", "cut_length", "act_embed", "act_heads", "act_kv",
      "act_mlp", "act_vocab"; None for one that every device has whole.
  """
  return partition.constrain(x, *names)


def between(x: Float[Array, "b t d"], config: Any) -> Float[Array, "b t d"]:
  """What goes from layer to layer: with `config.shard_length` cut along t over `model`, too.

  Norms, dropout and what remains for the gradient then take 1/model of the memory; a layer gathers
  its input and scatters the sums it hands on, in place of adding them up on every device
  (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", 4.2.2).
  """
  return constrain(x, "batch", "cut_length" if config.shard_length else "length", "act_embed")


def within(x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
  """What a layer reads: every position of its rows."""
  return constrain(x, "batch", "length", "act_embed")


def places(rows: int) -> int:
  """Over how many places of the mesh a batch of so many rows is cut; 1 where they do not divide."""
  return partition.ways("batch", rows)


def by_device(
  call: Callable[..., Array], arrays: Sequence[Array | None], names: Sequence[Sequence[str | None]]
) -> Array:
  """`call(*arrays)`; on a mesh by each device for its part, as no compiler can cut a kernel.

  Args:
    call: Gives an array that lies like the first of `arrays`.
    arrays: What it takes.
    names: Of the first dimensions of each, as for `constrain`; all other dimensions, and those that
      do not divide, are whole on every device.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return call(*arrays)

  def spec(x: Array | None, names: Sequence[str | None]) -> jax.P:
    sizes = () if x is None else x.shape
    of = lambda name, size: partition.RULES[name] if partition.ways(name, size) > 1 else None
    return jax.P(*(name and of(name, size) for name, size in zip(names, sizes, strict=False)))

  specs = tuple(map(spec, arrays, names))
  return jax.shard_map(call, in_specs=specs, out_specs=specs[0], check_vma=False)(*arrays)


def dimensions(config: Any, lengths: Mapping[str, int]) -> list[partition.Dimension]:
  """What the activations of a network must let a mesh divide, besides the parameters' dimensions.

  Args:
    config: The network's.
    lengths: Of the sides of a row that the network sees.
  """
  found = [partition.Dimension("act_heads", "NUM_HEADS", config.num_heads)]
  if config.shard_length:
    found += [
      partition.Dimension("cut_length", f"(with SHARD_LENGTH) the length of {side}", length)
      for side, length in lengths.items()
    ]
  return found
