# pyright: reportMissingImports=false
"""Benchmarks under SeqIO's names, for `seqio.Evaluator` and T5X.

bbh_snarks_cot                              a task: a benchmark in one setting
bbh_snarks, bbh, bbh_cot_zs, flan_eval      mixtures of tasks, at equal rates

A task asks what `flan-tune evaluate` asks, in the same words and order, whatever SeqIO's seed.
Benchmarks without right answers are no tasks: nobody could judge them here.
"""

import collections
import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf

from flan_tune import errors, sources
from flan_tune.benchmarks import library, opening
from flan_tune.benchmarks.card import Benchmark
from flan_tune.benchmarks.exam import RANK, Question
from flan_tune.data import mixing
from flan_tune.draws import Draws, permuted
from flan_tune.evaluate import asking
from flan_tune.seqio_io import tasks, texts, verdicts, vocabularies

_log = logging.getLogger(__name__)

# What SeqIO's programs ask for unless told otherwise; it stands for the split that an exam takes.
SPLIT = "validation"
# Features of an example with their ranks.  Those behind `targets` go along for the postprocessor.
_RANKS = {
  "inputs": 0,
  "targets": 0,
  "_task": 0,
  "_id": 0,
  "_answers": 1,
  "_options": 1,
  "_stop": 1,
  "_facts": 0,
}


class Asked(NamedTuple):
  """A benchmark in a setting."""

  benchmark: Benchmark
  setting: str

  @property
  def key(self) -> str:
    """As an exam's."""
    return f"{self.benchmark.name}_{self.setting}"


def single(known: library.Library) -> dict[str, Asked]:
  """Every benchmark that has right answers in every setting, by name."""
  found = [Asked(one, setting) for one in known.tasks.values() for setting in one.settings]
  return {one.key: one for one in found if one.benchmark.answers is not None}


def several(known: library.Library) -> dict[str, list[str]]:
  """The tasks of each suite, list of suites and benchmark, by name."""
  tasks_ = single(known)
  names = [one for one in known.names() if one not in tasks_ and one != library.EVERYTHING]
  members = {name: [Asked(*pair).key for pair in known.select(name)] for name in names}
  members = {name: [key for key in its if key in tasks_] for name, its in members.items()}
  return {name: its for name, its in members.items() if its}


class ExamSource(tasks.PromptSource):
  """Questions of a benchmark in one setting, as {"inputs", "targets"} and what judges answers.

  Where options are ranked, a question is an example for each option, one after another.
  """

  def __init__(self, asked: Asked, vocabulary: seqio.Vocabulary, reading: texts.Reading):
    super().__init__(splits=(), caching_permitted=False)
    self.asked = asked
    self._vocabulary, self._reading = vocabulary, reading
    self._told = False

  @property
  def splits(self) -> tuple[str, ...]:
    """Those on disk, so that a mixture goes without the others; no file is read for it."""
    missing = {name: self._missing(split) for name, split in self._questions.items()}
    found = tuple(name for name, what in missing.items() if what is None)
    if not found and not self._told:
      self._told = True
      _log.warning("%s: left out: %s", self.asked.key, next(iter(missing.values())))
    return found

  @functools.cached_property
  def _questions(self) -> dict[str, str | None]:
    """Our split names, and those of the card's questions; None stands for the first on disk."""
    card = self.asked.benchmark
    # A card with one split need not name it.
    named = {card.splits[one] if one == "questions" else one: one for one in card.questions}
    return {SPLIT: None} | {name: one for name, one in named.items() if name != SPLIT}

  def _missing(self, split: str | None) -> sources.MissingData | None:
    card = self.asked.benchmark
    exemplars = card.settings[self.asked.setting].exemplars
    for either in (card.questions if split is None else (split,), exemplars):
      lacking = [self._lacks(one) for one in either]
      if lacking and all(lacking):
        return lacking[0]
    return None

  def _lacks(self, split: str) -> sources.MissingData | None:
    card = self.asked.benchmark
    try:
      sources.find_split(card.source, card.splits[split], mixing.data_root(), where=card.file)
    except sources.MissingData as missing:
      return missing
    return None

  def num_input_examples(self, split: str) -> int | None:
    """Examples of the split, None where its data are not there.  Reads them."""
    try:
      return sum(map(len, self._examples(str(split), None)))
    except sources.MissingData:
      return None

  def list_shards(self, split: str) -> Sequence[str]:
    """One name; none where the data are missing."""
    return [f"{self.asked.key}-{split}-00000-of-00001"] if split in self.splits else []

  def get_dataset(
    self,
    split: str = SPLIT,
    shuffle: bool = True,
    seed: Any = None,
    shard_info: seqio.ShardInfo | None = None,
    *,
    sequence_length: texts.Lengths = None,
    use_cached: bool = False,
    num_epochs: int | None = 1,
  ) -> tf.data.Dataset:
    """Texts of the questions, in the exam's order unless they are shuffled.

    Exemplars leave prompts that are longer than `sequence_length["inputs"]`, from their front.
    The seed is of the order alone; the other arguments are as SeqIO documents them.

    Raises:
      UserError: No such split, its data are not there, or they hold no usable question.
    """
    del use_cached
    seed = texts.chosen_seed(seed, shuffle=shuffle, shard_info=shard_info)
    length = (sequence_length or {}).get("inputs") or self._reading.inputs_length
    questions = self._examples(str(split), None if length is None else int(length))
    size = sum(map(len, questions))

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> list[_Example]:
      numbers = range(len(questions))
      if shuffle:
        key = Draws("questions", self.asked.key, seed, epoch).below(1 << 63)
        numbers = [permuted(number, len(questions), key) for number in numbers]
      return [one for number in numbers for one in questions[number]]

    def example(position: np.int64) -> list[np.ndarray]:
      epoch, place = divmod(int(position), size)
      return [np.array(part, object) for part in order(epoch)[place]]

    positions = texts.ENDLESS if num_epochs is None else size * num_epochs
    first, step = (shard_info.index, shard_info.num_shards) if shard_info else (0, 1)
    return tf.data.Dataset.range(first, positions, step).map(_looked_up(example))

  def _examples(self, split: str, length: int | None) -> list[list["_Example"]]:
    """The examples of each question of a split, with all that is odd about them told."""
    errors.one_of(split, self._questions, f"{self.asked.key}: split")
    limit: dict[str, Any] = {}
    if length is not None:  # else no vocabulary is read
      counter = vocabularies.counter(self._vocabulary)
      limit = {"budget": length, "count_tokens": lambda text: counter(text) + 1}
    exam = opening.open_exam(*self.asked, split=self._questions[split], **limit)
    gathered = asking.gather([exam], asking.Options())
    questions = [one.question for one in gathered.asked]
    problems = dict(
      collections.Counter(exam.problems) + collections.Counter(gathered.problems[exam.key])
    )
    if not questions:
      raise errors.UserError(
        f"{self.asked.key}: split {split!r} has no usable question: {problems}"
      )
    shorter = sum(one.dropped > 0 for one in questions)
    fewer = f"{shorter} prompts have fewer exemplars, to fit {length} tokens" if shorter else ""
    left_out = f"left out: {problems}" if problems else ""
    for told in filter(None, (exam.stand_in, left_out, fewer)):
      _log.warning("%s: %s", exam.key, told)
    return [list(_written(exam.key, one, exam.method, exam.stop)) for one in questions]


