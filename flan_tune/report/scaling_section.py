"""The page's scaling plots across runs, and which runs could not be plotted and why."""

from collections.abc import Callable, Sequence

from flan_tune.report import means, printed, scaling
from flan_tune.report.contestant import KINDS, Contestant
from flan_tune.report.markup import Markup, element, figure, join
from flan_tune.report.scaling import Line, Panel

_COT = ("MMLU CoT", "BBH CoT", "MGSM")
_DIRECT = ("MMLU direct", "BBH direct", "TyDiQA")
_SIX = (*_COT, *_DIRECT)
_ZERO_SHOT = ("0-shot direct", "0-shot CoT")
_SIZES = ("Small", "Base", "Large", "XL", "XXL")
_TABLE_3 = ("PaLM-8B", "PaLM-62B", "PaLM-540B")


def section(several: Sequence[Contestant], published: Sequence[printed.Published]) -> Markup:
  """As Figures 4, 5 and 6 of Chung et al. 2022, as far as the runs tell."""
  scored = _comparable([one for one in several if one.parts])
  shared = [name for name in _SIX if scored and all(name in one.parts for one in scored)]
  drawn = [
    _average(scored, shared, published),
    _by_kind(scored),
    _zero_shot(several),
  ]
  silent = [
    element("li", f"{one.name}: {'; '.join(doubts)}")
    for one in several
    if (doubts := _doubts(one, scored, shared))
  ]
  said = element("p", "Not in all plots:") if silent else None
  listed = element("ul", *silent) if silent else None
  nothing = None if any(drawn) else element("p", "There is nothing to plot across these runs.")
  return join([nothing, *drawn, said, listed])


def _comparable(scored: Sequence[Contestant]) -> list[Contestant]:
  """Those with all six, where there are several: one that lacks some would cost all the rest."""
  whole = [one for one in scored if len(one.parts) >= len(_SIX)]
  return whole if len(whole) > 1 else list(scored)


def _doubts(one: Contestant, scored: Sequence[Contestant], shared: Sequence[str]) -> list[str]:
  told = list(one.doubts)
  if not one.examined:
    told.append("it has no evaluation")
  elif not one.parts:
    told.append("none of the six benchmarks was asked in full")
  elif not shared:
    told.append("the evaluations have no benchmark of the six in common")
  elif one not in scored:
    lacking = [name for name in _SIX if name not in one.parts]
    told.append(f"it lacks {', '.join(lacking)}, which others have")
  return told


def _mean(one: Contestant, names: Sequence[str]) -> float:
  return sum(one.parts[name] for name in names) / len(names)


def _average(
  scored: Sequence[Contestant],
  shared: Sequence[str],
  published: Sequence[printed.Published],
) -> Markup | None:
  if not shared:
    return None
  whole = len(shared) == len(_SIX)
  value = lambda one: _mean(one, shared)
  tasks = Panel("Over finetuning tasks", "tasks", _over_tasks(scored, value, published, whole))
  size = Panel("Over model size", "parameters", _over_size(scored, value, shared, published))
  label = "Normalised average over finetuning tasks and over model size"
  drawing = scaling.panels([tasks, size], prefix="scaling", label=label)
  caption = "As Figure 4 of the paper: the normalised average"
  caption += "." if whole else f", here of what all have: {', '.join(shared)}."
  caption += " Dotted: printed scores. Lines join runs of one size, or of one kind of mixture."
  return figure(drawing, caption)


def _over_tasks(
  scored: Sequence[Contestant],
  value: Callable[[Contestant], float],
  published: Sequence[printed.Published],
  whole: bool,
) -> list[Line]:
  sizes: dict[float, list[tuple[float, float, str]]] = {}
  for one in scored:
    if one.tasks is not None:
      # Sizes of one shape differ a little by vocabulary and adapters.
      rounded = float(f"{one.parameters or 0.0:.1e}")
      sizes.setdefault(rounded, []).append((one.tasks, value(one), one.name))
  lines = [Line(_sized(size), points) for size, points in sorted(sizes.items())]
  if whole and lines:
    known = [one.parameters for one in scored if one.parameters]
    model = _nearest_of_table_3(max(known, default=0.0))
    points = [(float(x), y, "") for x, y in printed.task_scaling(published, model)]
    if points:
      lines.append(Line(f"{model}, printed", points, printed=True))
  return lines


def _sized(size: float) -> str:
  return f"{scaling.short(size)} parameters" if size else "unknown size"


def _nearest_of_table_3(size: float) -> str:
  return min(_TABLE_3, key=lambda name: abs((printed.size(name) or 0.0) - size))


def _over_size(
  scored: Sequence[Contestant],
  value: Callable[[Contestant], float],
  shared: Sequence[str],
  published: Sequence[printed.Published],
) -> list[Line]:
  lines = _kinds(scored, value)
  known = set(printed.models(published))
  for family in ("T5", "Flan-T5"):
    points = []
    for model in (f"{family}-{size}" for size in _SIZES):
      parts = printed.parts(model) if model in known else {}
      values = [part for name in shared if (part := parts.get(name)) is not None]
      if len(values) == len(shared):
        points.append((printed.size(model) or 0.0, sum(values) / len(values), ""))
    if points and lines:
      lines.append(Line(f"{family}, printed", points, printed=True))
  return lines


def _kinds(scored: Sequence[Contestant], value: Callable[[Contestant], float]) -> list[Line]:
  """A line for each kind of mixture; runs of an unknown one by themselves."""
  lines = []
  for kind in (*KINDS, None):
    points = [
      (one.parameters, value(one), one.name)
      for one in scored
      if one.kind == kind and one.parameters
    ]
    if points:
      lines.append(Line(kind or "mixture unknown", points))
  return lines


def _by_kind(scored: Sequence[Contestant]) -> Markup | None:
  """Figure 5: with and without chains of thought in the mixture, on both sorts of benchmarks."""
  panels = []
  for title, names in (("CoT benchmarks", _COT), ("Direct benchmarks", _DIRECT)):
    chosen = [one for one in scored if one.kind]
    shared = [name for name in names if chosen and all(name in one.parts for one in chosen)]
    if shared:
      lines = _kinds(chosen, lambda one, shared=shared: _mean(one, shared))
      suffix = "" if len(shared) == len(names) else f" ({', '.join(shared)})"
      panels.append(Panel(title + suffix, "parameters", lines))
  label = "Scores on CoT and on direct benchmarks by what the mixture holds"
  caption = (
    "As Figure 5 of the paper: mixtures with and without chains of thought, on benchmarks asked for"
    " them and on the others; means of normalised scores."
  )
  return figure(scaling.panels(panels, prefix="kinds", label=label), caption)


def _zero_shot(several: Sequence[Contestant]) -> Markup | None:
  """Figure 6: BBH without exemplars, asked for the answer and for a chain of thought."""
  panels = []
  for setting in _ZERO_SHOT:
    scores = {one.name: score for one in several if (score := _on_bbh(one, setting)) is not None}
    known = [one for one in several if one.name in scores]
    lines = _kinds(known, lambda one, scores=scores: scores[one.name])
    panels.append(Panel(f"BBH, {setting}", "parameters", lines))
  label = "BBH without exemplars over model size"
  drawing = scaling.panels(panels, prefix="zeroshot", label=label)
  return figure(drawing, "As Figure 6 of the paper, normalised: zero-shot, with and without CoT.")


def _on_bbh(one: Contestant, setting: str) -> float | None:
  found = {mean.key: mean for mean in means.of(one.examined)} if one.examined else {}
  mean = found.get(("BBH", setting))
  return mean.normalised if mean else None
