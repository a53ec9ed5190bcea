"""Puts the report's page together, top to bottom."""

from collections.abc import Sequence

from flan_tune.report import (
  benchmark_scores,
  efficiency,
  exam_page,
  examples,
  group_plots,
  loss_groups,
  mixture,
  overview,
  plots,
  printed,
  results,
)
from flan_tune.report.exam_folder import Examined
from flan_tune.report.exam_page import Section
from flan_tune.report.markup import Markup, details, element, figure, join
from flan_tune.report.run_folder import Run
from flan_tune.report.scoreboard import number
from flan_tune.report.stylesheet import CSS

# Nothing may be fetched or run: a browser enforces what the tests check.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_LEARNING = (
  "Faint: every logged training loss; strong: its moving average. Evaluation averages over tasks,"
  " each counting the same; held-out tasks are never trained on."
)
_GROUPS = (
  "Evaluation loss of each submixture, or suite, mean over its tasks; dashed: held out. In brackets"
  " the tasks that were evaluated."
)
_THROUGHPUT = (
  "Tokens are counted without padding. Fill is the share of the packed slots, of all sides"
  " together, that hold tokens."
)


def render(run: Run, evaluations: Sequence[Examined] = (), *, models: str | None = None) -> str:
  """The whole page of a run; a function of its folder alone.

  Args:
    evaluations: Of the run, the newest last, which is shown in full.
    models: Published ones to compare with, as `printed.chosen` reads them; None: the nearest.
  """
  sections: list[Section] = [
    ("learning", "Learning", _learning(run)),
    ("scores", "Scores", results.section(run)),
  ]
  if (used := efficiency.section(run)) is not None:
    sections.insert(1, ("efficiency", "Time and efficiency", used))
  notices = list(run.notices)
  if evaluations:
    newest = evaluations[-1]
    found, told = _of(newest, models, [number(run.environment.get("parameters"))])
    # Its name first: the notices of a run are about the run's own files.
    notices += [f"{newest.name}: {notice}" for notice in (*newest.notices, *told)]
    if len(evaluations) > 1:
      said = element("p", f"The sections below are about the newest, {newest.name}.")
      listed = join([said, exam_page.listing(evaluations)])
      sections.append(("evaluations", "Evaluations", listed))
    sections += found
  sections += [
    ("mixture", "Mixture", mixture.section(run)),
    ("examples", "Examples", examples.section(run)),
    ("configuration", "Configuration", _configuration(run)),
    ("environment", "Environment", overview.environment(run)),
  ]
  large = join([overview.headlines(run), _large(evaluations)])
  return document(overview.title(run), overview.facts(run), notices, large, sections)


def render_evaluation(examined: Examined, *, models: str | None = None) -> str:
  """The whole page of an evaluation; a function of its folder alone."""
  sections, told = _of(examined, models, [])
  asked = join([exam_page.versions(examined), overview.environment_of(examined.environment)])
  sections.append(("environment", "Environment", asked))
  notices = [*examined.notices, *told]
  large = _large([examined])
  return document(exam_page.title(examined), exam_page.facts(examined), notices, large, sections)


def document(
  title: str,
  facts: Markup | None,
  notices: Sequence[str],
  large: Markup | None,
  sections: Sequence[Section],
  *,
  foot: str = "Written by flan_tune from the files of the folder.",
) -> str:
  """A page of sections that fetches and runs nothing.

  Args:
    facts: A list of what the page is about.
    notices: What the reader should know first.
    large: The most important figures.
    foot: The last line.
  """
  links = [element("li", element("a", name, href=f"#{key}")) for key, name, _ in sections]
  head = element(
    "head",
    element("meta", charset="utf-8"),
    element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
    element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
    element("title", f"{title} · flan_tune report"),
    element("style", Markup(CSS)),
  )
  top = element(
    "header",
    element("h1", title),
    facts,
    element("nav", element("ul", *links), aria_label="Sections"),
    overview.notices(notices),
    large,
  )
  main = [
    element("section", element("h2", name), body, id=key, aria_label=name)
    for key, name, body in sections
  ]
  body = element("body", top, element("main", *main), element("footer", foot))
  return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _of(
  examined: Examined, models: str | None, sizes: Sequence[float | None]
) -> tuple[list[Section], list[str]]:
  published = printed.table()
  known = [size for size in (*sizes, exam_page.parameters(examined)) if size]
  if models is None:
    beside = printed.nearest(published, known)
  else:
    beside = printed.chosen(published, models)
  return exam_page.sections(examined, published, beside)


def _large(evaluations: Sequence[Examined]) -> Markup | None:
  return benchmark_scores.headlines(evaluations[-1]) if evaluations else None


def _learning(run: Run) -> Markup:
  resumed = any(event.get("what") == "resume" for event in run.events)
  dotted = " Dotted lines: the run was resumed there." if resumed else ""
  drawn = [
    figure(plots.learning(run), _LEARNING + dotted),
    loss_groups.section(run),
    figure(group_plots.losses(run), _GROUPS),
    figure(plots.throughput(run), _THROUGHPUT),
    figure(plots.optimiser(run), ""),
  ]
  if not any(drawn):
    return element("p", "No training step was logged yet.")
  missing = (
    None if run.evaluations else "No evaluation was logged: only the training curve is shown."
  )
  return join([element("p", missing) if missing else None, *drawn])


def _configuration(run: Run) -> Markup:
  if not run.config.strip():
    return element("p", "The run folder holds no configuration.")
  lines = run.config.count("\n") + 1
  said = element("p", "All that was configured, defaults included.")
  return join(
    [said, details(f"config.gin, {lines:,} lines", element("pre", run.config), open_=True)]
  )
