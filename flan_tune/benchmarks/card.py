"""Benchmark cards: what is asked and how answers are judged, as YAML without code.

Keys under UNFILLED hold templates whose holes are fields of rows; the holes of all others are
columns of the card's `foreach`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from flan_tune import checked, documents, errors, foreach, metrics
from flan_tune.benchmarks.exam import GENERATE, METHODS
from flan_tune.templating import Template
from flan_tune.text import extraction

SETTINGS = ("direct", "cot", "direct_zs", "cot_zs")
# Figures of all answers together, which `flan_tune.evaluate.summaries` computes.
SUMMARIES = ("auc", "toxicity", "identity_toxicity", "winogender")
FIRST, DRAWN, BALANCED = "first", "drawn", "balanced"
UNFILLED = ("answers", "settings")
FIXED, FIELD, LETTERS = "fixed", "field", "letters"


class Setting(NamedTuple):
  """One way to ask a task.

  Attributes:
    label: As tables of results call it; holes `{shots}` and `{split}`.
    shots: Exemplars in a prompt.
    exemplars: Splits they come from; the first one on disk is taken.
    pick: The first rows, rows drawn by seed, or drawn ones with each answer equally often.
    apart: A field in which exemplars differ from the question, such as the title of an article.
    header: What stands before the exemplars.
    exemplar: A solved question.
    question: The one to solve.
    separator: Between exemplars.
    stop: Templates of the strings that end an answer.
  """

  label: str
  question: Template
  shots: int = 0
  exemplars: tuple[str, ...] = ()
  pick: str = FIRST
  apart: str = ""
  header: Template = Template("")
  exemplar: Template = Template("")
  separator: str = "\n\n"
  stop: tuple[Template, ...] = ()


class Options(NamedTuple):
  """The answers that are allowed.

  Attributes:
    kind: `fixed` for `values`; `field` for what a row's field lists; `letters` for the letters
      "(A)", "(B)", ... of the choices that a field lists, which then reads as one line of text.
    values: The options themselves, or the field's name alone.
  """

  kind: str = FIXED
  values: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
  """A task that models are compared on.

  Attributes:
    name: As it is asked for, `bbh_snarks`.
    suite: The tasks it is averaged with.
    label: Its name in tables of results, `BBH/snarks`.
    version: Raised whenever prompts or judgement change.
    source: One source kind and its argument.
    splits: Our split names to native ones.
    metric: A name of `flan_tune.metrics.METRICS` or of SUMMARIES.
    extract: Rule of `flan_tune.text.extraction` for each setting.
    max_tokens: Most tokens of an answer, for each setting.
    answers: Template of the right answer; the name of a list alone stands for each of its items.
    questions: Splits to ask; the first one on disk is taken.
    chance: Score, 0 to 1, of the best constant or random answer.
    fields: Texts of the card that fill holes of templates besides those of a row.
    facts: Fields that go along with a question, for metrics and reports.
    default: Settings that the name alone stands for.
    file: File and name of the card, for messages.
  """

  name: str
  suite: str
  label: str
  version: int
  source: Mapping[str, Any]
  splits: Mapping[str, str]
  metric: str
  extract: Mapping[str, str]
  max_tokens: Mapping[str, int]
  settings: Mapping[str, Setting]
  default: tuple[str, ...]
  answers: Template | None = None
  questions: tuple[str, ...] = ("questions",)
  options: Options = Options()
  category: str = ""
  chance: float = 0.0
  paper: str = ""
  licence: str = ""
  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  facts: tuple[str, ...] = ()
  method: str = GENERATE
  samples: int = 1
  temperature: float = 0.0
  top_k: int = 0
  held_out: bool = True
  file: str = ""


def read(path: pathlib.Path) -> Iterator[Benchmark]:
  """The benchmarks of a card file.

  Raises:
    UserError: The card is wrong: in one sentence with file, key, value and what is allowed.
  """
  where = documents.shown(path)
  document = documents.read(path)
  unfilled = {key: document.pop(key) for key in UNFILLED if key in document}
  # The templates of all rows of a foreach are the same: parsed once.
  common = {key: _KEYS[key](value, f"{where}: {key}") for key, value in unfilled.items()}
  for filled in foreach.expanded(document, path, where):
    checked.keys(filled | common, where, allowed=_KEYS, required=_REQUIRED)
    card = f"{where}: {checked.name(filled['name'], f'{where}: name')}"
    own = {key: _KEYS[key](value, f"{card}: {key}") for key, value in filled.items()}
    yield _benchmark({**own, **common}, card)


def _benchmark(values: dict[str, Any], card: str) -> Benchmark:
  settings: Mapping[str, Setting] = values["settings"]
  for key in ("extract", "max_tokens"):
    values[key] = _per_setting(values[key], settings, f"{card}: {key}")
  values.setdefault("default", tuple(settings))
  for setting in values["default"]:
    checked.one_of(setting, f"{card}: default", allowed=settings)
  splits = values["splits"]
  asked = values.setdefault("questions", Benchmark.questions)
  for split in (*asked, *(name for one in settings.values() for name in one.exemplars)):
    checked.one_of(split, f"{card}: splits", allowed=splits)
  return Benchmark(**values, file=card)


def _per_setting(values: Any, settings: Mapping[str, Setting], where: str) -> dict[str, Any]:
  """One value for all settings, or one for each manner: `cot_zs` has that of `cot` unless named."""
  if not isinstance(values, dict):
    return dict.fromkeys(settings, values)
  found = {name: values.get(name, values.get(name.removesuffix("_zs"))) for name in settings}
  for name, value in found.items():
    if value is None:
      raise errors.UserError(f"{where}: says nothing of the setting {name!r}")
  return found


def _each(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
  """Checks one value, or those of a mapping of settings."""

  def checks(value: object, where: str) -> Any:
    if not isinstance(value, dict):
      return check(value, where)
    checked.keys(value, where, allowed=SETTINGS)
    return {key: check(one, f"{where}: {key}") for key, one in value.items()}

  return checks


def _source(value: object, where: str) -> Mapping[str, Any]:
  found = checked.mapping(value, where, of="a kind to its argument")
  if len(found) != 1:
    raise checked.wrong(value, "one kind with its argument", where)
  return found


def _texts(value: object, where: str, *, blank: bool = False) -> Mapping[str, str]:
  found = checked.mapping(value, where, of="names to texts")
  return {key: checked.text(one, f"{where}: {key}", blank=blank) for key, one in found.items()}


def _options(value: object, where: str) -> Options:
  if not isinstance(value, dict):
    return Options(FIXED, checked.texts(value, where))
  checked.keys(value, where, allowed=(FIELD, LETTERS))
  if len(value) != 1:
    raise checked.wrong(value, "a list of texts, or {field: NAME}, or {letters: NAME}", where)
  ((kind, name),) = value.items()
  return Options(kind, (checked.text(name, f"{where}: {kind}"),))


def _names(value: object, where: str) -> tuple[str, ...]:
  """A name, or several in order of preference."""
  named = value if isinstance(value, list) else [value]
  return tuple(checked.text(one, where) for one in named)


def _template(value: object, where: str) -> Template:
  return Template(checked.text(value, where, blank=True), where)


def _settings(value: object, where: str) -> Mapping[str, Setting]:
  found = checked.mapping(value, where, of="settings to how they ask")
  if not found:
    raise checked.wrong(value, f"a mapping of settings: {', '.join(SETTINGS)}", where)
  return {name: _setting(name, one, f"{where}: {name}") for name, one in found.items()}


def _setting(name: str, value: object, where: str) -> Setting:
  checked.one_of(name, where.rpartition(": ")[0], allowed=SETTINGS)
  found = checked.mapping(value, where, of="keys to values")
  checked.keys(found, where, allowed=_SETTING, required=("label", "question"))
  read = Setting(**{key: _SETTING[key](one, f"{where}: {key}") for key, one in found.items()})
  Template(read.label, f"{where}: label").check({"shots": "", "split": ""})
  if read.shots and not (read.exemplars and read.exemplar.text):
    raise errors.UserError(
      f"{where}: shots: needs `exemplars`, a split, and `exemplar`, a template"
    )
  return read


_plain = functools.partial(checked.text, blank=True)
_count = functools.partial(checked.whole, least=1)
_SETTING: Mapping[str, Callable[[Any, str], Any]] = {
  "label": checked.text,
  "shots": functools.partial(checked.whole, least=0),
  "exemplars": _names,
  "pick": functools.partial(checked.one_of, allowed=(FIRST, DRAWN, BALANCED)),
  "apart": checked.text,
  "header": _template,
  "exemplar": _template,
  "question": _template,
  "separator": _plain,
  "stop": lambda value, where: tuple(Template(t, where) for t in checked.texts(value, where)),
}
_KEYS: Mapping[str, Callable[[Any, str], Any]] = {
  "name": checked.name,
  "suite": checked.name,
  "label": checked.text,
  "version": _count,
  "category": _plain,
  "paper": _plain,
  "licence": _plain,
  "source": _source,
  "splits": _texts,
  "questions": _names,
  "answers": _template,
  "options": _options,
  "chance": lambda value, where: float(checked.share(value, where)),
  "fields": functools.partial(_texts, blank=True),
  "facts": checked.texts,
  "metric": functools.partial(checked.one_of, allowed=(*metrics.METRICS, *SUMMARIES)),
  "extract": _each(functools.partial(checked.one_of, allowed=extraction.RULES)),
  "max_tokens": _each(_count),
  "method": functools.partial(checked.one_of, allowed=METHODS),
  "samples": _count,
  "temperature": checked.weight,
  "top_k": functools.partial(checked.whole, least=0),
  "held_out": checked.flag,
  "default": _names,
  "settings": _settings,
}
_REQUIRED = (
  "name",
  "suite",
  "label",
  "version",
  "source",
  "splits",
  "metric",
  "extract",
  "max_tokens",
  "settings",
)
