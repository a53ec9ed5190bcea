"""The report's figures: each takes a run and gives an inline SVG, or None with nothing to draw."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from flan_tune.report import scoreboard, series
from flan_tune.report.inline import COLOURS, SETTINGS, svg
from flan_tune.report.markup import Markup
from flan_tune.report.run_folder import Run
from flan_tune.report.scoreboard import Score
from flan_tune.report.visible import middle_cut, visible

WIDTH = 9.6  # inches of 72 points: 691 points, near the width of the page's column
POINTS = 800  # per curve: more than a screen has columns to show them in
MOST_BARS = 80  # rows of the chart of scores; beyond, nobody reads it and the table serves better

_P = ParamSpec("_P")


def styled(draw: Callable[_P, Markup | None]) -> Callable[_P, Markup | None]:
  """Makes a function draw under our settings whatever the user's matplotlibrc says."""

  @functools.wraps(draw)
  def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Markup | None:
    with matplotlib.rc_context():
      matplotlib.rcdefaults()
      matplotlib.rcParams.update(SETTINGS)
      return draw(*args, **kwargs)

  return wrapper


@styled
def learning(run: Run) -> Markup | None:
  """Train and evaluation loss over steps and, where evaluated, exact match below."""
  train = series.of(run.train, "loss")
  kinds = (("held-out", True, "held", "s"), ("trained", False, "known", "o"))
  losses = {name: _mean(run, "loss", held) for name, held, _, _ in kinds}
  matches = {name: _mean(run, "exact_match", held) for name, held, _, _ in kinds}
  panels = [bool(train.steps or any(s.steps for s in losses.values()))]
  panels.append(any(s.steps for s in matches.values()))
  if not any(panels):
    return None
  figure, axes = _panels(sum(panels), height=2.7)
  shown = iter(axes)
  if panels[0]:
    top = next(shown)
    title(top, "Loss", "nats per token")
    _noisy(top, train, "train", "training")
    for name, _, colour, marker in kinds:
      _marked(top, losses[name], colour, marker, f"evaluation, {name} tasks")
    _legend(top)
  if panels[1]:
    low = next(shown)
    title(low, "Exact match", "mean over tasks")
    for name, _, colour, marker in kinds:
      _marked(low, matches[name], colour, marker, f"{name} tasks")
    low.set_ylim(0, 1.04)
    low.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(low)
  for panel in axes:
    _events(panel, run)
  axes[-1].set_xlabel("step")
  return svg(figure, prefix="learning", label="Loss and exact match over training steps")


@styled
def throughput(run: Run) -> Markup | None:
  """Real tokens per second and the share of packed slots that hold tokens."""
  parts = [
    ("tokens_per_second", "Tokens per second", "padding not counted"),
    ("fill", "Packing fill", "slots that hold tokens"),
  ]
  return _side_by_side(run, parts, "throughput", "Tokens per second and packing fill over steps")


@styled
def optimiser(run: Run) -> Markup | None:
  """Token accuracy, gradient norm and learning rate."""
  parts = [
    ("accuracy", "Token accuracy", "training, teacher-forced"),
    ("grad_norm", "Gradient norm", "before clipping"),
    ("learning_rate", "Learning rate", ""),
  ]
  label = "Token accuracy, gradient norm and learning rate over steps"
  return _side_by_side(run, parts, "optimiser", label)


@styled
def bars(scores: Sequence[Score]) -> Markup | None:
  """Scores before and after as horizontal bars with a mark at chance, grouped.

  With more than MOST_BARS scores, those that changed most.
  """
  scores = [s for s in scores if s.before is not None or s.after is not None]
  if not scores:
    return None
  shown = sorted(scores, key=lambda s: -abs(s.gain or 0.0))[:MOST_BARS]
  groups = scoreboard.grouped(shown)
  slots = len(shown) + 1.25 * len(groups)  # in rows; headings take a little more
  figure = Figure(figsize=(WIDTH, 0.27 * slots + 0.75))
  axes = figure.subplots()
  several = len({s.setting for s in shown}) > 1
  row, ticks, labels = 0.0, [], []
  for heading, members in groups:
    axes.text(
      -0.01, row + 0.6, visible(heading), ha="right", va="center", weight="bold", fontsize=9.5
    )
    row += 1.25
    for item in members:
      _bar(axes, row + 0.5, item)
      ticks.append(row + 0.5)
      labels.append(_bar_label(item, several))
      row += 1.0
  axes.set_ylim(slots + 0.1, 0)
  axes.set_yticks(ticks, labels, fontsize=8.5, color=COLOURS["ink"])
  axes.set_xlim(0, 1.12)
  axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
  axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  axes.grid(False, axis="y")
  axes.tick_params(length=0)
  axes.spines["bottom"].set_visible(False)
  _bars_legend(axes)
  _fit_left(figure, labels, slots)
  return svg(figure, prefix="scores", label=f"Scores of {len(shown)} tasks before and after tuning")


