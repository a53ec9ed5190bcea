"""The page that compares runs and evaluations: scores side by side, scaling, configurations."""

import pathlib
from collections.abc import Mapping, Sequence

from flan_tune.report import (
  contestant,
  gin_values,
  means,
  overview,
  page,
  printed,
  scoreboard,
)
from flan_tune.report.benchmark_scores import interval, tenth
from flan_tune.report.contestant import Contestant
from flan_tune.report.exam_page import Section
from flan_tune.report.markup import Column, Markup, breakable, details, element, join, table
from flan_tune.report.scaling_section import section as scaling
from flan_tune.report.scoreboard import MISSING

_MANY = 40  # differing values; a longer table starts folded


def render(folders: Sequence[pathlib.Path], *, models: str | None = None) -> str:
  """The whole page.

  Raises:
    UserError: As `contestant.read_all`; or `models` names none of the published ones.
  """
  several = contestant.read_all(folders)
  published = printed.table()
  sizes = [one.parameters for one in several if one.parameters]
  beside = (
    printed.nearest(published, sizes) if models is None else printed.chosen(published, models)
  )
  lookup = printed.Lookup(published)
  sections: list[Section] = [
    ("runs", "Runs", _runs(several)),
    ("scores", "Scores", _scores(several, lookup, beside)),
    ("average", "Normalised average", _parts(several, lookup, beside)),
    ("scaling", "Scaling", scaling(several, published)),
  ]
  if any(one.run and one.run.averages for one in several):
    sections.append(("training", "Tasks of training", _training(several)))
  sections.append(("configuration", "Configuration", _configuration(several)))
  notices = [f"{one.name}: {notice}" for one in several for notice in one.notices]
  notices += _other_prompts(several)
  title = f"{len(several)} runs compared" if len(several) > 1 else several[0].name
  foot = "Written by flan_tune from the files of the folders."
  return page.document(title, None, notices, None, sections, foot=foot)


def _runs(several: Sequence[Contestant]) -> Markup:
  columns = [Column("run"), Column("model"), Column("mixture"), Column("chains of thought")]
  numbers = ("parameters", "tasks", "step", "average of six")
  columns += [Column(name, number=True) for name in numbers]
  lines = []
  for one in several:
    about = one.examined.checkpoint if one.examined else {}
    mixture = one.run.data.get("mixture") if one.run else None
    step = scoreboard.number(about.get("step"))
    lines.append(
      (
        breakable(one.name),
        breakable(one.model),
        breakable(str(mixture or MISSING)),
        one.kind or "unknown",
        MISSING if one.parameters is None else overview.shown_size(one.parameters),
        MISSING if one.tasks is None else f"{one.tasks:,}",
        MISSING if step is None else f"{step:,.0f}",
        tenth(one.examined.average if one.examined else None),
      )
    )
  return table("What is compared", columns, [(None, lines)])


def _scores(several: Sequence[Contestant], lookup: printed.Lookup, models: Sequence[str]) -> Markup:
  """Means side by side; each but the first with its difference from the first."""
  found = [_means(one, means.of) for one in several]
  grouped = [_means(one, means.groups) for one in several]
  if not any(found):
    return element("p", "None of them has scores of benchmarks.")
  columns = [Column("benchmark and setting"), Column("chance", number=True)]
  columns += [Column(name, number=True) for name in (*(one.name for one in several), *models)]
  body = table("Scores side by side", columns, [(None, _lines(found, lookup, models))])
  groups = table("Groups side by side", columns, [(None, _lines(grouped, lookup, models))])
  folded = details("Groups of tasks", groups) if any(grouped) else None
  said = (
    f"Percentages, with the difference from {several[0].name} in points; below, 95 % intervals over"
    " questions. Two intervals that overlap may still differ: `flan-tune evaluate --compare` tests"
    " the same questions in pairs."
  )
  if models:
    said += f" Printed scores of the paper: {', '.join(models)}."
  return join([element("p", said), body, folded])


def _means(one: Contestant, read) -> dict[tuple[str, str], means.Mean]:
  return {mean.key: mean for mean in read(one.examined)} if one.examined else {}


def _lines(
  found: Sequence[Mapping[tuple[str, str], means.Mean]],
  lookup: printed.Lookup,
  models: Sequence[str],
) -> list[tuple[str, ...]]:
  lines = []
  for key in dict.fromkeys(key for one in found for key in one):
    row = [one.get(key) for one in found]
    chance = next((mean.chance for mean in row if mean), None)
    first = row[0].macro if row[0] else None
    cells = [_cell(mean, first if place else None) for place, mean in enumerate(row)]
    theirs = [lookup.shown(model, *key) for model in models]
    name = next(mean.name for mean in row if mean)
    lines.append((breakable(name), tenth(chance), *cells, *theirs))
  return lines


