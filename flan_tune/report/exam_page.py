"""An evaluation as parts of a page: what was asked of which model, and its sections."""

from collections.abc import Sequence
from typing import Any

from flan_tune.report import (
  answer_examples,
  answers,
  benchmark_scores,
  overview,
  printed,
  task_scores,
  voting,
)
from flan_tune.report import means as means_lib
from flan_tune.report.benchmark_scores import interval, tenth
from flan_tune.report.exam_folder import Examined
from flan_tune.report.markup import Column, Markup, breakable, details, element, join, table
from flan_tune.report.scoreboard import MISSING, duration, number

Section = tuple[str, str, Markup]

_MOST = 60  # evaluations of one run in a table; more than a training run leaves


def sections(examined: Examined, published: Sequence[printed.Published], models: Sequence[str]):
  """Every section of one evaluation: id, name, content; reads all answers.

  Args:
    models: Published ones to stand beside ours.

  Returns:
    The sections, and sentences about answers that could not be read.
  """
  lookup, notices = printed.Lookup(published), []
  gathered = answers.gather(examined, notices)
  found: list[Section] = [
    ("benchmarks", "Benchmarks", benchmark_scores.section(examined, lookup, models)),
    ("tasks", "Tasks of the benchmarks", task_scores.section(examined, lookup, models)),
    ("reading", "Reading of the answers", task_scores.reading(examined)),
  ]
  if (votes := voting.section(examined, gathered)) is not None:
    found.append(("votes", "Self-consistency", votes))
  found += [
    ("answers", "Answers", answer_examples.section(gathered)),
    ("prompts", "Prompts", answer_examples.prompts(gathered)),
  ]
  return found, notices


def title(examined: Examined) -> str:
  """The model and the suites, as far as known."""
  suites = list(dict.fromkeys(row.family for row in examined.rows))
  asked = ", ".join(suites[:5]) + (", ..." if len(suites) > 5 else "")
  return f"{model(examined)}: {asked or examined.name}"


def model(examined: Examined) -> str:
  """Its name, or where its checkpoint is."""
  about = examined.checkpoint
  for key in ("name", "model", "path"):
    if isinstance(about.get(key), str) and about[key]:
      return about[key]
  return str(examined.environment.get("model") or examined.name)


def parameters(examined: Examined) -> float | None:
  """How many the model has, where a file of the evaluation tells."""
  known = (examined.environment, examined.checkpoint)
  found = (number(one.get("parameters")) for one in known)
  return next((value for value in found if value), None)


def facts(examined: Examined) -> Markup:
  """The evaluation in figures: the model, what it was asked and how, how long it took."""
  size = parameters(examined)
  total, inside = (number(examined.seconds.get(key)) for key in ("total", "model"))
  share = f", {100 * inside / total:.0f} % of it in the model" if inside and total else ""
  asked = sum(row.n for row in examined.rows)
  pairs = [
    ("Model", model(examined)),
    ("Parameters", None if size is None else overview.shown_size(size)),
    ("Questions", f"{asked:,} in {len(examined.rows):,} tasks and settings" if asked else None),
    ("Time", None if total is None else duration(total) + share),
  ]
  shown = {**examined.checkpoint, **examined.options}
  shape = shown.pop("model", None)
  pairs.append(("Shape", None if shape in (None, model(examined)) else _shown(shape)))
  pairs += [
    (str(key).replace("_", " ").capitalize(), _shown(value))
    for key, value in shown.items()
    if value not in (None, "", [], {}) and key not in ("parameters", "name", "fingerprint")
  ]
  items = [
    element("div", element("dt", name), element("dd", value))
    for name, value in pairs
    if value is not None
  ]
  return element("dl", *items, class_="facts")


def listing(several: Sequence[Examined]) -> Markup:
  """The evaluations of one run, each with its means: how the model learned."""
  shown = several[-_MOST:]
  keys = list(dict.fromkeys(mean.key for one in shown for mean in means_lib.of(one)))[:12]
  columns = [Column("evaluation"), Column("step", number=True), Column("average", number=True)]
  columns += [Column(f"{name}, {setting}", number=True) for name, setting in keys]
  lines = []
  for one in shown:
    means = {mean.key: mean for mean in means_lib.of(one)}
    step = number(one.checkpoint.get("step"))
    lines.append(
      (
        breakable(one.name),
        MISSING if step is None else f"{step:,.0f}",
        tenth(one.average),
        *(_macro(means.get(key)) for key in keys),
      )
    )
  return table("Evaluations, the newest last", columns, [(None, lines)])


def versions(examined: Examined) -> Markup:
  """Versions and fingerprints of prompts, by which two evaluations can be compared at all."""
  lines = []
  for name, entry in sorted(examined.exams.items()):
    if isinstance(entry, dict):
      mark, count = str(entry.get("fingerprint") or ""), number(entry.get("questions"))
      told = (str(entry.get("version") or ""), element("code", mark[:16]))
      lines.append((breakable(name), *told, MISSING if count is None else f"{count:,.0f}"))
  if not lines:
    return element("p", "What was asked was not recorded.")
  columns = [Column("task and setting"), Column("version", number=True), Column("fingerprint")]
  body = table(
    "Prompts and judgement", [*columns, Column("questions", number=True)], [(None, lines)]
  )
  return join([details(f"Versions of all prompts ({len(lines):,})", body)])


def _macro(mean: means_lib.Mean | None) -> str:
  if mean is None:
    return MISSING
  span = interval(mean.low, mean.high)
  return tenth(mean.macro) + (f" ({span})" if span else "")


def _shown(value: Any) -> str:
  if isinstance(value, float):
    return f"{value:g}"
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  if isinstance(value, list):
    return ", ".join(map(str, value))
  return str(value)