def _bar(axes: Axes, centre: float, item: Score) -> None:
  for value, offset, height, colour in (
    (item.before, -0.22, 0.26, "before"),
    (item.after, 0.13, 0.42, "after"),
  ):
    if value is not None:
      axes.barh(centre + offset, value, height, color=COLOURS[colour], linewidth=0)
  if item.chance is not None:
    ends = [centre - 0.40, centre + 0.40]
    axes.plot([item.chance] * 2, ends, color=COLOURS["chance"], linewidth=1.6, clip_on=False)
  value = item.after if item.after is not None else item.before
  # Behind the mark of chance too, which would cross the figures.
  edge = max(v for v in (value, item.chance, item.before) if v is not None)
  near = edge if value is not None and edge - value < 0.09 else value or 0.0
  axes.text(near + 0.008, centre + 0.13, scoreboard.percent(value), va="center", fontsize=8)


def _bar_label(item: Score, several: bool) -> str:
  name = middle_cut(visible(item.task), 40)
  return f"{name} ({visible(item.setting)})" if several and item.setting else name


def _bars_legend(axes: Axes) -> None:
  def swatch(colour: str, **style: float | str) -> Line2D:
    return Line2D([], [], color=COLOURS[colour], **style)  # pyright: ignore

  handles = [
    swatch("before", linewidth=4),
    swatch("after", linewidth=7),
    swatch("chance", marker="|", linestyle="none", markersize=10, markeredgewidth=1.6),
  ]
  names = ["before tuning", "after tuning", "chance"]
  axes.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderpad=0.2)


def _fit_left(figure: Figure, labels: Sequence[str], slots: float) -> None:
  """Fixed margins: the space for names follows the longest, the rest is bars."""
  height = 0.27 * slots + 0.75
  longest = max((len(label) for label in labels), default=0)
  left = min(0.42, (0.07 * longest + 0.25) / WIDTH)
  figure.subplots_adjust(
    left=max(0.12, left), right=0.995, top=1 - 0.38 / height, bottom=0.3 / height
  )


def _mean(run: Run, key: str, held_out: bool) -> series.Series:
  return series.mean_by_step(run.evaluations, key, lambda record: is_held_out(record) is held_out)


def is_held_out(record: Mapping[str, object]) -> bool:
  """Whether a logged evaluation is of a task that was never trained on."""
  return record.get("held_out") is True or record.get("group") == "held_out"


def _panels(rows: int, *, height: float) -> tuple[Figure, list[Axes]]:
  # The padding keeps a panel's legend, which is above it, off the panel before.
  layout = ConstrainedLayoutEngine(hspace=0.06)
  figure = Figure(figsize=(WIDTH, height * rows), layout=layout)
  axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
  return figure, list(axes[:, 0])


def _side_by_side(
  run: Run, parts: Sequence[tuple[str, str, str]], prefix: str, label: str
) -> Markup | None:
  found = [(key, *names, series.of(run.train, key)) for key, *names in parts]
  found = [part for part in found if part[-1].steps]
  if not found:
    return None
  figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
  all_axes = figure.subplots(1, len(found), squeeze=False)[0]
  for axes, (key, name, unit, values) in zip(all_axes, found, strict=True):
    title(axes, name, unit)
    _noisy(axes, values, "train", "")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if key in ("fill", "accuracy"):
      axes.set_ylim(0, 1.04)
      axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
      axes.set_ylim(0, 1.08 * max(values.values) or 1.0)
      axes.yaxis.set_major_formatter(FuncFormatter(_tick))
  return svg(figure, prefix=prefix, label=label)


def _tick(value: float, _: int | None = None) -> str:
  return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def title(axes: Axes, name: str, unit: str) -> None:
  """A panel's title and the unit of its values, over an axis of whole steps."""
  axes.set_title(name, pad=8)
  axes.set_ylabel(unit, fontsize=9)
  axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
  axes.xaxis.set_major_formatter(FuncFormatter(_tick))
  axes.tick_params(length=0)


def _noisy(axes: Axes, values: series.Series, colour: str, label: str) -> None:
  """A faint line of what was logged and a strong one of its moving average."""
  if not values.steps:
    return
  window = len(values.steps) // 30
  raw, calm = (series.thinned(s, POINTS) for s in (values, series.smoothed(values, window)))
  few = len(values.steps) < 3
  axes.plot(*raw, color=COLOURS[colour], alpha=0.28, linewidth=0.8, marker="." if few else "")
  axes.plot(*calm, color=COLOURS[colour], linewidth=1.8, label=label or None)


def _marked(axes: Axes, values: series.Series, colour: str, marker: str, label: str) -> None:
  if values.steps:
    style = {"marker": marker, "markersize": 4.5, "linewidth": 1.5, "label": label}
    axes.plot(*values, color=COLOURS[colour], linestyle="--" if marker == "s" else "-", **style)


def _legend(axes: Axes) -> None:
  if axes.get_legend_handles_labels()[1]:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=3, fontsize=9, borderpad=0.1)


def _events(axes: Axes, run: Run) -> None:
  """Marks where the run was resumed and which step was best."""
  for event in run.events:
    if event.get("what") == "resume":
      axes.axvline(event["step"], color=COLOURS["muted"], linewidth=0.9, linestyle=":")
  best = scoreboard.number(run.scored.get("best_step"))
  if best is not None:
    axes.axvline(best, color=COLOURS["chance"], linewidth=1.0)
    axes.annotate(
      "best",
      (best, 0.99),
      xycoords=axes.get_xaxis_transform(),
      xytext=(-3, 0),
      textcoords="offset points",
      ha="right",
      va="top",
      fontsize=8.5,
    )
