"""The page's benchmarks: their means with intervals, beside chance and what the paper printed."""

from collections.abc import Sequence

from flan_tune.report import exam_plots, means, printed
from flan_tune.report.exam_folder import Examined
from flan_tune.report.exam_plots import Bar, Measured
from flan_tune.report.markup import Column, Markup, breakable, details, element, figure, join, table
from flan_tune.report.means import Mean
from flan_tune.report.printed import Lookup
from flan_tune.report.scoreboard import MISSING

_EXPLAINED = (
  "Scores are percentages, means over tasks without weights. Intervals are 95 % bootstrap intervals"
  " over questions; chance is what guessing scores. Normalised is 100 (score - chance) / (100 -"
  " chance), per task: 0 is guessing, 100 is perfect."
)


def tenth(value: float | None) -> str:
  """A percentage with one decimal, or the sign for a missing one."""
  return MISSING if value is None else f"{value:.1f}"


def interval(low: float | None, high: float | None) -> str:
  """Both ends, or nothing."""
  return "" if low is None or high is None else f"{low:.1f} to {high:.1f}"


def headlines(examined: Examined) -> Markup | None:
  """The normalised average and the benchmarks' means, large."""
  entries = []
  if examined.average is not None:
    entries.append(("Normalised average of six", tenth(examined.average), "chance 0.0"))
  # The paper's own settings go before the ones without exemplars.
  found = sorted(means.of(examined), key=lambda mean: mean.setting.startswith("0-shot"))
  for mean in found[:6]:
    span = interval(mean.low, mean.high)
    chance = None if mean.chance is None else f"chance {mean.chance:.1f}"
    below = ", ".join(part for part in (span, chance) if part)
    entries.append((mean.name, tenth(mean.macro), below))
  if not entries:
    return None
  boxes = [
    element(
      "div",
      element("span", name),
      element("strong", value),
      element("span", below),
      class_="headline",
    )
    for name, value, below in entries
  ]
  return element("div", *boxes, class_="headlines")


def section(examined: Examined, lookup: Lookup, models: Sequence[str]) -> Markup:
  """Means in a table and a figure, the six parts of the average, and what is to be known."""
  found, grouped = means.of(examined), means.groups(examined)
  if not found:
    return join([element("p", "There are no scores yet."), notes(examined)])
  columns = [Column("benchmark and setting")]
  numbers = ("score", "interval", "chance", "normalised", "per question", "tasks", "n")
  columns += [Column(name, number=True) for name in (*numbers, *models)]
  body, groups = (
    table(caption, columns, [(None, [_row(mean, lookup, models) for mean in several])])
    for caption, several in (("Scores by benchmark and setting", found), ("Groups", grouped))
  )
  said = f" Columns of models are printed scores of the paper: {', '.join(models)}."
  return join(
    [
      element("p", _EXPLAINED + (said if models else "")),
      figure(
        _drawn(found, lookup, models),
        "Bars: this evaluation, with its interval. Marks: chance, and printed scores.",
      ),
      body,
      details("Groups of tasks", groups) if grouped else None,
      element("h3", "The normalised average and its parts"),
      six(examined, lookup, models),
      notes(examined),
    ]
  )


def six(examined: Examined, lookup: Lookup, models: Sequence[str]) -> Markup:
  """The six parts of the paper's average (Chung et al. 2022, footnote 5), or why there is none."""
  parts = means.parts(examined)
  if not parts:
    return element("p", "No parts of the average were recorded.")
  theirs = {model: printed.parts(model) for model in models}
  columns = [Column("part"), Column("this evaluation", number=True)]
  columns += [Column(model, number=True) for model in models]
  rows = [
    (name, tenth(value), *(tenth(theirs[model].get(name)) for model in models))
    for name, value in parts.items()
  ]
  average = [tenth(lookup.score(model, printed.AVERAGE, "")) for model in models]
  rows.append(("Average of six", element("strong", tenth(examined.average)), *average))
  known = [value for value in parts.values() if value is not None]
  said = []
  if examined.average is None:
    lacking = "; ".join(means.texts(examined, "missing")) or "parts are missing"
    said.append(element("p", f"There is no average of six, for it lacks {lacking}."))
    if known:
      mean, count = sum(known) / len(known), len(known)
      rows.append((f"Mean of the {count} there", tenth(mean), *([""] * len(models))))
  return join([*said, table("The parts, normalised by chance", columns, [(None, rows)])])


def notes(examined: Examined) -> Markup | None:
  """What the evaluation and its aggregation noted, once each."""
  found = list(dict.fromkeys([*examined.notes, *means.texts(examined, "notes")]))
  if not found:
    return None
  items = [element("li", breakable(note)) for note in found[:60]]
  if len(found) > len(items):
    items.append(element("li", f"{len(found) - len(items):,} more in results.json"))
  return join([element("h3", "Notes"), element("ul", *items)])


def _row(mean: Mean, lookup: Lookup, models: Sequence[str]) -> tuple[str, ...]:
  whole = (f"{mean.tasks:,}" if mean.tasks else "") + (
    f" of {mean.of:,}" if mean.of and mean.of != mean.tasks else ""
  )
  return (
    breakable(mean.name),
    element("strong", tenth(mean.macro)),
    interval(mean.low, mean.high),
    tenth(mean.chance),
    tenth(mean.normalised),
    tenth(mean.micro),
    whole,
    "" if mean.n is None else f"{mean.n:,}",
    *(lookup.shown(model, *mean.key) for model in models),
  )


def _drawn(found: Sequence[Mean], lookup: Lookup, models: Sequence[str]) -> Markup | None:
  rows = [
    Bar(
      f"{mean.benchmark}, {mean.setting}",
      [Measured(mean.macro, mean.low, mean.high)],
      mean.chance,
      [lookup.score(model, *mean.key) for model in models],
    )
    for mean in found
  ]
  label = "Scores by benchmark with intervals, chance and printed scores"
  return exam_plots.bars(rows, ["this evaluation"], models, prefix="means", label=label)
