"""The training loss taken apart: by submixture and by kind of prompt, over steps and in a table."""

from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flan_tune.report import plots, scoreboard, series
from flan_tune.report.inline import COLOURS, SERIES, svg
from flan_tune.report.markup import Column, Markup, breakable, figure, join, table
from flan_tune.report.run_folder import Record, Run
from flan_tune.report.scoreboard import number
from flan_tune.report.visible import middle_cut, visible

_LOSS, _TOKENS, _KIND = "loss/", "tokens/", "kind/"  # as `train.breakdown` names them
_MOST_LINES = 8
_STYLES = ("-", "--")
_CAPTION = (
  "Training loss, moving average, of the target tokens of each submixture and of each kind of"
  " prompt (zs zero-shot, fs few-shot, opt with the options listed, noopt without)."
)


class _Part(NamedTuple):
  """What a line shows: its name in the log, for readers, and all target tokens it stands for."""

  key: str
  name: str
  tokens: float


def section(run: Run) -> Markup | None:
  """A figure and a table; None where no loss was logged by group, or there is one group alone."""
  groups, kinds = _parts(run, kinds=False), _parts(run, kinds=True)
  if max(len(groups), len(kinds)) < 2:
    return None
  drawn = figure(_lines(run, groups, kinds), _CAPTION)
  columns = [Column("")]
  columns += [Column(name, number=True) for name in ("target tokens", "first tenth", "last tenth")]
  listed = (("Submixture", groups), ("Kind of prompt", kinds))
  body = [(heading, [_row(run, part) for part in parts]) for heading, parts in listed if parts]
  return join([drawn, table("Training loss in the run's first and last tenth", columns, body)])


def _parts(run: Run, *, kinds: bool) -> list[_Part]:
  """Those of the log, the one with the most tokens first."""
  keys = {key for record in run.train for key in record if key.startswith(_LOSS)}
  found = []
  for key in keys:
    name = key.removeprefix(_LOSS)
    if name.startswith(_KIND) is kinds:
      shown = name.removeprefix(_KIND) if kinds else scoreboard.GROUPS.get(name, name or "Other")
      counted = sum(tokens for _, tokens in _weighted(run.train, key))
      found.append(_Part(key, middle_cut(visible(shown), 24), counted))
  return sorted((part for part in found if part.tokens), key=lambda part: (-part.tokens, part.name))


def _weighted(records: Iterable[Record], key: str) -> list[tuple[float, float]]:
  """Losses with the target tokens that they are means over."""
  counted = key.replace(_LOSS, _TOKENS, 1)
  pairs = ((number(record.get(key)), number(record.get(counted))) for record in records)
  return [(loss, tokens) for loss, tokens in pairs if loss is not None and tokens and tokens > 0]


def _row(run: Run, part: _Part) -> tuple[str, ...]:
  count = max(1, len(run.train) // 10)
  means = (_mean(_weighted(some, part.key)) for some in (run.train[:count], run.train[-count:]))
  return (breakable(part.name), scoreboard.count(part.tokens), *means)


def _mean(weighted: list[tuple[float, float]]) -> str:
  tokens = sum(weight for _, weight in weighted)
  if not tokens:
    return scoreboard.MISSING
  return f"{sum(loss * weight for loss, weight in weighted) / tokens:.3f}"


@plots.styled
def _lines(run: Run, groups: list[_Part], kinds: list[_Part]) -> Markup:
  """Submixtures and kinds side by side."""
  drawing = Figure(figsize=(plots.WIDTH, 2.9), layout="constrained")
  shown = [("Training loss by submixture", groups), ("by kind of prompt", kinds)]
  shown = [(name, parts) for name, parts in shown if parts]
  panels = drawing.subplots(1, len(shown), sharey=True, squeeze=False)[0]
  for axes, (name, parts) in zip(panels, shown, strict=True):
    plots.title(axes, name, "nats per token" if axes is panels[0] else "")
    for place, part in enumerate(parts[:_MOST_LINES]):
      _line(axes, series.of(run.train, part.key), place, part.name)
    axes.set_xlabel("step")
    axes.legend(loc="upper right", ncols=2, fontsize=9)
  return svg(
    drawing, prefix="parts", label="Training loss of submixtures and kinds of prompt over steps"
  )


def _line(axes: Axes, values: series.Series, place: int, name: str) -> None:
  calm = series.smoothed(values, len(values.steps) // 30)
  axes.plot(
    *series.thinned(calm, plots.POINTS),
    color=COLOURS[SERIES[place % len(SERIES)]],
    linestyle=_STYLES[place // len(SERIES) % len(_STYLES)],
    linewidth=1.5,
    marker="." if len(values.steps) < 3 else "",
    label=name,
  )
