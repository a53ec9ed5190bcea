"""The page's account of time, utilisation and memory."""

from collections.abc import Callable, Iterator

from flan_tune.report import efficiency_plots, scoreboard
from flan_tune.report.efficiency_plots import KINDS
from flan_tune.report.markup import Column, Markup, element, figure, join, table
from flan_tune.report.run_folder import Record, Run
from flan_tune.report.scoreboard import number

_CAPTION = (
  "Time is what the loop did: waiting for data is only what the devices waited, too. Utilisation is"
  " the operations that the model needs for its slots, or for the real tokens in them, over what"
  " the devices could have done meanwhile; evaluating, saving and compiling are left out."
)


def section(run: Run) -> Markup | None:
  """A figure and the totals; None where nothing of it was logged."""
  timed = [record for record in run.train if efficiency_plots.seconds(record)]
  if not timed:
    return None
  rows = [(name, value) for name, value in _totals(run, timed) if value is not None]
  columns = [Column("what"), Column("value", number=True)]
  drawn = figure(efficiency_plots.usage(run), _CAPTION)
  totals = table("Totals of the run", columns, [(None, rows)])
  return join([drawn, totals, *_begun(run)])


def _begun(run: Run) -> Iterator[Markup]:
  """What was said when a process had done its first step, the newest of them."""
  found = [event for event in run.events if event.get("what") == "compiled"]
  if found and (text := found[-1].get("text")):
    yield element("p", f"First step of the newest session: {text}.", class_="quiet")
  if found and (peak := found[-1].get("peak")):
    yield element("p", f"What the devices could do: {peak}.", class_="quiet")


def _totals(run: Run, timed: list[Record]) -> Iterator[tuple[str, str | None]]:
  # What followed the last record, such as the last evaluation, is an event of its own.
  rest = [event for event in run.events if event.get("what") == "time"]
  spent = {
    kind.key: sum(efficiency_plots.seconds(record, kind.key) for record in (*timed, *rest))
    for kind in KINDS
  }
  whole = sum(spent.values())
  yield "Tokens", _tokens(timed)
  for kind in KINDS:
    if spent[kind.key]:
      share = f"{scoreboard.duration(spent[kind.key])} ({100 * spent[kind.key] / whole:.1f}%)"
      yield f"Time: {kind.name}", share
  if (wall := run.seconds()) is not None and wall > whole:
    yield "Time: starting, final scores", scoreboard.duration(wall - whole)
  yield "Tokens per second, mean", _mean(timed, "tokens_per_second", lambda mean: f"{mean:,.0f}")
  percent = lambda mean: f"{100 * mean:.1f}%"
  yield "Utilisation, all slots, mean", _mean(timed, "utilisation", percent)
  yield "Utilisation, real tokens, mean", _mean(timed, "useful_utilisation", percent)
  yield "Memory of a device at most", _memory(timed)


def _training(record: Record) -> float:
  """Seconds that rates are over."""
  return efficiency_plots.seconds(record, "seconds_step", "seconds_data")


def _tokens(timed: list[Record]) -> str | None:
  found = [
    rate * _training(record)
    for record in timed
    if (rate := number(record.get("tokens_per_second"))) is not None
  ]
  return scoreboard.count(sum(found)) if found else None


def _mean(timed: list[Record], key: str, shown: Callable[[float], str]) -> str | None:
  """Over time, as a rate's mean is."""
  found = [
    (value, _training(record)) for record in timed if (value := number(record.get(key))) is not None
  ]
  whole = sum(weight for _, weight in found)
  return shown(sum(value * weight for value, weight in found) / whole) if whole else None


def _memory(timed: list[Record]) -> str | None:
  found = [number(record.get("device_memory_peak_bytes")) for record in timed]
  most = max((value for value in found if value is not None), default=None)
  return None if most is None else f"{most / 2**30:.2f} GiB"
