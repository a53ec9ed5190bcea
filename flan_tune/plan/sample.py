"""The sizes of the first examples of a run's stream, made by the feed's own code.

The stream is shuffled, with every component at its rate in each block, so any beginning of it is a
fair sample, also one that was cut short.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from flan_tune.data import tokens

# What the feed calls an example beyond its limits; every other fault is the row's own.
TOO_LONG = ("inputs too long", "targets too long")


class Sized(NamedTuple):
  """An example before anything is cut off it.

  Attributes:
    position: In the stream.
    component: Number in the plan's components.
    inputs: Tokens, EOS included.
    targets: Likewise.
    fault: Why no limits would let it through; "" if some would.
    shots: Exemplars in the prompt.
    rows: Rows of its task on disk; 0 with a fault.
    window: It is cut out of a longer text, as objectives on running text do.
  """

  position: int
  component: int
  inputs: int
  targets: int
  fault: str
  shots: int
  rows: int
  window: bool

  def too_long(self, lengths: tuple[int, int]) -> str:
    """Which of `TOO_LONG` it is; "" when it fits."""
    if self.inputs > lengths[0]:
      return TOO_LONG[0]
    return TOO_LONG[1] if self.targets > lengths[1] else ""


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Examples of a recipe, as long as they are under its lengths.

  Attributes:
    recipe: With `long` as the run has it.
    features: What the model reads: a key of `converters.CONVERTERS`.
    examples: In the stream's order.
    wanted: So many were asked for.
    seconds: That it took.
    limits: Most tokens of inputs -> the same examples as they are under that limit, where known.
  """

  recipe: tokens.Recipe
  features: str
  examples: tuple[Sized, ...]
  wanted: int
  seconds: float = 0.0
  limits: dict[int, tuple[Sized, ...]] = dataclasses.field(default_factory=dict)

  @property
  def lengths(self) -> tuple[int, int]:
    """Limits of inputs and targets."""
    return self.recipe.lengths

  @property
  def named(self) -> Mapping[str, int]:
    """The same by side."""
    return dict(zip(("inputs", "targets"), self.lengths, strict=True))

  def sizes(self, examples: Iterable[Sized]) -> list[tuple[int, int]]:
    """Tokens of those that the run uses: dropped or cut to the lengths, as its rule is."""
    sound = (one for one in examples if not one.fault)
    if self.recipe.long == "drop":
      return [(one.inputs, one.targets) for one in sound if not one.too_long(self.lengths)]
    most = self.lengths
    return [(min(one.inputs, most[0]), min(one.targets, most[1])) for one in sound]

  @property
  def lost(self) -> float:
    """Share of the sound examples that are too long."""
    sound = [one for one in self.examples if not one.fault]
    return sum(bool(one.too_long(self.lengths)) for one in sound) / max(len(sound), 1)

  def start(self, count: int) -> "Sampled":
    """The first `count` of them, as a sample of their own."""
    return dataclasses.replace(self, examples=self.examples[:count], limits={})

  def under(self, lengths: tuple[int, int]) -> "Sampled":
    """The same examples as they are under other lengths.

    The limit of the inputs decides how many exemplars stand in a few-shot prompt.  Where it falls,
    prompts that still fit stay as they are; where it rises, exemplars that were left out may fit,
    and all few-shot prompts are made again.
    """
    self.limits.setdefault(self.lengths[0], self.examples)
    recipe = dataclasses.replace(self.recipe, lengths=lengths)
    if lengths[0] not in self.limits:
      larger = [limit for limit in self.limits if limit > lengths[0]]
      known = self.limits[min(larger, default=max(self.limits))]
      examples = _examples(recipe)
      few_shot = [one.setting.startswith("fs") for one in recipe.components]
      self.limits[lengths[0]] = tuple(
        _sized(examples.map(one.position))
        if few_shot[one.component] and (not larger or one.inputs > lengths[0])
        else one
        for one in known
      )
    return dataclasses.replace(self, recipe=recipe, examples=self.limits[lengths[0]])


def take(
  recipe: tokens.Recipe,
  *,
  features: str,
  count: int,
  seconds: float,
  clock: Callable[[], float] = time.monotonic,
) -> Sampled:
  """The first `count` examples, or fewer: none is begun once so many seconds have passed."""
  start = clock()
  examples, found = _examples(recipe), []
  for position in range(count):
    if clock() - start > seconds:
      break
    found.append(_sized(examples.map(position)))
  return Sampled(recipe, features, tuple(found), count, clock() - start)


def _examples(recipe: tokens.Recipe) -> tokens.Examples:
  # "trim" would hide how long the examples are.
  return tokens.Examples(dataclasses.replace(recipe, long="drop"))


def _sized(example: tokens.Tokenised) -> Sized:
  return Sized(
    example.position,
    example.component,
    len(example.inputs),
    len(example.targets),
    "" if example.fault in TOO_LONG else example.fault,
    example.shots,
    example.rows,
    example.trimmed,
  )
