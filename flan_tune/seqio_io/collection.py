# pyright: reportMissingImports=false
"""Cards, benchmarks and mixtures under SeqIO's names.

rte_zs_opt, rte_zs_opt_inverted   tasks: a card in one setting
rte, flan_cot, flan_cot_zs_opt    mixtures
bbh_snarks_cot; bbh_cot           a benchmark in one setting; mixtures of them
"""

import functools
import os
from collections.abc import Iterable
from typing import Any

import seqio

from flan_tune import cards, errors
from flan_tune.benchmarks import library
from flan_tune.data import mixing
from flan_tune.seqio_io import benchmarks, mixtures, tasks, texts, vocabularies

_INVERTED = "_inverted"


def register(
  names: Iterable[str] | None = None,
  *,
  vocabulary: seqio.Vocabulary | None = None,
  prefix: str = "",
  shots: int = 5,
  long: str = "trim",
  inputs_length: int | None = None,
) -> tuple[str, ...]:
  """Registers tasks and mixtures with SeqIO; opens no data.  What we registered before is replaced.

  Args:
    names: Mixtures, tasks, benchmarks and suites, with or without a setting; what they are made of
      comes along.  None: everything, in every setting.
    vocabulary: Of inputs and targets; by default `vocabularies.default_path()`, and for playground
      tasks the embedded one.
    prefix: Goes before every name.
    shots: Most exemplars in a few-shot prompt.
    long: "trim" or "drop", for examples beyond the lengths that a program asks for.  Questions of
      benchmarks are never dropped: their front is cut.
    inputs_length: What exemplars are pruned to where a program names no length, as SeqIO's cache
      job; $FLAN_TUNE_INPUTS_LENGTH by default.

  Returns:
    The names, mixtures first.

  Raises:
    UserError: Unknown name, or one that another program has registered; then nothing is changed.
  """
  errors.one_of(long, tasks.LONG_RULES, "long")
  reading = texts.Reading(shots, long, inputs_length or _length_from_environment())
  maker = _Maker(vocabulary, prefix, reading)
  if names is None:
    maker.add_everything()
  else:
    for name in names:
      maker.add(name)
  made = [(seqio.MixtureRegistry, maker.mixtures), (seqio.TaskRegistry, maker.tasks)]
  _refuse_foreign([name for _, providers in made for name in providers])
  for registry, providers in made:
    for name, provider in providers.items():
      registry.remove(name)
      registry.add_provider(name, provider)
  return (*maker.mixtures, *maker.tasks)


