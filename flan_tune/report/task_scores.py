"""The page's tasks, one by one, and how their answers were read."""

import re
from collections.abc import Mapping, Sequence

from flan_tune.report import exam_plots
from flan_tune.report.benchmark_scores import interval, tenth
from flan_tune.report.exam_folder import COUNTS, JUDGES, Examined, ExamRow
from flan_tune.report.exam_plots import Bar, Measured
from flan_tune.report.markup import Column, Markup, breakable, details, element, figure, join, table
from flan_tune.report.plots import MOST_BARS
from flan_tune.report.printed import Lookup

_COUNTED = {
  "unparsable": "unparsable",
  "truncated": "truncated",
  "dropped_exemplars": "exemplars dropped",
  "cut_prompts": "prompts cut",
}


def section(examined: Examined, lookup: Lookup, models: Sequence[str]) -> Markup:
  """Bars and a table for every benchmark."""
  if not examined.rows:
    return element("p", "There are no scores of tasks yet.")
  parts = []
  for number, (family, rows) in enumerate(_families(examined.rows).items()):
    names = list(dict.fromkeys(_setting(row) for row in rows))
    bars = _bars(rows, names[:4])
    caption = "Bars with 95 % intervals; the mark is chance."
    if len(bars) > MOST_BARS:
      caption += f" The first {MOST_BARS} tasks of {len(bars):,}; the table has all."
    label = f"Scores of the tasks of {family}"
    drawing = exam_plots.bars(bars, names[:4], [], prefix=f"tasks{number}", label=label)
    body = _table(family, rows, lookup, models[-1:])
    parts += [
      element("h3", breakable(family)),
      figure(drawing, caption),
      details(f"All figures of {family} ({len(rows):,})", body),
    ]
  return join(parts)


def reading(examined: Examined) -> Markup:
  """Strict beside loose, and everything that did not go as planned, in figures and words."""
  rows = examined.rows
  if not rows:
    return join([element("p", "There are no scores yet."), _missing(examined)])
  said = (
    "Strict reading accepts what the papers' own rules accept, loose reading credits every awkward"
    " but right way; the strict one is the headline. Unparsable: strict reading found no answer."
    " Truncated: the limit of tokens came first. Exemplars are dropped, then prompts cut,"
    " where the input is too long."
  )
  return join(
    [
      element("p", said),
      _judged(rows),
      _missing(examined),
      _problems(rows),
      _stand_ins(rows),
      _extra(rows),
    ]
  )


def _families(rows: Sequence[ExamRow]) -> dict[str, list[ExamRow]]:
  found: dict[str, list[ExamRow]] = {}
  for row in rows:
    found.setdefault(row.family, []).append(row)
  return found


def _setting(row: ExamRow) -> str:
  return row.label or row.setting or "score"


def _task(row: ExamRow) -> str:
  return row.benchmark.partition("/")[2] or row.exam or row.benchmark


def _bars(rows: Sequence[ExamRow], names: Sequence[str]) -> list[Bar]:
  tasks: dict[str, list[ExamRow]] = {}
  for row in rows:
    tasks.setdefault(_task(row), []).append(row)
  bars = []
  for task, several in tasks.items():
    scored = {
      _setting(row): Measured(row.score, row.low, row.high)
      for row in several
      if row.score is not None
    }
    chance = next((row.chance for row in several if row.chance is not None), None)
    bars.append(Bar(task, [scored.get(name) for name in names], chance))
  return bars


def _judges(rows: Sequence[ExamRow]) -> list[str]:
  present = {judge for row in rows for judge in row.scores}
  return [judge for judge in JUDGES if judge in present] + sorted(present - set(JUDGES))


def _table(family: str, rows: Sequence[ExamRow], lookup: Lookup, models: Sequence[str]) -> Markup:
  judges = _judges(rows)
  counts = [name for name in COUNTS if any(row.counts.get(name) for row in rows)]
  confident = any(row.confidence is not None for row in rows)
  columns = [Column("task"), Column("setting")]
  titles = ["n", "chance", *(JUDGES.get(judge, judge) for judge in judges), "interval"]
  titles += [_COUNTED[name] for name in counts] + ["vote share"] * confident + list(models)
  columns += [Column(name, number=True) for name in titles]
  lines = [
    (
      breakable(_task(row)),
      _setting(row),
      f"{row.n:,}",
      tenth(row.chance),
      *(tenth(row.scores.get(judge)) for judge in judges),
      interval(row.low, row.high),
      *(f"{row.counts.get(name, 0):,}" for name in counts),
      *([tenth(None if row.confidence is None else 100 * row.confidence)] * confident),
      *(tenth(lookup.score(model, row.benchmark, row.label)) for model in models),
    )
    for row in rows
  ]
  return table(f"Tasks of {family}", columns, [(None, lines)])


