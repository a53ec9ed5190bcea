"""A stack of equal layers, run as a Python loop or as one `lax.scan` over stacked parameters."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

from flan_tune import errors
from flan_tune.models import layers

# What a layer keeps for its gradient instead of computing it again.
REMAT_POLICIES = {
  "none": None,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # weight products stay
  "full": jax.checkpoint_policies.nothing_saveable,
}
LAYER_AXIS = 1  # of stacked parameters, as T5X: t5x/examples/scalable_t5/network.py
_STACKED_PATH = re.compile(r"(encoder|decoder)/\1/(.+)")


def layer_paths(path: str, shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
  """The paths that a parameter has layer by layer, and the shape of one layer's."""
  match = _STACKED_PATH.fullmatch(path)
  if not match:
    return [path], shape
  paths = [f"{match[1]}/layers_{i}/{match[2]}" for i in range(shape[LAYER_AXIS])]
  return paths, shape[:LAYER_AXIS] + shape[LAYER_AXIS + 1 :]


class Stack(nnx.Module):
  """`num_layers` layers named layers_0, layers_1, ... or, scanned, stacked under one name."""

  def __init__(
    self,
    make_layer: Callable[[], nnx.Module],
    num_layers: int,
    *,
    scanned_name: str | None,
    remat: str,
  ):
    """Builds the layers.

    Args:
      make_layer: Gives a new layer.
      num_layers: How many.
      scanned_name: Attribute of the stacked parameters, or None for a loop.
      remat: One of `REMAT_POLICIES`.
    """
    errors.one_of(remat, REMAT_POLICIES, "remat")
    self.num_layers, self.scanned_name, self.remat = num_layers, scanned_name, remat
    if scanned_name is None:
      for i in range(num_layers):
        setattr(self, f"layers_{i}", make_layer())
      return
    graph, state = nnx.split(make_layer())
    widen = lambda leaf: jax.ShapeDtypeStruct(
      (*leaf.shape[:LAYER_AXIS], num_layers, *leaf.shape[LAYER_AXIS:]), leaf.dtype
    )
    setattr(self, scanned_name, nnx.merge(graph, jax.tree.map(widen, state)))

  def draw_keep(
    self,
    key: Array | None,
    rate: float,
    num_rows: int,
    *,
    layer_widths: Sequence[int],
    other_widths: Sequence[int],
  ) -> tuple[Bool[Array, "n b w"] | None, list[Array | None]]:
    """The dropout masks of a call: of each layer, side by side, and the stack's own.

    One draw for all: each costs a quarter of a second to compile, and a layer needs six.
    """
    if key is None or rate == 0.0:
      return None, [None] * len(other_widths)
    width = sum(layer_widths)
    widths = [self.num_layers * width, *other_widths]
    keep = layers.draw_keep(key, rate, (num_rows, sum(widths)))
    of_layers = keep[:, : widths[0]].reshape(num_rows, self.num_layers, width)
    return of_layers.swapaxes(0, 1), layers.cut(keep, widths)[1:]

  def run(self, call: Callable, x: Any, keep: Bool[Array, "n b w"] | None) -> Any:
    """Threads `x` through `call(layer, x, keep) -> x` for each layer."""
    if keep is None:
      return self.fold(lambda layer, x: (call(layer, x, None), None), x)[0]
    return self.fold(lambda layer, x, one: (call(layer, x, one), None), x, keep)[0]

  def fold(self, call: Callable, x: Any, *per_layer: Any) -> tuple[Any, Any]:
    """Threads `x` through `call(layer, x, *items) -> (x, out)` for each layer.

    Args:
      call: A pure function.
      x: What the first layer gets.
      per_layer: What differs between layers.  Looped: sequences of `num_layers` items.  Scanned:
        trees of arrays with a leading layer axis.

    Returns:
      The last `x`, and every layer's `out` in the form that `per_layer` takes.
    """
    step = self._with_remat(call)
    if self.scanned_name is None:
      outs = []
      for i in range(self.num_layers):
        graph, state = nnx.split(getattr(self, f"layers_{i}"))
        x, out = step(graph, state, x, *(items[i] for items in per_layer))
        outs.append(out)
      return x, tuple(outs)
    graph, state = nnx.split(getattr(self, self.scanned_name))
    leading = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, LAYER_AXIS, 0), state)
    body = lambda carry, items: step(graph, items[0], carry, *items[1])
    return jax.lax.scan(body, x, (leading, per_layer))

  def _with_remat(self, call: Callable) -> Callable:
    step = lambda graph, state, x, *items: call(nnx.merge(graph, state), x, *items)
    if self.remat == "none":
      return step
    # Inside a scan the compiler cannot merge the second computation with the first anyway.
    return jax.checkpoint(
      step,
      policy=REMAT_POLICIES[self.remat],
      prevent_cse=self.scanned_name is None,
      static_argnums=0,
    )
