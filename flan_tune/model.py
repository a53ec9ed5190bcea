"""A model ready for use: network, parameters and vocabulary together.

model = ft.load("runs/quickstart")
model.generate(["Sort these: pear, fig, apple"])
model.decode(["Once"], num_samples=4, temperature=0.7, stop=["."])
model.score([("2 + 2 =", "4")])
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import converters, errors, partition, vocab
from flan_tune.models import beam
from flan_tune.models.decode import Decoded, Decoding, checked

# Prompts are padded to one of these lengths, so that few shapes are compiled.
_BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_SENTINEL = re.compile(r"<extra_id_\d+>")  # how `Vocabulary.decode` writes sentinels
_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python reads other bytes than UTF-8 as
# What a character's escape looks like before its end, behind the marker; see `text.escape`.
_HALF_ESCAPE = re.compile(r"u?[0-9a-f]*")
LONG = ("refuse", "cut")


class Generation(NamedTuple):
  """One answer.

  Attributes:
    text: Without the stop string and what follows it.
    tokens: With the end of sequence, or up to the token that completes a stop string.
    log_probs: Of each token under the model itself, whatever it was drawn from.
    log_prob: Their sum.
    score: Of beams, log-probability / length penalty of the answer before any cut, or plain
      log-probability when no beam ended; otherwise `log_prob`.
    ended: Why: "eos", "stop" or "length".
  """

  text: str
  tokens: tuple[int, ...]
  log_probs: tuple[float, ...]
  log_prob: float
  score: float
  ended: str


class Judged(NamedTuple):
  """How likely a given target is.

  Attributes:
    log_probs: Of each of its tokens, in nats, float32.
    greedy: Whether no token is less likely than another one would be in its place.
  """

  log_probs: tuple[float, ...]
  greedy: bool

  @property
  def log_prob(self) -> float:
    """Of the whole target."""
    return sum(self.log_probs)


Text = str | Sequence[int]  # or token ids, which are taken as they are


class Model:
  """Text in, text out.

  Attributes:
    network: Of `flan_tune.models`: pure functions of the parameters.
    params: Nested dict of arrays under T5X's names.
    vocabulary: SentencePiece.
  """

  def __init__(self, network: Any, params: Mapping[str, Any], vocabulary: vocab.Vocabulary):
    self.network = network
    self.params = params
    self.vocabulary = vocabulary
    self._sharding: jax.sharding.NamedSharding | None = None
    self._compile()

  def _compile(self, **options: Any) -> None:
    """Makes the compiled functions; `options` are `jax.jit`'s."""
    generate = functools.partial(_generate, self.network)
    self._generate = jax.jit(generate, static_argnames="decoding", **options)
    self._judge = jax.jit(self.network.judge, **options)
    self._logits = jax.jit(self.network.logits, **options)

  def with_params(self, params: Mapping[str, Any]) -> "Model":
    """The same model, compiled functions included, with other parameters."""
    other = object.__new__(Model)
    other.__dict__.update(self.__dict__, params=params)
    return other

  def on(self, mesh: jax.sharding.Mesh, *, placed: bool = False) -> "Model":
    """The same model on a mesh: parameters placed by its table, batches cut over their axes.

    Where the mesh spans several processes, each of them asks the same at the same time, and gets
    all answers.

    Args:
      mesh: As `partition.make_mesh` makes it.
      placed: The parameters are on it already.
    """
    params = self.params
    if not placed:
      shardings = partition.shardings(params, self.network.axes, mesh)
      params = jax.tree.map(partition.place, params, shardings)
    other = self.with_params(params)
    other._sharding = jax.sharding.NamedSharding(mesh, partition.BATCH)
    if not other._sharding.is_fully_addressable:
      # A process can read only what lies on its own devices.
      other._compile(out_shardings=jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    return other

  def count_tokens(self, text: str) -> int:
    """Tokens of a text with its end of sequence."""
    return len(self._ids(text))

  def can_write(self, text: str) -> bool:
    """Whether an answer can hold the text; T5's vocabulary has no newline, for one."""
    # Between letters, because SentencePiece may strip white space at the ends of a text.
    return all(self.vocabulary.can_encode(f"a{part}a") for part in _SENTINEL.split(text))

  def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
    """The text of the best answer to each prompt: of `decode`, whose options it takes."""
    answers = self.decode(prompts, **options)
    return [max(several, key=lambda one: one.score).text for several in answers]

  def decode(
    self,
    prompts: Sequence[str],
    *,
    max_tokens: int = 128,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_beams: int = 0,
    length_penalty: float = 0.6,
    num_samples: int = 1,
    stop: Sequence[str] | str = (),
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    batch_size: int = 32,
    max_input_tokens: int | None = None,
    long: str = "refuse",
    progress: Callable[[int], None] | None = None,
  ) -> list[list[Generation]]:
    """Answers to each prompt, in the order of `prompts`.

    They do not depend on `batch_size` or on what else is asked, but for the number of a prompt,
    which with `seed` decides what is drawn for it.

    Args:
      prompts: Any length; an empty one is just EOS.
      max_tokens: Most tokens of one answer.
      temperature: 0 takes the best token each time; above, tokens are drawn.
      top_k: Draw from so many of the best tokens; 0 from all.
      top_p: Draw from the fewest best tokens whose probabilities add up to this.
      num_beams: Beam search with so many, as T5X does it; 0 for none.
      length_penalty: Beams are ranked by log-probability / ((5 + length) / 6) ** length_penalty.
      num_samples: Answers per prompt, in the order drawn; of beams the best, best first (fewer
        if fewer beams have ended).
      stop: Texts, or one; an answer ends before the first of them that its tokens complete.
      seed: Request i draws with the key fold_in(key(seed), numbers[i]).
      numbers: Of the prompts, below 2**32; by default their places, 0 for the first.
      batch_size: Prompts decoded together.
      max_input_tokens: Longest prompt, EOS included; any length by default.
      long: What to do with a longer one: "refuse" it, or "cut" off its front; in a few-shot prompt
        the question stands at the end.
      progress: Told how many prompts are done.

    Raises:
      UserError: A prompt is too long, the vocabulary cannot represent a stop string, or an option
        has a bad value.
    """
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    decoding = Decoding(
      max_tokens=max_tokens,
      num_samples=num_samples,
      temperature=float(temperature),
      top_k=top_k,
      top_p=float(top_p),
      num_beams=num_beams,
      length_penalty=float(length_penalty),
      stop=self._stop_tokens(stop),
    )
    if num_beams:  # they end by themselves; their texts are cut
      decoding = decoding._replace(stop=())
    ids = self._prompts(prompts, max_input_tokens, long)
    keys = _numbered(numbers, len(ids))
    return self._answers(
      ids, checked(decoding), stop, seed=seed, keys=keys, batch_size=batch_size, progress=progress
    )

  def score(self, pairs: Sequence[tuple[Text, Text]], *, batch_size: int = 32) -> np.ndarray:
    """Log-probability of each target given its input, EOS included: float32 [len(pairs)]."""
    return np.array([one.log_prob for one in self.judge(pairs, batch_size=batch_size)], np.float32)

  def judge(
    self,
    pairs: Sequence[tuple[Text, Text]],
    *,
    eos: bool = True,
    batch_size: int = 32,
    max_input_tokens: int | None = None,
    long: str = "refuse",
  ) -> list[Judged]:
    """How likely each target is given its input, token by token.

    Args:
      pairs: (input, target), texts or token ids; ids are taken as they are.
      eos: The end of sequence is part of targets given as texts.
      batch_size: Pairs judged together; changes no figure but for rounding.
      max_input_tokens: Of inputs; with `long` as in `decode`.
      long: What to do with a longer one.
    """
    inputs = self._prompts([first for first, _ in pairs], max_input_tokens, long)
    targets = [self._sequence(second, eos=eos) for _, second in pairs]
    encoded = list(zip(inputs, targets, strict=True))
    judged: list[Judged] = [Judged((), True)] * len(encoded)
    converter = converters.CONVERTERS[self.network.features]
    batch_size = self._num_rows(len(encoded), batch_size)
    for chosen in _groups([sum(map(len, pair)) for pair in encoded], batch_size):
      rows = [encoded[number] for number in chosen]
      # Each side has a length of its own: logits of long inputs' length would fill the memory.
      longest = [_padded(max(map(len, side))) for side in zip(*rows, strict=True)]
      lengths = dict(zip(("inputs", "targets"), longest, strict=True))
      batch = converter.unpacked(rows, lengths, batch_size=batch_size)
      made = jax.tree.map(np.asarray, self._judge(self.params, self._placed(batch)))
      for row, number in enumerate(chosen):
        # Where targets count: of decoder-only models behind the inputs.
        counts = np.flatnonzero(batch["decoder_loss_weights"][row])
        log_probs = -made.loss[row, counts]
        judged[number] = Judged(tuple(log_probs.tolist()), bool(made.correct[row, counts].all()))
    return judged

  def logits(self, batch: Mapping[str, Any]) -> jax.Array:
    """Logits of a batch under T5X's feature names (see `flan_tune.batch`): float32 [b, t, v]."""
    return self._logits(self.params, dict(batch))

  def _placed(self, batch: Any) -> Any:
    return batch if self._sharding is None else partition.put(batch, self._sharding)

  def _num_rows(self, count: int, batch_size: int) -> int:
    """Rows of a batch: no more than needed, and powers of two, so that few numbers are compiled."""
    if batch_size < 1:
      raise errors.UserError(f"batch_size: {batch_size} is below 1")
    rows = min(batch_size, 1 << (count - 1).bit_length())
    shape = {} if self._sharding is None else self._sharding.mesh.shape
    ways = shape.get("data", 1) * shape.get("fsdp", 1)
    return -(-rows // ways) * ways

  def _sequence(self, text: Text, *, eos: bool = True) -> list[int]:
    if not isinstance(text, str):
      return list(text)
    return self._ids(text) if eos else self._ids(text)[:-1]

  def _ids(self, text: str) -> list[int]:
    if not isinstance(text, str):
      raise errors.UserError(f"expected texts, found {type(text).__name__}: {text!r}")
    if _SURROGATE.search(text):
      raise errors.UserError(f"expected texts, found bytes that are not UTF-8: {text!r}")
    return [*self.vocabulary.encode(text), self.vocabulary.eos_id]

  def _prompts(self, prompts: Sequence[Text], limit: int | None, long: str) -> list[list[int]]:
    errors.one_of(long, LONG, "long")
    if isinstance(prompts, str):
      raise errors.UserError(f"prompts: one text, {prompts!r}; put it into a list")
    ids = [self._sequence(prompt) for prompt in prompts]
    if limit is None:
      return ids
    if limit < 1:
      raise errors.UserError(f"max_input_tokens: {limit} is below 1")
    for number, one in enumerate(ids, start=1):
      if len(one) > limit and long == "refuse":
        raise errors.UserError(
          f"prompt {number} of {len(ids)}: has {len(one)} tokens and max_input_tokens is {limit};"
          " raise it, or set long='cut' to keep the end of long prompts"
        )
    return [one[-limit:] for one in ids]

  def _stop_tokens(self, stop: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """How stop strings are spelled, alone and behind a letter; there may be other spellings."""
    found = {}
    for one in stop:
      parts = _SENTINEL.split(one) if isinstance(one, str) else []
      if not one or not parts:
        raise errors.UserError(f"stop: {one!r} is not a text of at least one character")
      if not self.can_write(one):
        raise errors.UserError(
          f"stop: no answer can hold {one!r}, which vocabulary {self.vocabulary.name} cannot"
          " represent; use another stop string"
        )
      if len(parts) == 1 and not (self.vocabulary.escape and _HALF_ESCAPE.fullmatch(one)):
        letter, after = self.vocabulary.encode("a"), self.vocabulary.encode(f"a{one}")
        behind = after[len(letter) :] if after[: len(letter)] == letter else []
        found |= dict.fromkeys((tuple(self.vocabulary.encode(one)), tuple(behind)))
    return tuple(tokens for tokens in found if tokens)

  def _answers(
    self,
    ids: Sequence[Sequence[int]],
    decoding: Decoding,
    stop: Sequence[str],
    *,
    seed: int,
    keys: np.ndarray,
    batch_size: int,
    progress: Callable[[int], None] | None,
  ) -> list[list[Generation]]:
    answer = functools.partial(self._decode_ids, ids, seed=seed, keys=keys, batch_size=batch_size)
    finish = functools.partial(self._generation, stop=stop, is_beam=decoding.num_beams > 0)
    answers: list[list[Generation]] = [[] for _ in ids]
    again = []
    made = answer(range(len(ids)), decoding)
    for done, (number, rows) in enumerate(made, start=1):
      answers[number] = [finish(row) for row in rows]
      if any(_fooled(one, decoding) for one in answers[number]):
        again.append(number)
      if progress:
        progress(done)
    # Tokens may look like a stop string that the text does not hold; they must not end an answer.
    for number, rows in answer(again, decoding._replace(stop=())):
      answers[number] = [finish(row) for row in rows]
    return answers

  def _decode_ids(
    self,
    ids: Sequence[Sequence[int]],
    numbers: Sequence[int],
    decoding: Decoding,
    *,
    seed: int,
    keys: np.ndarray,
    batch_size: int,
  ) -> Iterator[tuple[int, list["_Row"]]]:
    """The answers to these of the prompts, as they come."""
    batch_size = self._num_rows(len(numbers), batch_size)
    key = jax.random.key(seed)
    for places in _groups([len(ids[number]) for number in numbers], batch_size):
      chosen = [numbers[place] for place in places]
      # Rows left over repeat the last prompt and its key: they end when it ends.
      filled = np.array([*chosen, *chosen[-1:] * (batch_size - len(chosen))], np.int32)
      tokens = np.zeros((batch_size, _padded(len(ids[chosen[-1]]))), np.int32)
      for row, number in enumerate(filled):
        tokens[row, : len(ids[number])] = ids[number]
      rows = self._placed((tokens, keys[filled]))
      made = jax.tree.map(
        np.asarray, self._generate(self.params, rows[0], key, rows[1], decoding=decoding)
      )
      for row, number in enumerate(chosen):
        several = map(_Row, made.tokens[row], made.log_probs[row], made.scores[row])
        yield number, [one for one in several if not one.score <= beam.NOTHING]  # NaN stays

  def _generation(self, row: "_Row", stop: Sequence[str], *, is_beam: bool) -> Generation:
    ends = np.flatnonzero(row.tokens == self.vocabulary.eos_id)
    length, ended = (int(ends[0]) + 1, "eos") if len(ends) else (len(row.tokens), "length")
    tokens = row.tokens[:length].tolist()
    text = self.vocabulary.decode(tokens)
    for count in range(1, length + 1) if stop else ():
      so_far = self.vocabulary.decode(tokens[:count])
      places = [(so_far.find(one), len(one)) for one in stop]
      # The text up to there must stay: half an escape is other text once it is whole.
      found = [at for at, size in places if at >= 0 and text.startswith(so_far[: at + size])]
      if found:
        text, ended, tokens = so_far[: min(found)], "stop", tokens[:count]
        break
    log_probs = tuple(row.log_probs[: len(tokens)].tolist())
    log_prob = sum(log_probs)
    score = float(row.score) if is_beam else log_prob
    return Generation(text, tuple(tokens), log_probs, log_prob, score, ended)


class _Row(NamedTuple):
  """What a network made of one answer."""

  tokens: np.ndarray  # int32 [t]
  log_probs: np.ndarray  # float32 [t]
  score: float


def _generate(network, params, prompts, key, numbers, *, decoding) -> Decoded:
  keys = None
  if decoding.temperature > 0.0:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
  return network.generate(params, prompts, decoding, keys)


def _fooled(answer: Generation, decoding: Decoding) -> bool:
  """Whether tokens ended the answer although its text holds no stop string."""
  tokens = answer.tokens
  return answer.ended == "length" and any(
    tokens[start : start + len(one)] == one for one in decoding.stop for start in range(len(tokens))
  )


def _numbered(numbers: Sequence[int] | None, count: int) -> np.ndarray:
  """What the key of each prompt is made of: uint32 [count]."""
  if numbers is None:
    return np.arange(count, dtype=np.uint32)
  if len(numbers) != count:
    raise errors.UserError(f"numbers: {len(numbers)} for {count} prompts")
  return np.asarray(numbers, np.uint32)


def _groups(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
  """Groups of at most `batch_size` numbers of like length, the longest last."""
  order = sorted(range(len(lengths)), key=lambda number: lengths[number])
  return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@functools.cache
def _padded(length: int) -> int:
  """The bucket of a length."""
  fitting = [bucket for bucket in _BUCKETS if bucket >= length]
  return fitting[0] if fitting else -(-length // _BUCKETS[-1]) * _BUCKETS[-1]