class _Maker:
  """Collects providers; a task is made once, whoever needs it."""

  def __init__(self, vocabulary: seqio.Vocabulary | None, prefix: str, reading: texts.Reading):
    self.tasks: dict[str, Any] = {}
    self.mixtures: dict[str, seqio.Mixture] = {}
    self._vocabulary, self._prefix, self._reading = vocabulary, prefix, reading
    self._collection = cards.load()
    self._asked = benchmarks.single(library.load())
    self._suites = benchmarks.several(library.load())

  def add(self, name: str) -> None:
    """A task in one setting, or a mixture with the tasks that it is made of."""
    component = _component(name, self._collection)
    if name in self._asked:
      self._exam(name)
    elif name in self._suites:
      self._exams(name)
    elif component is not None:
      self._task(component)
    else:
      self._refuse_unknown(name)
      _ = self._mixture(name).tasks

  def _refuse_unknown(self, name: str) -> None:
    if name in library.load().names() and name != library.EVERYTHING:
      raise errors.UserError(
        f"{name}: has no right answers that SeqIO could compare; run `flan-tune evaluate`"
      )
    try:
      self._collection.mixture(name)
    except errors.UserError:
      known = [*self._collection.names(), *self._suites, *self._asked]
      raise errors.unknown(name, known, where="task, mixture or benchmark") from None

  def add_everything(self) -> None:
    """Every task in every setting; the members of mixtures are looked up when asked for."""
    known = self._collection
    inverting = _inverting(known)
    for card in known.tasks.values():
      for setting in card.settings:
        self._task(mixing.Component(card.name, setting, False, 1.0))
        if card.name in inverting and setting.startswith("zs"):
          self._task(mixing.Component(card.name, setting, True, 1.0))
    for name in {**known.mixtures, **known.tasks}:
      self._mixture(name)
    for name in known.mixtures:
      settings = {setting for card in known.members(name) for setting in card.settings}
      for setting in sorted(settings):
        self._mixture(f"{name}_{setting}")
    self._add_benchmarks()

  def _add_benchmarks(self) -> None:
    of_cards = self.tasks.keys() | self.mixtures.keys()
    for name in (*self._asked, *self._suites):
      if self._prefix + name in of_cards:
        raise errors.UserError(f"{name!r} is a benchmark, and a task or mixture too; rename one")
    for name in self._asked:
      self._exam(name)
    for name in self._suites:
      self._exams(name)

  def _task(self, component: mixing.Component) -> tasks.CardTask:
    name = f"{self._prefix}{component.task}_{component.kind}"
    if name not in self.tasks:
      card = self._collection.tasks[component.task]
      playground = "playground" in card.source
      features = self._playground_features if playground else self._features
      self.tasks[name] = tasks.make(name, card, component, features, self._reading)
    return self.tasks[name]

  def _mixture(self, name: str) -> mixtures.CardMixture:
    ours = self._prefix + name
    made = mixtures.CardMixture(ours, of=name, task=self._task, reading=self._reading)
    self.mixtures[ours] = made
    return made

  def _exam(self, name: str) -> benchmarks.ExamTask:
    ours = self._prefix + name
    if ours not in self.tasks:
      self.tasks[ours] = benchmarks.make(self._asked[name], ours, self._features, self._reading)
    return self.tasks[ours]

  def _exams(self, name: str) -> None:
    ours = self._prefix + name
    members = [self._exam(one) for one in self._suites[name]]
    self.mixtures[ours] = benchmarks.ExamMixture(ours, members)

  @functools.cached_property
  def _features(self) -> tasks.Features:
    chosen = self._vocabulary
    if chosen is None:
      chosen = vocabularies.sentencepiece(vocabularies.default_path())
    return dict.fromkeys(("inputs", "targets"), seqio.Feature(chosen))

  @functools.cached_property
  def _playground_features(self) -> tasks.Features:
    if self._vocabulary is not None:
      return self._features
    return dict.fromkeys(("inputs", "targets"), seqio.Feature(vocabularies.embedded()))


def _length_from_environment() -> int | None:
  named = os.environ.get("FLAN_TUNE_INPUTS_LENGTH", "")
  if named and not named.isdecimal():
    raise errors.UserError(f"FLAN_TUNE_INPUTS_LENGTH: {named!r} is no number of tokens")
  return int(named) if named else None


def _component(name: str, collection: cards.Collection) -> mixing.Component | None:
  """What a name such as `rte_zs_opt_inverted` stands for; None for other names."""
  stem = name.removesuffix(_INVERTED)
  inverted = stem != name
  for setting in cards.SETTINGS:
    card = collection.tasks.get(stem.removesuffix(f"_{setting}"))
    if not stem.endswith(f"_{setting}") or card is None:
      continue
    errors.one_of(setting, card.settings, f"{name}: setting")
    if inverted and not (setting.startswith("zs") and cards.family(card.templates).inverted):
      raise errors.UserError(f"{name}: {card.templates} has no inverted templates for {setting}")
    return mixing.Component(card.name, setting, inverted, 1.0)
  return None


def _inverting(collection: cards.Collection) -> set[str]:
  """Tasks that have an inverted twin in some mixture."""
  members = {
    member for one in collection.mixtures.values() if one.inverted for member, _ in one.members
  }
  return {
    name
    for name in members & set(collection.tasks)
    if cards.family(collection.tasks[name].templates).inverted
  }


def _refuse_foreign(names: Iterable[str]) -> None:
  for registry in (seqio.MixtureRegistry, seqio.TaskRegistry):
    known = registry.names()
    taken = [name for name in names if name in known and not _ours(registry.get(name))]
    if taken:
      raise errors.UserError(
        f"SeqIO has another program's {taken[0]!r} ({len(taken)} such names); register ours before"
        " it, or under a prefix: flan_tune.seqio_io.register(prefix='flan_tune_')"
      )


def _ours(provider: object) -> bool:
  # By a mark, not by class: a reloaded module has new classes.
  return getattr(provider, "origin", None) == tasks.ORIGIN
