# pyright: reportMissingImports=false
"""A card in one setting as a `seqio.Task`: our renderer is its source, SeqIO does the rest."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from flan_tune import cards, errors, metrics, render, sources
from flan_tune.data import mixing, rendered
from flan_tune.seqio_io import texts
from flan_tune.text import answers

# Marks what we registered, so that registering again replaces it and nothing else.
ORIGIN = "flan_tune"
LONG_RULES = ("trim", "drop")
_ROWS_PER_SHARD = 10_000
_MOST_SHARDS = 64

Features = Mapping[str, Any]  # of seqio.Feature, which is a variable to type checkers


class PromptSource(seqio.DataSource):
  """A source whose `get_dataset` shuffles and prunes exemplars to the lengths asked for itself."""

  origin = ORIGIN

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """Any example can be read without those before it."""
    return True


class CardSource(PromptSource):
  """Rows of a card rendered in one setting, as {"inputs", "targets"} and where they come from.

  Shuffled, an epoch is the Grain feed's order for this task and seed; otherwise the rows come as
  they stand in the file.  A later epoch draws other templates.  `skipped` counts bad rows.
  """

  def __init__(
    self,
    card: cards.TaskCard,
    component: mixing.Component,
    vocabulary: seqio.Vocabulary,
    reading: texts.Reading,
  ):
    super().__init__(splits=tuple(card.splits))
    self.component = component
    self.skipped = texts.Skipped()
    self._card, self._vocabulary, self._reading = card, vocabulary, reading

  def num_input_examples(self, split: str) -> int | None:
    """Rows on disk, None where there are none.  Opens the data."""
    try:
      return len(mixing.open_rows(self._card, str(split)))
    except sources.MissingData:
      return None

  def keep_present_splits(self) -> tuple[str, ...]:
    """Forgets the splits whose data are not there; returns what is left.  Opens the data."""
    self._splits = tuple(split for split in self._splits if self.num_input_examples(split))
    return self._splits

  def list_shards(self, split: str) -> Sequence[str]:
    """Names of parts for programs that read in parallel; empty where the data are missing."""
    rows = self.num_input_examples(split) or 0
    count = min(-(-rows // _ROWS_PER_SHARD), _MOST_SHARDS)
    return [f"{self._card.name}-{split}-{i:05d}-of-{count:05d}" for i in range(count)]

  def get_dataset(
    self,
    split: str = "train",
    shuffle: bool = True,
    seed: Any = None,
    shard_info: seqio.ShardInfo | None = None,
    *,
    sequence_length: texts.Lengths = None,
    use_cached: bool = False,
    num_epochs: int | None = 1,
  ) -> tf.data.Dataset:
    """Texts of the split; exemplars are pruned to `sequence_length["inputs"]` where it is given.

    Raises:
      UserError: The data are not there or hold no usable row.
    """
    del use_cached
    seed = texts.chosen_seed(seed, shuffle=shuffle, shard_info=shard_info)
    settings = self._reading.settings(
      self._vocabulary, seed=seed, split=str(split), lengths=sequence_length
    )
    if shuffle:
      order = rendered.Rendered((self.component,), **settings)
      rows, example = self._rows(str(split)), order.__getitem__
    else:
      rows, example = self._in_order(settings)
    return texts.dataset(
      example,
      positions=texts.ENDLESS if num_epochs is None else rows * num_epochs,
      skip=lambda position, reason: self.skipped.add(self.component.task, reason),
      shard_info=shard_info,
    )

  def _rows(self, split: str) -> int:
    rows = len(mixing.open_rows(self._card, split))
    if not rows:
      raise errors.UserError(f"{self._card.file}: split {split!r} has no rows")
    return rows

  def _in_order(self, settings: dict[str, Any]) -> tuple[int, Callable[[int], render.Example]]:
    rows = self._rows(settings["split"])
    setting, inverted = self.component.setting, self.component.inverted
    try:
      renderer = rendered.open_renderer(self._card.name, **settings)
    except render.BadRow as reason:
      raise errors.UserError(f"{self._card.file}: {reason}") from None

    def example(position: int) -> render.Example:
      epoch, row = divmod(position, rows)
      return renderer.example(row, epoch=epoch, setting=setting, inverted=inverted)

    return rows, example


class CardTask(seqio.Task):
  """A task that reads its own order, pruned to the lengths asked for, unless it is cached."""

  origin = ORIGIN

  def get_dataset(
    self,
    sequence_length: texts.Lengths = None,
    split: str = "train",
    use_cached: bool = False,
    shuffle: bool = True,
    shuffle_buffer_size: int | None = None,
    seed: Any = None,
    shard_info: seqio.ShardInfo | None = None,
    num_epochs: int | None = 1,
    trim_output_features: bool = True,
    try_in_mem_cache: bool = True,
  ) -> tf.data.Dataset:
    """As SeqIO documents it; without a cache there is no shuffle buffer, the order is random."""
    cached = use_cached and self.supports_caching
    if cached or not isinstance(self.source, PromptSource):
      return super().get_dataset(
        sequence_length,
        split,
        use_cached,
        shuffle,
        shuffle_buffer_size,
        seed,
        shard_info,
        num_epochs,
        trim_output_features,
        try_in_mem_cache,
      )
    found = self.source.get_dataset(
      split, shuffle, seed, shard_info, sequence_length=sequence_length, num_epochs=num_epochs
    )
    return self.finished(found, sequence_length, trim=trim_output_features)

  def finished(
    self, found: tf.data.Dataset, lengths: texts.Lengths, *, trim: bool
  ) -> tf.data.Dataset:
    """Texts as token ids, by SeqIO's own steps."""
    lengths = lengths if trim else None
    found = self.preprocess_postcache(self.preprocess_precache(found), lengths)
    found = self._trim_output_features(self._validate_preprocessing(found), lengths)
    return found.prefetch(tf.data.AUTOTUNE)


