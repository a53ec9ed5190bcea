"""The figures of evaluations: bars with intervals and chance, votes over k."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from flan_tune.report.inline import COLOURS, SERIES, svg
from flan_tune.report.markup import Markup
from flan_tune.report.plots import MOST_BARS, WIDTH, styled, title
from flan_tune.report.visible import middle_cut, visible

_MARKERS = "osD^vP*X"
_FAINT = 0.6  # marks and intervals on a bar are to be seen


class Measured(NamedTuple):
  """A score with its interval, 0 to 100."""

  value: float
  low: float | None = None
  high: float | None = None


class Bar(NamedTuple):
  """A row of a chart: a bar of each series that has a value, chance, and marks of others."""

  label: str
  values: Sequence[Measured | None]
  chance: float | None = None
  marks: Sequence[float | None] = ()


@styled
def bars(
  rows: Sequence[Bar], series: Sequence[str], marks: Sequence[str], *, prefix: str, label: str
) -> Markup | None:
  """Horizontal bars; of more than MOST_BARS rows the first.

  Args:
    series: What the bars of a row are, one name for each of its values.
    marks: What its marks are.
  """
  rows = [row for row in rows if any(row.values)][:MOST_BARS]
  if not rows:
    return None
  height = 0.18 * len(series) + 0.09  # inches of a row
  figure = Figure(figsize=(WIDTH, height * len(rows) + 0.79))
  axes = figure.subplots()
  for place, row in enumerate(rows):
    _row(axes, place, row, len(series))
  labels = [middle_cut(visible(row.label), 44) for row in rows]
  axes.set_ylim(len(rows) - 0.45, -0.55)
  axes.set_yticks(range(len(rows)), labels, fontsize=8.5, color=COLOURS["ink"])
  axes.set_xlim(0, 108)
  axes.set_xticks([0, 25, 50, 75, 100])
  axes.xaxis.set_major_formatter(PercentFormatter(100.0, decimals=0))
  axes.grid(False, axis="y")
  axes.tick_params(length=0, pad=7)
  axes.spines["bottom"].set_visible(False)
  _key(axes, rows, series, marks)
  inches = height * len(rows) + 0.79
  longest = max(len(name) for name in labels)
  left = max(0.12, min(0.42, (0.072 * longest + 0.25) / WIDTH))
  figure.subplots_adjust(left=left, right=0.995, top=1 - 0.44 / inches, bottom=0.3 / inches)
  return svg(figure, prefix=prefix, label=label)


def _row(axes: Axes, place: float, row: Bar, count: int) -> None:
  thick = 0.8 / count
  for index, one in enumerate(row.values):
    if one is None:
      continue
    centre = place - 0.4 + thick * (index + 0.5)
    colour = COLOURS[SERIES[index % len(SERIES)]]
    axes.barh(centre, one.value, 0.84 * thick, color=colour, alpha=_FAINT, linewidth=0)
    if one.low is not None and one.high is not None:
      axes.plot([one.low, one.high], [centre] * 2, color=COLOURS["ink"], linewidth=1.1)
    edge = max(one.value, one.high or 0.0, *(m for m in row.marks if m is not None), 0.0)
    if row.chance is not None and edge - 1 < row.chance < edge + 7:
      edge = row.chance  # or its line would cross the figures
    shown = f"{one.value:.1f}"
    axes.text(edge + 0.9, centre, shown, va="center", fontsize=7.5 if count > 1 else 8)
  if row.chance is not None:
    ends = [place - 0.44, place + 0.44]
    axes.plot([row.chance] * 2, ends, color=COLOURS["chance"], linewidth=1.6, clip_on=False)
  for index, mark in enumerate(row.marks):
    if mark is not None:
      _mark(axes, [mark], [place], index)


def _mark(axes: Axes, x: Sequence[float], y: Sequence[float], index: int) -> Line2D:
  return axes.plot(
    x,
    y,
    linestyle="none",
    marker=_MARKERS[index % len(_MARKERS)],
    markersize=5.5,
    markerfacecolor="none",
    markeredgecolor=COLOURS["ink"],
    markeredgewidth=1.2,
    clip_on=False,
  )[0]


def _key(axes: Axes, rows: Sequence[Bar], series: Sequence[str], marks: Sequence[str]) -> None:
  handles = [
    Line2D([], [], color=COLOURS[SERIES[index % len(SERIES)]], alpha=_FAINT, linewidth=6)
    for index, _ in enumerate(series)
  ]
  names = [middle_cut(visible(name), 32) for name in series]
  if any(one and one.low is not None for row in rows for one in row.values):
    handles.append(Line2D([], [], color=COLOURS["ink"], linewidth=1.1))
    names.append("95 % interval")
  if any(row.chance is not None for row in rows):
    chance = {"marker": "|", "linestyle": "none", "markersize": 10, "markeredgewidth": 1.6}
    handles.append(Line2D([], [], color=COLOURS["chance"], **chance))  # pyright: ignore
    names.append("chance")
  for index, name in enumerate(marks):
    if any(len(row.marks) > index and row.marks[index] is not None for row in rows):
      handles.append(_mark(axes, [], [], index))
      names.append(visible(name))
  place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0)}
  axes.legend(handles, names, ncols=5, borderpad=0.2, fontsize=9, columnspacing=1.4, **place)


class Curve(NamedTuple):
  """A line over x with a value of 0 to 1 for each."""

  name: str
  x: Sequence[float]
  y: Sequence[float]


@styled
def votes(curves: Sequence[Curve], shares: Sequence[Curve], *, prefix: str) -> Markup | None:
  """Accuracy over the number of samples, and over the share of the vote."""
  panels = [
    ("Accuracy over samples", "samples per question, k", curves),
    ("Accuracy over vote share", "share of the majority", shares),
  ]
  panels = [panel for panel in panels if any(curve.x for curve in panel[2])]
  if not panels:
    return None
  figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
  for axes, (name, unit, lines) in zip(
    figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
  ):
    title(axes, name, "questions right")
    for index, line in enumerate(lines[: len(SERIES)]):
      axes.plot(
        line.x,
        line.y,
        color=COLOURS[SERIES[index]],
        marker=_MARKERS[index],
        markersize=4,
        linewidth=1.6,
        linestyle=("-", "--", "-.")[index % 3],
        label=middle_cut(visible(line.name), 28),
      )
    axes.set_xlabel(unit)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if lines is shares:
      axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.8, linestyle=":")
      axes.set_xlim(0, 1.02)
      axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
      axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  figure.axes[0].legend(loc="best", fontsize=8.5)
  return svg(figure, prefix=prefix, label="Accuracy over samples and over vote share")
