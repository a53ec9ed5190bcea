"""Self-consistency: accuracy with k samples, and what the share of the vote is worth."""

import functools
from collections.abc import Callable, Sequence

from flan_tune import metrics
from flan_tune.evaluate import vote
from flan_tune.report import exam_plots
from flan_tune.report.answers import Drawn, Gathered
from flan_tune.report.exam_folder import Examined, ExamRow
from flan_tune.report.exam_plots import Curve
from flan_tune.report.inline import SERIES
from flan_tune.report.markup import Column, Markup, element, figure, join, table
from flan_tune.report.scoreboard import percent

_KS = (1, 2, 3, 4, 5, 8, 10, 16, 20, 32, 40, 64)
_BINS = 5

_CAPTION = (
  "Left: the expected accuracy of a majority of k samples, from all that were drawn, mean over"
  " tasks. Right: questions by the share of their majority; on the dotted line the share is the"
  " probability of being right."
)


def section(examined: Examined, gathered: Gathered) -> Markup | None:
  """Curves and a table by benchmark; None where every question had one answer."""
  # Of continuations that a summary judges there is no vote.
  voted = {key: drawn for key, drawn in gathered.drawn.items() if drawn.votes}
  if not voted:
    return None
  rows = {row.key: row for row in examined.rows}
  several: dict[str, list[tuple[ExamRow | None, Drawn]]] = {}
  for key, drawn in voted.items():
    row = rows.get(key)
    name = f"{row.family}, {row.label or row.setting}" if row else ", ".join(key)
    several.setdefault(name, []).append((row, drawn))
  curves = [(name, _mean_curve(members)) for name, members in several.items()]
  shares = [(name, _by_share([d for _, d in members])) for name, members in several.items()]
  left = [name for name, curve in curves if not curve]
  drawing = exam_plots.votes(
    [Curve(name, list(c), list(c.values())) for name, c in curves if c],
    [Curve(name, *zip(*bins, strict=True)) for name, bins in shares if bins],
    prefix="votes",
  )
  said = None
  if left:
    said = (
      "Without a curve, as their samples were stopped early, or cannot be judged one by one: "
      + ", ".join(left)
    )
  caption = _CAPTION
  if len(several) > len(SERIES):
    caption += f" The first {len(SERIES)} of {len(several)}; the table has all."
  return join(
    [
      figure(drawing, caption),
      _table([(name, curve, several[name]) for name, curve in curves]),
      element("p", said) if said else None,
    ]
  )


def _mean_curve(members: Sequence[tuple[ExamRow | None, Drawn]]) -> dict[int, float]:
  """The mean over tasks of their accuracies; nothing where a task has none."""
  curves = [_curve(row, drawn) for row, drawn in members]
  if not all(curves):
    return {}
  ks = sorted(set.intersection(*(set(curve) for curve in curves)))
  return {k: sum(curve[k] for curve in curves) / len(curves) for k in ks}


def _curve(row: ExamRow | None, drawn: Drawn) -> dict[int, float]:
  judge = metrics.METRICS.get(row.metric) if row else None
  sizes = {len(pool) for pool in drawn.pools}
  if judge is None or len(sizes) != 1:
    return {}
  size = sizes.pop()

  @functools.cache
  def right(answer: str, targets: tuple[str, ...]) -> float:
    return judge([answer], [list(targets)]).value if targets else 0.0

  ks = [k for k in _KS if k < size] + [size]
  judged = _by_number(right, drawn)
  try:
    return vote.curve(drawn.pools, judged, ks)
  except (TypeError, ValueError):  # a metric of other targets than these
    return {}


def _by_number(
  right: Callable[[str, tuple[str, ...]], float], drawn: Drawn
) -> Callable[[int, str], float]:
  return lambda number, answer: right(answer, tuple(drawn.targets[number]))


def _by_share(several: Sequence[Drawn]) -> list[tuple[float, float]]:
  """Mean share and accuracy of the questions in each of a few bins of the share."""
  bins: dict[int, list[tuple[float, float]]] = {}
  for drawn in several:
    for share, score in drawn.votes:
      bins.setdefault(min(_BINS - 1, int(share * _BINS)), []).append((share, score))
  return [
    (sum(s for s, _ in found) / len(found), sum(r for _, r in found) / len(found))
    for _, found in sorted(bins.items())
  ]


def _table(
  entries: Sequence[tuple[str, dict[int, float], Sequence[tuple[ExamRow | None, Drawn]]]],
) -> Markup:
  ks = sorted({k for _, curve, _ in entries for k in curve})
  columns = [Column("benchmark")]
  titles = ["questions", "samples", "mean vote share", *(f"k = {k}" for k in ks)]
  columns += [Column(title, number=True) for title in titles]
  lines = []
  for name, curve, members in entries:
    pools = [pool for _, drawn in members for pool in drawn.pools]
    shares = [share for _, drawn in members for share, _ in drawn.votes]
    least, most = min(map(len, pools)), max(map(len, pools))
    lines.append(
      (
        name,
        f"{len(pools):,}",
        f"{least}" if least == most else f"{least} to {most}",
        percent(sum(shares) / len(shares) if shares else None),
        *(percent(curve.get(k)) for k in ks),
      )
    )
  return table("Accuracy by the number of samples", columns, [(None, lines)])
