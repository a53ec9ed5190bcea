"""Sizes of parameters, gradients and updates by group of parameters, measured on the device.

Which group a parameter belongs to is an ordered table of path patterns, as placement is.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flan_tune import optim

Table = Sequence[tuple[str, str]]

# The first pattern that matches a whole path names the group; "\\1" is what the pattern caught.
# Layers of a stack, scanned or not, share their groups: what goes wrong goes wrong by kind first.
GROUPS: Table = (
  (r"(encoder|decoder)/.*lora_[ab]", r"\1/lora"),
  (r"token_embedder/.*", "embedding"),
  (r"decoder/logits_dense/.*", "logits"),
  (r"(encoder|decoder)/relpos_bias/.*", r"\1/position_bias"),
  (r"(encoder|decoder)/.*/?(\w*norm)/scale", r"\1/norms"),
  (r"decoder/.*encoder_decoder_attention/.*", "decoder/cross_attention"),
  (r"(encoder|decoder)/.*attention/.*", r"\1/attention"),
  (r"(encoder|decoder)/.*mlp/.*", r"\1/mlp"),
)
# What every name of a metric of `measure` begins with.
PREFIXES = ("grad_norm/", "update_norm/", "update_rms/", "param_rms/")


def group_of(path: str, table: Table = GROUPS) -> str:
  """The group of a parameter.

  Raises:
    ValueError: No pattern matches: a norm without some parameters would mislead.
  """
  for pattern, group in table:
    if match := re.fullmatch(pattern, path):
      return match.expand(group)
  raise ValueError(f"no group of norms for parameter {path}")


def measure(
  grads: Any, updates: Any, params: Any, *, table: Table = GROUPS
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Metrics of one step as (value, 1), so that intervals show means over steps.

  Args:
    grads: Of the loss, before the optimiser sees them.
    updates: What is to be added to the parameters.
    params: Before that.
    table: (pattern, group).

  Returns:
    For every group `grad_norm/GROUP` and `update_norm/GROUP`, Euclidean norms over all numbers of
    the group, and `update_rms/GROUP` and `param_rms/GROUP`, roots of the mean of their squares.
  """
  members: dict[str, list[int]] = {}
  leaves = dict(optim.named_leaves(params))
  for place, path in enumerate(leaves):
    members.setdefault(group_of(path, table), []).append(place)
  trees = [jax.tree.leaves(tree) for tree in (grads, updates, params)]
  measured = {}
  for group, places in sorted(members.items()):
    grad, update, param = (optim.global_norm([tree[n] for n in places]) for tree in trees)
    root = sum(trees[2][n].size for n in places) ** 0.5
    values = (grad, update, update / root, param / root)
    measured |= {f"{name}{group}": value for name, value in zip(PREFIXES, values, strict=True)}
  return {name: (value, jnp.ones((), jnp.float32)) for name, value in measured.items()}