def make(
  name: str,
  card: cards.TaskCard,
  component: mixing.Component,
  features: Features,
  reading: texts.Reading,
) -> CardTask:
  """The task of a card in one setting; opens nothing."""
  # What an inverted example asks for is a question: no card says how to judge one.
  judged = ("token_f1",) if component.inverted else card.metrics
  return CardTask(
    name,
    source=CardSource(card, component, features["inputs"].vocabulary, reading),
    output_features=features,
    preprocessors=_PREPROCESSORS[reading.long],
    postprocess_fn=_postprocessor("whole" if component.inverted else card.extract),
    metric_fns=[_metric(one) for one in judged],
  )


def _judgeable(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Leaves out examples whose target is no token at all, as the Grain feed does."""
  return dataset.filter(
    tf.autograph.experimental.do_not_convert(lambda example: tf.size(example["targets"]) > 0)
  )


def _drop_long(dataset: tf.data.Dataset, sequence_length: texts.Lengths) -> tf.data.Dataset:
  """Leaves out examples that do not fit with their EOS; an error when none of the first does."""
  limits = {key: limit for key, limit in (sequence_length or {}).items() if limit is not None}
  if not limits:
    return dataset
  message = f"none of the first {texts.GIVE_UP} examples fits {limits}"

  @tf.autograph.experimental.do_not_convert
  def measured(dropped: tf.Tensor, example: Mapping[str, tf.Tensor]):
    checks = [tf.size(example[key]) < limit for key, limit in limits.items() if key in example]
    fits = tf.reduce_all(checks)
    # Once one has fitted the limits are not to blame, and nothing is counted any more.
    dropped = tf.where(fits | (dropped < 0), -1, dropped + 1)
    with tf.control_dependencies([tf.debugging.assert_less(dropped, texts.GIVE_UP, message)]):
      return dropped, (tf.identity(fits), example)

  first = tf.autograph.experimental.do_not_convert(lambda fits, _: fits)
  second = tf.autograph.experimental.do_not_convert(lambda _, example: example)
  return dataset.scan(tf.constant(0), measured).filter(first).map(second)


# EOS goes on after trimming: a target cut short still ends, as in the Grain feed's "trim".
_STEPS = (seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(), _judgeable)
_PREPROCESSORS = {
  "trim": (*_STEPS, seqio.preprocessors.append_eos_after_trim),
  "drop": (*_STEPS, _drop_long, seqio.preprocessors.append_eos_after_trim),
}


@functools.cache
def _postprocessor(extract: str) -> Callable[..., str]:
  def postprocess(text: str, **unused: Any) -> str:
    return answers.EXTRACTORS[extract](text)

  return postprocess


@functools.cache
def _metric(name: str) -> Callable[[Sequence[str], Sequence[str]], dict[str, float]]:
  def metric(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    return {name: metrics.METRICS[name](predictions, targets).value}

  metric.__name__ = name
  return metric
