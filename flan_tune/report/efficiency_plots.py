"""Where the time went and how well the machine was used, over the steps of a run."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flan_tune.report import plots, series
from flan_tune.report.inline import COLOURS, svg
from flan_tune.report.markup import Markup
from flan_tune.report.run_folder import Record, Run
from flan_tune.report.scoreboard import number

_BINS = 32  # of the run: evaluations then show as a share of their neighbourhood, not as spikes


class Kind(NamedTuple):
  """What time goes to.

  Attributes:
    key: Of a record of metrics.jsonl.
    name: For readers.
    colour: One of `inline.COLOURS`.
  """

  key: str
  name: str
  colour: str


KINDS = (
  Kind("seconds_step", "steps", "train"),
  Kind("seconds_data", "waiting for data", "held"),
  Kind("seconds_eval", "evaluating", "known"),
  Kind("seconds_save", "saving", "fourth"),
  Kind("seconds_compile", "compiling", "muted"),
)
_USES = (
  ("utilisation", "train", "all slots"),
  ("useful_utilisation", "known", "real tokens"),
)


@plots.styled
def usage(run: Run) -> Markup | None:
  """Shares of time by kind, stacked, and utilisation beside them; one alone if that is all."""
  binned = _binned([record for record in run.train if seconds(record)])
  uses = [(series.of(run.train, key), colour, name) for key, colour, name in _USES]
  uses = [use for use in uses if use[0].steps]
  if not binned and not uses:
    return None
  figure = Figure(figsize=(plots.WIDTH, 2.7), layout="constrained")
  panels = iter(figure.subplots(1, bool(binned) + bool(uses), squeeze=False)[0])
  if binned:
    _stacked(next(panels), binned)
  if uses:
    axes = next(panels)
    plots.title(axes, "Utilisation", "of what the devices could do")
    for values, colour, name in uses:
      calm = series.smoothed(values, len(values.steps) // 30)
      style = {"linewidth": 1.8, "marker": "." if len(values.steps) < 3 else ""}
      axes.plot(*series.thinned(calm, plots.POINTS), color=COLOURS[colour], label=name, **style)
    most = max(value for values, _, _ in uses for value in values.values)
    axes.set_ylim(0, 1.12 * most or 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if most > 0.1 else 1))
    axes.set_xlabel("step")
    axes.legend(loc="lower right", ncols=2, fontsize=9)
  return svg(
    figure, prefix="efficiency", label="Share of time by kind, and utilisation, over steps"
  )


def seconds(record: Record, *keys: str) -> float:
  """Of these kinds together; of all where none is named."""
  return sum(
    max(number(record.get(key)) or 0.0, 0.0) for key in keys or [kind.key for kind in KINDS]
  )


def _binned(records: list[Record]) -> list[tuple[float, list[float]]]:
  """Last step, and the share of each kind, of up to `_BINS` stretches of records."""
  found = []
  count = min(_BINS, len(records))
  for place in range(count):
    some = records[place * len(records) // count : (place + 1) * len(records) // count]
    sums = [sum(seconds(record, kind.key) for record in some) for kind in KINDS]
    found.append((some[-1]["step"], [value / sum(sums) for value in sums]))
  return found


def _stacked(axes: Axes, binned: list[tuple[float, list[float]]]) -> None:
  plots.title(axes, "Time", "share of it")
  # A stretch is drawn up to its last step, the first one from the beginning.
  steps = [0.0, *(step for step, _ in binned)]
  shares = [binned[0][1], *(share for _, share in binned)]
  below = [0.0] * len(steps)
  for place, kind in enumerate(KINDS):
    above = [base + share[place] for base, share in zip(below, shares, strict=True)]
    if above != below:
      axes.fill_between(
        steps, below, above, step="pre", color=COLOURS[kind.colour], linewidth=0, label=kind.name
      )
    below = above
  axes.set_xlim(0, steps[-1])
  axes.set_ylim(0, 1)
  axes.grid(False)
  axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  axes.set_xlabel("step")
  axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=9)
