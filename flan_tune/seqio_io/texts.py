# pyright: reportMissingImports=false
"""Rendered examples as a `tf.data.Dataset` of texts.

    range(shard, positions, shards) -> render -> {"inputs", "targets", "_task", ...}

Rendering is a pure function of the position, so the dataset's state is one number: a program that
saves tf.data iterators continues exactly (a Python generator could not be saved at all).
"""

import collections
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf

from flan_tune import errors, render
from flan_tune.seqio_io import vocabularies

_log = logging.getLogger(__name__)
# TensorFlow makes examples in several threads.  Not a task's own, since Beam copies tasks.
_COUNTING = threading.Lock()

ENDLESS = 1 << 48
# What goes along with an example for whoever reads it; feature converters leave it out.
PASSED_THROUGH = ("_task", "_template", "_kind")
Lengths = Mapping[str, Any] | None
# After so many positions of which none has an example, there is no point in going on.
GIVE_UP = 1000
_KEYS = ("inputs", "targets", *PASSED_THROUGH)


def chosen_seed(seed: Any, *, shuffle: bool, shard_info: seqio.ShardInfo | None) -> int:
  """SeqIO's seed as an integer; one at random where SeqIO allows any order.

  Shards of one dataset are parts of one order, so without a seed they agree on 0.
  """
  if seed is not None:
    return int(seed)
  alone = shard_info is None or shard_info.num_shards == 1
  return secrets.randbelow(1 << 31) if shuffle and alone else 0


class Reading(NamedTuple):
  """How examples are made, whoever asks for them.

  Attributes:
    shots: Most exemplars in a few-shot prompt.
    long: "trim" or "drop", for examples beyond the lengths that a program asks for.
    inputs_length: What exemplars are pruned to where a program names no length, as the cache job.
  """

  shots: int = 5
  long: str = "trim"
  inputs_length: int | None = None

  def settings(
    self, vocabulary: seqio.Vocabulary, *, seed: int, split: str, lengths: Lengths
  ) -> dict[str, Any]:
    """Arguments of `rendered.Rendered`, the same as the Grain feed's for these lengths."""
    length = (lengths or {}).get("inputs") or self.inputs_length
    found: dict[str, Any] = {"seed": seed, "split": split, "shots": self.shots}
    if length is not None:
      found |= {"budget": int(length) - 1, "count_tokens": vocabularies.counter(vocabulary)}
    return found


class Skipped:
  """Rows without an example, counted by task and reason; each task is named once."""

  def __init__(self):
    self.counts: dict[str, collections.Counter] = {}

  def add(self, task: str, reason: str) -> None:
    """Counts one."""
    with _COUNTING:
      is_first = task not in self.counts
      self.counts.setdefault(task, collections.Counter())[reason] += 1
    if is_first:
      _log.warning("%s: a row is skipped (%s); others are only counted", task, reason)


def dataset(
  example: Callable[[int], render.Example],
  *,
  positions: int,
  skip: Callable[[int, str], None],
  shard_info: seqio.ShardInfo | None = None,
) -> tf.data.Dataset:
  """Texts of positions 0 to `positions`; shard k of n has those that leave k when divided by n.

  Args:
    example: Position to example; raises `render.BadRow` where there is none.
    skip: Told the position and the reason of those.
  """
  fruitless = 0

  def made(position: np.int64) -> np.ndarray:
    nonlocal fruitless
    try:
      one = example(int(position))
    except render.BadRow as reason:
      skip(int(position), str(reason))
      fruitless += 1
      if fruitless == GIVE_UP:
        raise errors.UserError(f"none of the first {GIVE_UP} rows can be used: {reason}") from None
      return np.array([b""] * len(_KEYS), object)
    fruitless = -ENDLESS
    parts = (one.inputs, one.targets, one.task, one.template, one.kind)
    return np.array([part.encode() for part in parts], object)

  @tf.autograph.experimental.do_not_convert
  def texts(position: tf.Tensor) -> tf.Tensor:
    # Stateless, as rendering is: tf.data saves no iterator over a stateful function.
    parts = tf.numpy_function(made, [position], tf.string, stateful=False)
    return tf.ensure_shape(parts, [len(_KEYS)])

  @tf.autograph.experimental.do_not_convert
  def usable(parts: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(parts[-1]) > 0

  @tf.autograph.experimental.do_not_convert
  def named(parts: tf.Tensor) -> dict[str, tf.Tensor]:
    return dict(zip(_KEYS, tf.unstack(parts), strict=True))

  first, step = (shard_info.index, shard_info.num_shards) if shard_info else (0, 1)
  return tf.data.Dataset.range(first, positions, step).map(texts).filter(usable).map(named)
