"""From a position of the stream to token ids.  Runs in Grain's workers, opens its data there."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import grain

from flan_tune import cards, denoising, errors, render, vocab
from flan_tune.data import mixing, rendered
from flan_tune.draws import Draws

# What becomes of an example longer than the limits; no third way, and nothing silent.
LONG_RULES = ("drop", "trim")
# What is learnt: to follow instructions, or to restore what is hidden of running text.
INSTRUCTIONS = "instructions"
OBJECTIVES = (INSTRUCTIONS, *denoising.OBJECTIVES)
# Of a text much longer than a window only a part is tokenised: so many characters for each token
# that fits.  Where a token is longer than that, the window is shorter than it could be.
_CHARACTERS = 8
# How far the beginning of that part is moved to begin with a word.
_WORD = 64


class Tokenised(NamedTuple):
  """An example as token ids, EOS included.

  Attributes:
    position: Its place in the stream.
    component: Number in the plan's components.
    inputs: At most the limit, unless `fault` says otherwise.
    targets: Likewise.
    fault: Why it cannot be used as it is: "" or a reason counted per task.
    trimmed: It was cut to the limits (`long = "trim"`), or is a window of a longer text.
    shots: Exemplars in the prompt.
    rows: Rows of its task on disk, so that a resumed run notices other data.
    problems: What the task's source left out when it was opened, by reason.
  """

  position: int
  component: int
  inputs: tuple[int, ...]
  targets: tuple[int, ...]
  fault: str = ""
  trimmed: bool = False
  shots: int = 0
  rows: int = 0
  problems: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
  """All that a worker needs to make example number `position`, small and plain.

  Attributes:
    vocabulary: SentencePiece; it travels to workers as bytes.
    lengths: Limits in tokens for `inputs` and `targets`, EOS included.
    long: "drop" or "trim", for examples beyond the limits.
    shots: Most exemplars in a few-shot prompt.
    objective: One of OBJECTIVES.  All but "instructions" take an example as running text: inputs
      and targets joined by a space, or the text of a corpus.  They cut a window out of a text that
      is too long, whatever `long` says.
    mode_tokens: Whether an objective's mode tokens stand before the inputs.
    shared_row: Inputs and targets share a row, as decoder-only models have it: windows are as long
      as both limits together.  Instructions keep to the limit of each side.

  Raises:
    UserError: No such objective, or one for which the vocabulary or the lengths do not do.
  """

  components: tuple[mixing.Component, ...]
  vocabulary: vocab.Vocabulary
  lengths: tuple[int, int]
  seed: int
  long: str = "drop"
  shots: int = 5
  split: str = "train"
  objective: str = INSTRUCTIONS
  mode_tokens: bool = True
  shared_row: bool = False

  def __post_init__(self):
    errors.one_of(self.objective, OBJECTIVES, "OBJECTIVE")
    if self.objective != INSTRUCTIONS:
      denoising.check(self.objective, self.layout)

  @functools.cached_property
  def layout(self) -> denoising.Layout:
    """How the objective's examples are written; errors as the recipe's."""
    vocabulary = self.vocabulary
    modes: dict[str, tuple[int, ...]] = {}
    if self.mode_tokens:
      named = {one.mode for one in denoising.OBJECTIVES[self.objective] if one.mode}
      vocabulary.require(sorted(named), f"MODE_TOKENS (of OBJECTIVE = {self.objective!r})")
      modes = {mode: tuple(vocabulary.encode(mode)) for mode in sorted(named)}
    sentinels = range(vocabulary.size - 1, vocabulary.num_pieces - 1, -1)
    return denoising.Layout(self.lengths, self.shared_row, sentinels, vocabulary.eos_id, modes)


@functools.lru_cache(maxsize=8)
def wording(components: tuple[mixing.Component, ...]) -> str:
  """A digest of the cards and templates that the components' examples are made with."""
  digest = hashlib.blake2b(digest_size=16)
  known = cards.load().tasks
  chosen = {one.task: known[one.task] for one in components}
  for card in chosen.values():
    made_with = (card.version, card.source, card.splits, card.features, card.options)
    digest.update(repr((card.name, *made_with, card.option_styles, card.templates)).encode())
  for name in sorted({card.templates for card in chosen.values()}):
    digest.update(repr(cards.family(name)).encode())
  return digest.hexdigest()