_Example = tuple[bytes | list[bytes], ...]


def _written(key: str, question: Question, method: str, stop: Sequence[str]) -> Iterator[_Example]:
  """The parts of each example of a question, as _RANKS names them."""
  facts = json.dumps(dict(question.facts), sort_keys=True)
  answers, options, stops = (
    [one.encode() for one in texts_] for texts_ in (question.answers, question.options, stop)
  )
  for target in options if method == RANK else answers[:1]:
    known = (key.encode(), question.id.encode(), answers, options, stops, facts.encode())
    yield (question.prompt.encode(), target, *known)


def _looked_up(example: Any) -> Any:
  """A position's example as a mapping of tensors; stateless, so that iterators can be saved."""

  @tf.autograph.experimental.do_not_convert
  def look_up(position: tf.Tensor) -> dict[str, tf.Tensor]:
    parts = tf.numpy_function(example, [position], [tf.string] * len(_RANKS), stateful=False)
    return {
      name: tf.ensure_shape(part, [None] * rank)
      for (name, rank), part in zip(_RANKS.items(), parts, strict=True)
    }

  return look_up


class ExamTask(tasks.CardTask):
  """A benchmark in one setting."""

  @property
  def splits(self) -> Sequence[str]:
    """Those on disk, which may be none."""
    return self.source.splits


def make(asked: Asked, name: str, features: tasks.Features, reading: texts.Reading) -> ExamTask:
  """The task; opens nothing."""
  return ExamTask(
    name,
    source=ExamSource(asked, features["inputs"].vocabulary, reading),
    output_features=features,
    preprocessors=_PREPROCESSORS,
    postprocess_fn=verdicts.postprocessor(asked.benchmark.extract[asked.setting]),
    metric_fns=[verdicts.metric(asked.benchmark)],
  )


class ExamMixture(seqio.Mixture):
  """Tasks at equal rates; `seqio.Evaluator` gives the figures of each."""

  origin = tasks.ORIGIN

  def __init__(self, name: str, members: Sequence[ExamTask]):
    super().__init__(name, members, default_rate=1.0)


def _keep_the_end(
  dataset: tf.data.Dataset, sequence_length: Mapping[str, Any] | None = None
) -> tf.data.Dataset:
  """Cuts the front off prompts that are too long with their EOS: the question is at the end."""
  limit = (sequence_length or {}).get("inputs")
  if limit is None:
    return dataset

  @tf.autograph.experimental.do_not_convert
  def cut(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    tokens = example["inputs"]
    return {**example, "inputs": tokens[tf.maximum(tf.size(tokens) - (limit - 1), 0) :]}

  return dataset.map(cut)


# No cache: what is read once an evaluation needs none, and a cache knows no length.
_PREPROCESSORS = (
  seqio.preprocessors.tokenize,
  _keep_the_end,
  seqio.preprocessors.append_eos_after_trim,
)
