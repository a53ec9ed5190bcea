"""Scores across runs, as Figures 4 to 6 of Chung et al. 2022: over tasks, over size, by CoT."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from flan_tune.report.inline import COLOURS, SERIES, svg
from flan_tune.report.markup import Markup
from flan_tune.report.plots import WIDTH, styled
from flan_tune.report.visible import middle_cut, visible

_MARKERS = "osD^vP"
_WIDTH_POINTS, _HEIGHT_POINTS = 640, 150  # about what all panels have for points


class Line(NamedTuple):
  """Points to be joined, in order of x.

  Attributes:
    name: In the legend.
    points: x, y and the name beside it, if any.
    printed: From the paper, drawn faint.
  """

  name: str
  points: Sequence[tuple[float, float, str]]
  printed: bool = False


class Panel(NamedTuple):
  """One plot; `x` is "tasks" or "parameters"."""

  title: str
  x: str
  lines: Sequence[Line]


@styled
def panels(shown: Sequence[Panel], *, prefix: str, label: str) -> Markup | None:
  """Panels side by side with one scale of scores; None without a point of ours."""
  shown = [panel for panel in shown if any(not line.printed for line in panel.lines)]
  if not shown:
    return None
  figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
  axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
  colours: dict[str, int] = {}
  heights = [y for panel in shown for line in panel.lines for _, y, _ in line.points]
  span = max(max(heights) - min(heights), 1.0)
  for one, panel in zip(axes, shown, strict=True):
    _panel(one, panel, colours)
    _name_points(one, panel, span, width=_WIDTH_POINTS / len(shown))
  axes[0].set_ylabel("normalised score", fontsize=9)
  handles: Mapping[str, object] = {
    name: handle
    for one in axes
    for handle, name in zip(*one.get_legend_handles_labels(), strict=True)
  }
  figure.legend(
    list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=9
  )
  return svg(figure, prefix=prefix, label=label)


def _panel(axes: Axes, panel: Panel, colours: dict[str, int]) -> None:
  axes.set_title(panel.title, pad=8)
  for line in panel.lines:
    points = sorted(line.points)
    if not points:
      continue
    index = colours.setdefault(line.name, len(colours)) % len(SERIES)
    # A line alone would hide a single point, a marker alone the order.
    axes.plot(
      [x for x, _, _ in points],
      [y for _, y, _ in points],
      color=COLOURS["muted"] if line.printed else COLOURS[SERIES[index]],
      linestyle=":" if line.printed else "-",
      linewidth=1.2 if line.printed else 1.7,
      marker=_MARKERS[index],
      markersize=4 if line.printed else 6,
      markerfacecolor="none" if line.printed else None,
      label=middle_cut(visible(line.name), 40),
    )
  _scale(axes, panel)


def _name_points(axes: Axes, panel: Panel, span: float, *, width: float) -> None:
  """Writes names beside their points, where there is room without crossing another name."""
  low, high = (_place(panel, x) for x in axes.get_xlim())
  taken: list[tuple[float, float, float]] = []  # left, right and middle of a name, in points
  for line in panel.lines:
    for x, y, name in sorted(line.points):
      shown = middle_cut(visible(name), 22)
      across, up = width * (_place(panel, x) - low) / (high - low), _HEIGHT_POINTS * y / span
      long = 4.6 * len(shown)
      for side, rise in ((1, 4), (-1, 4), (1, -10), (-1, -10)):
        left = across + 5 if side > 0 else across - 5 - long
        box = left, left + long, up + rise
        if shown and not any(_cross(box, other) for other in taken) and box[0] > -20:
          taken.append(box)
          style = {"ha": "left" if side > 0 else "right", "fontsize": 8}
          axes.annotate(shown, (x, y), xytext=(5 * side, rise), textcoords="offset points", **style)
          break


def _cross(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
  return one[0] < other[1] and other[0] < one[1] and abs(one[2] - other[2]) < 9


def _place(panel: Panel, x: float) -> float:
  """Where a value is on its axis, but for scale and origin."""
  if panel.x == "tasks":
    return 0.5 * x if x < 1 else 0.5 + math.log10(x)
  return math.log10(x)


def _scale(axes: Axes, panel: Panel) -> None:
  values = sorted({x for line in panel.lines for x, _, _ in line.points})
  if panel.x == "tasks":
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)  # 0 tasks is the untuned model
    axes.set_xlabel("finetuning tasks")
    axes.set_xlim(-0.4 if values[0] < 1 else values[0] / 2, max(2.0, values[-1]) * 2.2)
  else:
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_xlim(values[0] / 2, values[-1] * 2.5)
  axes.set_xticks(_apart(values))
  axes.xaxis.set_minor_locator(NullLocator())
  axes.xaxis.set_major_formatter(FuncFormatter(short))
  axes.tick_params(length=0)


def _apart(values: Sequence[float]) -> list[float]:
  """Ticks at the values themselves, but for those whose figures would overlap."""
  kept: list[float] = []
  for value in values:
    if not kept or value > 1.9 * max(kept[-1], 0.6):
      kept.append(value)
  return kept


def short(value: float, _: int | None = None) -> str:
  """A number of parameters or tasks in a few letters."""
  for size, letter in ((1e9, "B"), (1e6, "M")):
    if value >= size:
      return f"{value / size:.3g} {letter}"
  return f"{value:,.0f}"
