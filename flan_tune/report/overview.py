"""The top of the page: what was run, on what, how long, and what came out; and the environment."""

import datetime
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune.report import scoreboard
from flan_tune.report.markup import Column, Markup, details, element, join, table
from flan_tune.report.run_folder import Run
from flan_tune.report.scoreboard import Score, number

_UNKNOWN = "not recorded"


def title(run: Run) -> str:
  """The mixture and the model, as far as known."""
  mixture = (
    run.data.get("mixture") or run.macro("MIXTURE_OR_TASK_NAME") or run.folder.resolve().name
  )
  model = run.environment.get("model")
  return f"{mixture} on {model}" if model else str(mixture)


def facts(run: Run) -> Markup:
  """The run in figures."""
  pairs = [
    ("Mixture", str(run.data.get("mixture") or run.macro("MIXTURE_OR_TASK_NAME") or _UNKNOWN)),
    ("Model", _model(run)),
    ("Objective", run.macro("OBJECTIVE")),
    ("Started from", run.macro("INITIAL_CHECKPOINT_PATH")),
    ("Steps", _steps(run)),
    ("Steps left out", _left_out(run)),
    ("Time", _time(run)),
    ("Tokens seen", _tokens(run)),
    ("Tokens per second", _speed(run)),
    ("Packing fill", _fill(run)),
    ("Batch", _batch(run)),
    ("Machine", _machine(run)),
    ("Started", _started(run)),
    ("Version", _version(run)),
  ]
  items = [
    element("div", element("dt", name), element("dd", value))
    for name, value in pairs
    if value not in (None, "None")  # instructions need no word, nor do random parameters
  ]
  return element("dl", *items, class_="facts")


def notices(told: Sequence[str]) -> Markup | None:
  """What the folder lacks."""
  if not told:
    return None
  items = [element("li", notice) for notice in told]
  return element("ul", *items, class_="notices", aria_label="Notices")


def headlines(run: Run) -> Markup | None:
  """The averages, large."""
  if not run.averages:
    return None
  return element("div", *(_headline(item) for item in run.averages[:6]), class_="headlines")


def environment(run: Run) -> Markup:
  """Versions and machine in full, and what happened during the run."""
  parts = [environment_of(run.environment)]
  if run.events:
    parts.append(details(f"Events of the run ({len(run.events)})", _events(run)))
  return join(parts)


def environment_of(made: Mapping[str, Any]) -> Markup:
  """Versions and machine in full."""
  known = {key: value for key, value in made.items() if value not in (None, {}, [])}
  if not known:
    return element("p", "The environment was not recorded.")
  rows = [(key, _shown(value)) for key, value in known.items() if key != "packages"]
  packages = made.get("packages")
  if isinstance(packages, dict):
    rows += [(f"{name} (package)", _shown(version)) for name, version in packages.items()]
  return table("What it was made with", [Column("what"), Column("value")], [(None, rows)])


def _headline(item: Score) -> Markup:
  change = scoreboard.percent(item.after)
  if item.before is not None:
    change = f"{scoreboard.percent(item.before)} → {change}"
  below = f"chance {scoreboard.percent(item.chance)}" if item.chance is not None else None
  return element(
    "div",
    element("span", item.task),
    element("strong", change),
    element("span", below) if below else None,
    class_="headline",
  )


def _model(run: Run) -> str:
  name = run.environment.get("model")
  size = number(run.environment.get("parameters"))
  if size is None:
    return str(name or _UNKNOWN)
  shown = shown_size(size)
  learned = number(run.environment.get("trained_parameters"))
  share = f", {100 * learned / size:.2f} % of them trained" if learned and learned < size else ""
  return f"{name}, {shown} parameters{share}" if name else f"{shown} parameters{share}"


def shown_size(parameters: float) -> str:
  """A number of parameters in millions or billions."""
  return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.2f} M"


