"""Loss of each submixture over steps."""

from matplotlib.figure import Figure

from flan_tune.report import scoreboard, series
from flan_tune.report.inline import COLOURS, SERIES, svg
from flan_tune.report.markup import Markup
from flan_tune.report.plots import WIDTH, is_held_out, styled, title
from flan_tune.report.run_folder import Run
from flan_tune.report.visible import middle_cut, visible

_MARKERS = "osD^vP"


@styled
def losses(run: Run) -> Markup | None:
  """A line for each group of evaluated tasks, held-out ones apart; None without evaluations."""
  tasks: dict[tuple[str, bool], set[str]] = {}
  for record in run.evaluations:
    if scoreboard.number(record.get("loss")) is not None:
      key = str(record.get("group") or ""), is_held_out(record)
      tasks.setdefault(key, set()).add(str(record.get("task")))
  if not tasks:
    return None
  known = list(scoreboard.GROUPS)
  rank = lambda key: (key[1], known.index(key[0]) if key[0] in known else len(known), key[0])
  figure = Figure(figsize=(WIDTH, 2.7))
  axes = figure.subplots()
  title(axes, "Loss by submixture", "nats per token")
  for index, key in enumerate(sorted(tasks, key=rank)[:12]):
    group, held = key
    values = series.mean_by_step(
      run.evaluations,
      "loss",
      lambda r, key=key: (str(r.get("group") or ""), is_held_out(r)) == key,
    )
    name = scoreboard.GROUPS.get(group, group or "Other")
    apart = ", held out" if held and group != "held_out" else ""
    axes.plot(
      *values,
      color=COLOURS[SERIES[index % len(SERIES)]],
      linestyle="--" if held else "-",
      marker=_MARKERS[index % len(_MARKERS)],
      markersize=4,
      linewidth=1.5,
      label=f"{middle_cut(visible(name), 24)}{apart} ({len(tasks[key]):,})",
    )
  axes.set_xlabel("step")
  figure.subplots_adjust(left=0.07, right=0.78, top=0.88, bottom=0.18)
  axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9, borderpad=0.1)
  return svg(figure, prefix="groups", label="Evaluation loss of each submixture over steps")