def _cell(mean: means.Mean | None, first: float | None) -> str:
  if mean is None:
    return MISSING
  below = element("div", interval(mean.low, mean.high), class_="quiet")
  change = _change(mean.macro, first, higher_is_better=mean.higher_is_better)
  return join([element("strong", tenth(mean.macro)), change, below])


def _change(
  value: float | None, first: float | None, *, higher_is_better: bool = True
) -> Markup | None:
  if value is None or first is None:
    return None
  better = value > first if higher_is_better else value < first
  kind = None if value == first else "up" if better else "down"
  return join([" ", element("span", f"{value - first:+.1f}", class_=kind)])


def _parts(several: Sequence[Contestant], lookup: printed.Lookup, models: Sequence[str]) -> Markup:
  """The paper's six (footnote 5) for each, and for the published models."""
  ours = [means.parts(one.examined) if one.examined else {} for one in several]
  names = list(dict.fromkeys(name for parts in ours for name in parts))
  if not names:
    return element("p", "None of them has any of the six parts.")
  theirs = [printed.parts(model) for model in models]
  columns = [Column("part")]
  columns += [Column(name, number=True) for name in (*(one.name for one in several), *models)]
  lines = []
  for name in names:
    first = ours[0].get(name)
    cells = [_pair(parts.get(name), first if at else None) for at, parts in enumerate(ours)]
    lines.append((name, *cells, *(tenth(parts.get(name)) for parts in theirs)))
  averages = [one.examined.average if one.examined else None for one in several]
  cells = [_pair(value, averages[0] if at else None) for at, value in enumerate(averages)]
  printed_ones = [tenth(lookup.score(model, printed.AVERAGE, "")) for model in models]
  lines.append((element("strong", "Average of six"), *cells, *printed_ones))
  lacking = [
    element("li", f"{one.name}: {'; '.join(means.texts(one.examined, 'missing'))}")
    for one in several
    if one.examined and one.examined.average is None
  ]
  said = element("p", "Without an average of six, as parts are missing:") if lacking else None
  listed = element("ul", *lacking) if lacking else None
  return join([table("Normalised by chance", columns, [(None, lines)]), said, listed])


def _pair(value: float | None, first: float | None) -> Markup:
  return join([tenth(value), _change(value, first)])


def _training(several: Sequence[Contestant]) -> Markup:
  """Averages over the training run's own tasks, after tuning."""
  found = [{item.task: item for item in one.run.averages} if one.run else {} for one in several]
  columns = [Column("average"), *(Column(one.name, number=True) for one in several)]
  lines = [
    (
      breakable(task),
      *(scoreboard.percent(own[task].after if task in own else None) for own in found),
    )
    for task in dict.fromkeys(task for own in found for task in own)
  ]
  return table("Exact match after tuning, means over tasks", columns, [(None, lines)])


def _configuration(several: Sequence[Contestant]) -> Markup:
  """Gin values and options of evaluations that differ."""
  parts: list[Markup] = []
  configured = [one for one in several if one.run and one.run.config.strip()]
  silent = [one.name for one in several if one not in configured]
  if silent:
    parts.append(element("p", f"Without a configuration: {', '.join(silent)}."))
  values = [gin_values.parse(one.run.config) for one in configured if one.run]
  names = [one.name for one in configured]
  parts.append(_differing("Gin values that differ", "configurations", names, values))
  asked = [one for one in several if one.examined and one.examined.options]
  options = [
    {key: str(value) for key, value in one.examined.options.items()}
    for one in asked
    if one.examined
  ]
  names = [one.name for one in asked]
  parts.append(_differing("Options of evaluation that differ", "options", names, options))
  return join(parts)


def _differing(
  title: str, what: str, names: Sequence[str], several: Sequence[dict[str, str]]
) -> Markup:
  if len(several) < 2:
    return join([])
  rows = gin_values.differing(several)
  if not rows:
    return element("p", f"The {what} of {', '.join(names)} are the same.")
  columns = [Column("name"), *map(Column, names)]
  body = table(title, columns, [(None, [(breakable(name), *row) for name, row in rows])])
  return details(f"{title}: {len(rows)}", body) if len(rows) > _MANY else body


def _other_prompts(several: Sequence[Contestant]) -> list[str]:
  """Scores of other prompts are no scores of the same thing: to be said before any table."""
  first = several[0].examined
  told = []
  for one in several[1:]:
    if first is None or one.examined is None:
      continue
    changed = [
      name
      for name, entry in one.examined.exams.items()
      if name in first.exams and _mark(entry) != _mark(first.exams[name])
    ]
    if changed:
      shown = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
      told.append(
        f"{one.name}: {len(changed)} tasks and settings had other prompts or judgement than in"
        f" {several[0].name}, so their scores are not of the same thing: {shown}"
      )
  return told


def _mark(entry: object) -> object:
  return (entry.get("version"), entry.get("fingerprint")) if isinstance(entry, dict) else entry