def _judged(rows: Sequence[ExamRow]) -> Markup:
  """Means over tasks by each judge, and what went wrong in all of them, by benchmark."""
  judges = _judges(rows)
  several: dict[tuple[str, str], list[ExamRow]] = {}
  for row in rows:
    several.setdefault((row.family, _setting(row)), []).append(row)
  columns = [Column("benchmark"), Column("setting"), Column("n", number=True)]
  titles = [JUDGES.get(judge, judge) for judge in judges] + list(_COUNTED.values())
  columns += [Column(title, number=True) for title in titles]
  lines = []
  for (family, setting), members in several.items():
    n = sum(row.n for row in members)
    means = [_mean([row.scores[j] for row in members if j in row.scores]) for j in judges]
    totals = {name: sum(row.counts.get(name, 0) for row in members) for name in COUNTS}
    told = [_share(name, totals[name], n) for name in COUNTS]
    lines.append((breakable(family), setting, f"{n:,}", *map(tenth, means), *told))
  return table("How answers were read, means over tasks and counts", columns, [(None, lines)])


def _share(name: str, count: int, n: int) -> str:
  # An exemplar is none of the n questions, so their count has no share of them.
  if not count or not n or name == "dropped_exemplars":
    return f"{count:,}"
  return f"{count:,} ({100 * count / n:.0f} %)"


def _mean(values: Sequence[float]) -> float | None:
  return sum(values) / len(values) if values else None


def _missing(examined: Examined) -> Markup | None:
  lines = [
    tuple(breakable(str(entry.get(key) or "")) for key in ("name", "path", "how"))
    for entry in examined.missing
  ]
  if not lines:
    return None
  columns = [Column("task"), Column("looked for"), Column("how to get it")]
  body = table("Asked for, but without data", columns, [(None, lines)])
  folded = details(f"All {len(lines):,} tasks", body) if len(lines) > 24 else body
  return join([element("h3", "Missing benchmarks"), folded])


def _problems(rows: Sequence[ExamRow]) -> Markup | None:
  """Rows that were left out, by reason: a score without them must not pass for one with them."""
  lines = [
    (breakable(row.exam), row.setting, reason, f"{count:,}")
    for row in rows
    for reason, count in sorted(row.problems.items())
    if count
  ]
  if not lines:
    return None
  columns = [Column("task"), Column("setting"), Column("problem"), Column("count", number=True)]
  body = table("Problems, by task", columns, [(None, lines)])
  folded = details(f"All {len(lines):,} rows", body) if len(lines) > 24 else body
  return join([element("h3", "Problems"), folded])


def _stand_ins(rows: Sequence[ExamRow]) -> Markup | None:
  """By what stands in, which often is the same for a whole suite."""
  told: dict[str, list[str]] = {}
  for row in rows:
    if row.stand_in:
      told.setdefault(row.stand_in, []).append(f"{row.exam}, {row.setting}")
  if not told:
    return None
  lines = [
    (
      breakable(words),
      f"{len(names):,}",
      breakable("; ".join(names[:4]) + "; ..." * (len(names) > 4)),
    )
    for words, names in told.items()
  ]
  columns = [Column("what is read instead"), Column("count", number=True), Column("of")]
  body = table("Stand-ins, by what they are", columns, [(None, lines)])
  folded = details(f"All {len(lines):,} rows", body) if len(lines) > 24 else body
  return join([element("h3", "Stand-ins"), folded])


def _extra(rows: Sequence[ExamRow]) -> Markup | None:
  lines = [
    (breakable(row.exam), row.setting, _words(name), f"{value:,.4g}")
    for row in rows
    for name, value in _sorted(row.extra)
  ]
  if not lines:
    return None
  columns = [Column("task"), Column("setting"), Column("figure"), Column("value", number=True)]
  body = table("Other figures, by task", columns, [(None, lines)])
  folded = details(f"All {len(lines):,} figures", body) if len(lines) > 24 else body
  said = "As results.json has them: F1 is 0 to 100, shares and toxicities are 0 to 1."
  return join([element("h3", "Other figures"), element("p", said, class_="quiet"), folded])


def _sorted(extra: Mapping[str, float]) -> list[tuple[str, float]]:
  return sorted(extra.items())


def _words(name: str) -> str:
  return re.sub(r"_+", " ", name)
