"""Attention by cuDNN's fused kernel, through JAX.  Not run yet: no GPU was at hand.

Axes: b batch, t query, s key, h head, n heads of keys (h, or 1 that all share), k head width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flan_tune import errors
from flan_tune.models import layout


def attend(
  queries: Float[Array, "b h t k"],
  keys: Float[Array, "b n s k"],
  values: Float[Array, "b n s k"],
  bias: Float[Array, "1 h t s"] | None,
  mask: Bool[Array, "#b 1 #t s"],
) -> Float[Array, "b h t k"]:
  """The mean of the values, weighted by the softmax over s of query . key + bias.

  The mask, and with it segments, goes in as a part of the bias, b x h x t x s numbers in bfloat16:
  no block is left out, and a learned bias is rounded.

  Raises:
    UserError: The device, the type or the shape is none that cuDNN takes.
  """
  backend = jax.default_backend()
  if backend != "gpu":
    raise _refused(f"this is a {backend}")
  if queries.dtype != jnp.bfloat16:
    raise _refused(f"activations are {queries.dtype} and not bfloat16 (ACTIVATION_DTYPE)")
  heads = ("batch", "act_heads")
  names = (heads, heads, heads, (None, "act_heads"), ("batch",))
  return layout.by_device(_attend, (queries, keys, values, bias, mask), names)


def _attend(queries, keys, values, bias, mask):
  turn = lambda y: y.swapaxes(1, 2)
  try:
    mixed = jax.nn.dot_product_attention(
      turn(queries),
      turn(keys),
      turn(values),
      None if bias is None else bias.astype(queries.dtype),
      mask,
      scale=1.0,
      implementation="cudnn",
    )
  except (NotImplementedError, RuntimeError, ValueError) as error:
    raise _refused(" ".join(str(error).split())) from None
  return turn(mixed)


def _refused(reason: str) -> errors.UserError:
  return errors.UserError(
    f"ATTENTION_KERNEL = 'cudnn': is for NVIDIA's GPUs, but {reason}; use 'xla'"
  )
