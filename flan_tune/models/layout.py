"""Where activations lie on a mesh, by the logical names of their dimensions.

Placement itself is `flan_tune.partition.RULES`: here networks say which dimensions they have.
Axes: b batch, t position, d model.
"""

from collections.abc import Mapping
from typing import Any

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
