"""What the gallery tells of each task: its card, its data, a few rendered examples."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence

from flan_tune import cards, errors, families, listing, marked, render
from flan_tune.data import mixing, rendered
from flan_tune.gallery import folder, languages

COLLECTION = "flan_2022"
# Rows tried for one kind of example before it is given up: a data set may hold no usable row.
_TRIES = 200

# States of a task's data.
ROWS, STAND_IN, EMBEDDED, BROKEN, MISSING = "rows", "stand-in", "embedded", "broken", "missing"


@dataclasses.dataclass(frozen=True)
class Sample:
  """Rendered examples of one kind."""

  kind: str
  examples: tuple[render.Example, ...]


@dataclasses.dataclass(frozen=True)
class Shown:
  """A task with what was seen of it.

  Attributes:
    file: Its page's name, without `.html`.
    share: Of the examples of the mixture, 0 to 1; None outside it.
    mixtures: Names of those that contain it.
    rows: On disk.
    used: What is read, as the source names it.
    trouble: Why no example could be made although there are data, or "".
    skipped: Rows that the source leaves out, by reason.
    refused: Rows tried here that gave no example, by reason.
  """

  listed: listing.Listed
  file: str
  family: families.Family
  family_file: str
  share: float | None
  mixtures: tuple[str, ...]
  languages: tuple[str, ...] = ("en",)
  rows: int | None = None
  used: str = ""
  trouble: str = ""
  samples: tuple[Sample, ...] = ()
  skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
  refused: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @property
  def card(self) -> cards.TaskCard:
    """The task's card."""
    return self.listed.card

  @property
  def kind_of_source(self) -> str:
    """Such as `tfds`."""
    return next(iter(self.card.source))

  @property
  def state(self) -> str:
    """ROWS, STAND_IN, EMBEDDED, BROKEN or MISSING."""
    if not self.listed.present:
      return MISSING
    if not any(sample.examples for sample in self.samples):
      return BROKEN
    if self.kind_of_source == "playground":
      return EMBEDDED
    return STAND_IN if self.listed.stand_in else ROWS

  @property
  def unseen(self) -> bool:
    """Whether no row of it could be read."""
    return self.state in (BROKEN, MISSING)

  @property
  def stand_in(self) -> str:
    """Which other split is read, or ""."""
    return mixing.by_variable(self.listed.stand_in)

  @property
  def missing(self) -> str:
    """How to get the data, or ""."""
    return mixing.by_variable(self.listed.missing)


@dataclasses.dataclass(frozen=True)
class Survey:
  """All that the pages show.

  Attributes:
    of: The mixture that `Shown.share` is about, or "".
    chosen: The mixture that was asked for, or None for all tasks.
  """

  tasks: tuple[Shown, ...]
  of: str
  chosen: str | None
  seed: int
  count: int

  @functools.cached_property
  def families(self) -> dict[str, list[Shown]]:
    """Template family to its tasks, by name."""
    found: dict[str, list[Shown]] = {}
    for shown in self.tasks:
      found.setdefault(shown.family.name, []).append(shown)
    return dict(sorted(found.items()))


def take(name: str | None, *, without: Sequence[str], count: int, seed: int) -> Survey:
  """Looks at every task of a mixture (all without a name).

  Raises:
    UserError: No such name, no task left, or a family of templates is wrong.
  """
  listed = listing.tasks(name, without=without)
  if not listed:
    raise errors.UserError(f"{name or 'gallery'}: no task is left after leaving out {without!r}")
  collection = cards.load()
  of = name if name is not None and name in collection.mixtures else COLLECTION
  files = folder.file_names(one.name for one in listed)
  family_files = folder.file_names(sorted({one.card.templates for one in listed}))
  shares = _shares(of, without) if of in collection.mixtures else {}
  mixtures, tabled = _mixtures(collection), languages.tabled()
  shown = []
  for one in listed:
    templates = one.card.templates
    bare = Shown(
      one,
      files[one.name],
      families.family(templates),
      family_files[templates],
      share=shares.get(one.name),
      mixtures=mixtures.get(one.name, ()),
      languages=languages.of(one.card, tabled),
    )
    shown.append(_with_rows(bare, count, seed) if one.present else bare)
  return Survey(tuple(shown), of if shares else "", name, seed, count)


def _shares(name: str, without: Sequence[str]) -> dict[str, float]:
  """Task to its share with all data there."""
  try:
    return mixing.task_rates(mixing.nominal(name, without=without))
  except errors.UserError:  # nothing of it is left: then nothing has a share of it
    return {}


def _mixtures(collection: cards.Collection) -> dict[str, tuple[str, ...]]:
  found: dict[str, tuple[str, ...]] = {}
  for name in sorted(collection.mixtures):
    for card in collection.members(name):
      found[card.name] = (*found.get(card.name, ()), name)
  return found


def _with_rows(bare: Shown, count: int, seed: int) -> Shown:
  try:
    renderer = rendered.open_renderer(bare.card.name, kind=marked.MarkedRenderer, seed=seed)
  except (render.BadRow, errors.UserError) as error:
    return dataclasses.replace(bare, trouble=mixing.by_variable(str(error)))
  refused: collections.Counter[str] = collections.Counter()
  samples = []
  for setting, inverted in renderer.kinds:
    examples = _examples(renderer, setting, inverted, count, refused)
    samples.append(Sample("inverted" if inverted else setting, examples))
  trouble = "" if any(sample.examples for sample in samples) else "none of the first rows is usable"
  return dataclasses.replace(
    bare,
    rows=len(renderer.rows),
    used=str(getattr(renderer.rows, "used", "")),
    trouble=trouble,
    samples=tuple(samples),
    skipped=dict(sorted(getattr(renderer.rows, "problems", {}).items())),
    refused=dict(sorted(refused.items())),
  )


def _examples(
  renderer: render.Renderer,
  setting: str,
  inverted: bool,
  count: int,
  refused: collections.Counter[str],
) -> tuple[render.Example, ...]:
  found: list[render.Example] = []
  for index in range(min(len(renderer.rows), max(_TRIES, count))):
    if len(found) == count:
      break
    try:
      found.append(renderer.example(index, setting=setting, inverted=inverted))
    except (render.BadRow, errors.UserError) as reason:
      refused[mixing.by_variable(str(reason))] += 1
  return tuple(found)