def _steps(run: Run) -> str:
  if not run.train:
    return "none"
  planned = number(_integer(run.macro("TRAIN_STEPS")))
  shown = f"{run.train[-1]['step']:,}" + (f" of {planned:,.0f}" if planned else "")
  best = number(run.scored.get("best_step"))
  return shown + (f", best {best:,.0f}" if best is not None else "")


def _left_out(run: Run) -> str | None:
  count = run.last("skipped_steps")
  return f"{count:,.0f}, whose loss or gradient was not finite" if count else None


def _integer(text: str | None) -> int | None:
  digits = (text or "").replace("_", "")
  return int(digits) if digits.isdecimal() else None


def _time(run: Run) -> str:
  seconds = run.seconds()
  if seconds is None:
    return _UNKNOWN
  resumed = sum(event.get("what") == "resume" for event in run.events)
  again = f", resumed {'once' if resumed == 1 else f'{resumed} times'}" if resumed else ""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  parts = [f"{hours} h" if hours else "", f"{minutes} min" if hours or minutes else "", f"{rest} s"]
  return " ".join(part for part in parts if part) + again


def _tokens(run: Run) -> str:
  value = run.last("tokens_seen")
  return _UNKNOWN if value is None else scoreboard.count(value)


def _speed(run: Run) -> str:
  values = [number(record.get("tokens_per_second")) for record in run.train]
  found = [value for value in values if value is not None]
  return f"{statistics.median(found):,.0f} (median)" if found else _UNKNOWN


def _fill(run: Run) -> str:
  value = number(run.data.get("fill"))
  value = run.last("fill") if value is None else value
  return _UNKNOWN if value is None else f"{100 * value:.1f}%"


def _batch(run: Run) -> str:
  size, lengths = run.macro("BATCH_SIZE"), run.macro("TASK_FEATURE_LENGTHS")
  shown = [f"{size} rows" if size else "", (lengths or "").strip("{}").replace("'", "")]
  return " of ".join(part for part in shown if part) or _UNKNOWN


def _machine(run: Run) -> str:
  made = run.environment
  devices = [str(device) for device in made.get("devices") or []]
  kinds = [f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)]
  cores, memory = number(made.get("cpu_count")), number(made.get("memory_bytes"))
  parts = [
    ", ".join(kinds),
    str(made.get("processor") or ""),
    f"{cores:.0f} core{'s' if cores != 1 else ''}" if cores else "",
    f"{memory / 2**30:.0f} GiB" if memory else "",
    f"peak {peak / 2**30:.2f} GiB" if (peak := _peak(run)) else "",
  ]
  return ", ".join(part for part in parts if part) or _UNKNOWN


def _peak(run: Run) -> float | None:
  found = [number(event.get("peak_memory_bytes")) for event in run.events]
  return max((value for value in found if value is not None), default=None)


def _started(run: Run) -> str:
  times = (number(record.get("time")) for record in (*run.events, *run.train))
  first = next((value for value in times if value is not None), None)
  return _UNKNOWN if first is None else _clock(first)


def _clock(seconds: float) -> str:
  try:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  except (OverflowError, OSError, ValueError):
    return _UNKNOWN
  return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _version(run: Run) -> str:
  version, commit = run.environment.get("flan_tune"), run.environment.get("commit")
  shown = [f"flan_tune {version}" if version else "", f"commit {commit}" if commit else ""]
  return ", ".join(part for part in shown if part) or _UNKNOWN


def _shown(value: Any) -> str:
  if isinstance(value, bool) or not isinstance(value, int | float | list):
    return str(value)
  return ", ".join(str(item) for item in value) if isinstance(value, list) else f"{value:,}"


def _events(run: Run) -> Markup:
  rows = [
    (
      f"{event['step']:,}",
      _clock(number(event.get("time")) or 0.0),
      str(event.get("what") or ""),
      str(event.get("text") or ""),
    )
    for event in run.events
  ]
  columns = [Column("step", number=True), Column("time"), Column("what"), Column("text")]
  return table("Events", columns, [(None, rows)])