class Turns(grain.transforms.Map):
  """Maps a place in what is read to a position of the mixture: lanes take turns.

  Args:
    starts: Lane to the first position that it has not had.
    lanes: How many there are, here or elsewhere.
  """

  def __init__(self, starts: Mapping[int, int], lanes: int):
    self._starts = dict(sorted(starts.items()))
    self._order = tuple(self._starts)
    self._lanes = lanes
    self._round = min(starts.values()) // lanes

  def map(self, element: int) -> int:
    """The position at place `element`; below 0 for one that its lane has had."""
    rounds, turn = divmod(int(element), len(self._order))
    lane = self._order[turn]
    position = (self._round + rounds) * self._lanes + lane
    return position if position >= self._starts[lane] else -1


class Examples(grain.transforms.Map):
  """Maps a position to a `Tokenised` example; a pure function of the recipe and the position."""

  def __init__(self, recipe: Recipe):
    self.recipe = recipe
    self._last: tuple[str, list[int]] = ("", [])

  # Opened on first use and never pickled: workers open their own files.
  def __getstate__(self) -> dict:
    return {"recipe": self.recipe}

  def __setstate__(self, state: dict) -> None:
    self.recipe = state["recipe"]
    self._last = ("", [])

  @functools.cached_property
  def rendered(self) -> rendered.Rendered:
    """The examples as text."""
    recipe = self.recipe
    return rendered.Rendered(
      recipe.components,
      seed=recipe.seed,
      split=recipe.split,
      shots=recipe.shots,
      count_tokens=lambda text: len(self._encoded(text)),
      budget=recipe.lengths[0] - 1,
    )

  def _encoded(self, text: str) -> list[int]:
    """Ids of a text.  The last are kept: a few-shot prompt is counted just before it is used."""
    if self._last[0] != text:
      self._last = (text, self.recipe.vocabulary.encode(text))
    return self._last[1]

  def map(self, element: int) -> Tokenised:
    """The example at position `element`; whatever is wrong with it stands in `fault`.

    Below 0 there is none, and nothing is read.
    """
    position = int(element)
    if position < 0:
      return Tokenised(position, 0, (), ())
    component = self.rendered.component(position)
    denoise = self.recipe.objective != INSTRUCTIONS
    try:
      return (self._denoised if denoise else self._instruction)(position, component)
    except render.BadRow as reason:
      return Tokenised(position, component, (), (), fault=str(reason))

  def _denoised(self, position: int, component: int) -> Tokenised:
    recipe = self.recipe
    draws = Draws(recipe.seed, "denoising", position)
    text = self.rendered.text(position)
    part = _part(text, _CHARACTERS * sum(recipe.lengths), draws)
    ids = recipe.vocabulary.encode(part)
    if len(ids) < denoising.LEAST_TOKENS:
      raise render.BadRow(f"fewer than {denoising.LEAST_TOKENS} tokens of text")
    made = denoising.example(ids, recipe.objective, recipe.layout, draws)
    task = recipe.components[component].task
    return Tokenised(
      position,
      component,
      made.inputs,
      made.targets,
      trimmed=made.cut or len(part) < len(text),
      rows=self.rendered.rows(task),
      problems=tuple(self.rendered.problems(task).items()),
    )

  def _instruction(self, position: int, component: int) -> Tokenised:
    example = self.rendered[position]
    eos = self.recipe.vocabulary.eos_id
    made = Tokenised(
      position,
      component,
      (*self._encoded(example.inputs), eos),
      (*self.recipe.vocabulary.encode(example.targets), eos),
      shots=example.shots,
      rows=self.rendered.rows(example.task),
      problems=tuple(self.rendered.problems(example.task).items()),
    )
    return self._limited(made)

  def _limited(self, made: Tokenised) -> Tokenised:
    if len(made.targets) < 2:
      return made._replace(fault="empty target")
    limits = self.recipe.lengths
    if len(made.inputs) <= limits[0] and len(made.targets) <= limits[1]:
      return made
    if self.recipe.long == "drop":
      side = "inputs" if len(made.inputs) > limits[0] else "targets"
      return made._replace(fault=f"{side} too long")
    eos = self.recipe.vocabulary.eos_id
    cut = [
      ids if len(ids) <= limit else (*ids[: limit - 1], eos)
      for ids, limit in zip((made.inputs, made.targets), limits, strict=True)
    ]
    return made._replace(inputs=cut[0], targets=cut[1], trimmed=True)


def _part(text: str, size: int, draws: Draws) -> str:
  """At most `size` characters of a text, from a drawn place on, which begins with a word."""
  if len(text) <= size:
    return text
  start = draws.below(len(text) - size + 1)
  space = text.find(" ", start, start + _WORD) if start else -1
  return text[max(start, space + 1) : start + size]
