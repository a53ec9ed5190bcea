"""What `flan-tune evaluate` prints: means and scores of an evaluation, a comparison, a list."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flan_tune import console
from flan_tune.evaluate import compare_runs, wording
from flan_tune.report.visible import shortened, visible

_PLAIN_WIDTH = 140  # columns assumed where there is no terminal to ask
_SHOWN = 10  # notes, missing benchmarks
_FEW = 20  # a resample of fewer questions varies less than new ones would
_LINES, _CHARACTERS = 6, 400  # of a flipped question and its answers


def evaluation(document: Mapping[str, Any], *, by_task: bool = False) -> None:
  """Prints the means of suites, and with `by_task` every exam.

  Args:
    document: The content of `results.json`.
  """
  rows = document["rows"]
  screen = _screen()
  groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
  for row in rows:
    groups.setdefault((_benchmark(row), row["label"]), []).append(row)
  means = _table("benchmark", "setting", "tasks", "n", "score", "95 %", "other", "chance", "told")
  intervals = _intervals(document)
  for (name, label), chosen in groups.items():
    own = _ends(chosen[0]) if len(chosen) == 1 else None
    ends = intervals.get((name, wording.parse(label).text)) or own
    means.add_row(*_cells(name, label, chosen, ends))
  screen.print(means)
  if by_task:
    each = _table("task", "setting", "category", "n", "score", "95 %", "other", "chance", "told")
    for row in rows:
      each.add_row(*_cells(row["benchmark"], row["label"], [row], _ends(row), row["category"]))
    screen.print(each)
  _tell(document)


def _tell(document: Mapping[str, Any]) -> None:
  means = document["aggregate"]
  if means and means["normalized_average"] is not None:
    console.say(f"Normalised average of the six: {means['normalized_average']:.1f}")
  elif means and means["partial_average"] is not None:
    lacks = ", ".join(part.partition(":")[0] for part in means["missing"])
    console.say(
      f"Normalised average of what there is: {means['partial_average']:.1f} (not the paper's six:"
      f" tasks are missing of {lacks})"
    )
  missing = [(one["name"], f"{one['path']}: {one['how']}") for one in document["missing"]]
  _list("Missing", _shared(missing))
  stand_ins = [(row["key"], row["stand_in"]) for row in document["rows"] if row["stand_in"]]
  _list("Stand-in", _shared(stand_ins))
  _list("Note", document["notes"])


def _shared(told: Iterable[tuple[str, str]]) -> list[str]:
  """Names of which the same is told, together."""
  names: dict[str, list[str]] = {}
  for name, text in told:
    names.setdefault(text, []).append(name)
  return [
    f"{found[0] if len(found) == 1 else f'{found[0]} and {len(found) - 1} more'}: {text}"
    for text, found in names.items()
  ]


def _list(title: str, texts: Sequence[str], *, rest: str = ", in results.json") -> None:
  for text in texts[:_SHOWN]:
    console.say(f"{title}: {visible(text)}")
  if len(texts) > _SHOWN:
    console.say(f"{title}: {len(texts) - _SHOWN:,} more{rest}")


def comparison(found: compare_runs.Comparison, *, flips: int) -> None:
  """Prints two evaluations side by side, and so many of the questions that flipped."""
  screen = _screen()
  table = _table("exam", "n", "A", "B", "B - A", "95 %", "p", "won", "lost")
  for line in (*found.exams, found.overall):
    figures = (f"{line.a:.1f}", f"{line.b:.1f}", f"{line.difference:+.1f}")
    ends = f"{line.low:+.1f} to {line.high:+.1f}"
    counts = (f"{line.won:,}", f"{line.lost:,}")
    table.add_row(line.exam, f"{line.n:,}", *figures, ends, f"{line.p_value:.3f}", *counts)
  for letter, folder in zip("AB", found.folders, strict=True):
    console.say(f"{letter}: {folder}")
  screen.print(table)
  for letter, only in zip("AB", (found.only_a, found.only_b), strict=True):
    _list(f"Only in {letter}", only, rest="")
  _list("Note", found.warnings, rest="")
  if few := sum(line.n < _FEW for line in found.exams):
    console.say(
      f"Note: {few:,} exams of fewer than {_FEW} questions, whose intervals and p are too small"
    )
  for flip in found.flips[:flips]:
    _flip(flip)
  if len(found.flips) > flips:
    console.say(f"{len(found.flips) - flips:,} more questions flipped; --flips shows more.")


def _flip(flip: compare_runs.Flip) -> None:
  console.say(f"── {flip.exam} {flip.id} · {flip.change}, target {visible(flip.target)}")
  question = flip.prompt.strip().splitlines()[-_LINES:]
  console.say(shortened(visible("\n".join(question)), _CHARACTERS))
  for letter, text in zip("AB", (flip.generation_a, flip.generation_b), strict=True):
    console.say(f"{letter}: {shortened(visible(text), _CHARACTERS)}")


def benchmarks(listed: Iterable[Any]) -> None:
  """Prints suites with what is on disk (`evaluation.Listed`)."""
  table = _table("name", "tasks", "ready", "lacking")
  for one in listed:
    table.add_row(one.name, str(one.tasks), str(one.ready), visible(one.lacking))
  _screen().print(table)


def _screen() -> Console:
  screen = Console(highlight=False)
  if screen.is_terminal:
    return screen
  return Console(width=max(screen.width, _PLAIN_WIDTH), highlight=False)


def _table(*columns: str) -> Table:
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
  words = {"benchmark", "task", "setting", "category", "name", "lacking", "told", "exam"}
  for column in columns:
    table.add_column(column, justify="left" if column in words else "right")
  return table


def _benchmark(row: Mapping[str, Any]) -> str:
  """The suite's name in tables of results; a task card's group."""
  name, slash, _ = row["benchmark"].partition("/")
  return name if slash else row["suite"]


def _intervals(document: Mapping[str, Any]) -> dict[tuple[str, str], tuple[float, float]]:
  means = (document["aggregate"] or {}).get("benchmarks", ())
  known = [row for row in means if row["low"] is not None]
  return {(row["benchmark"], row["setting"]): (row["low"], row["high"]) for row in known}


def _ends(row: Mapping[str, Any]) -> tuple[float, float] | None:
  return None if row["low"] is None else (row["low"], row["high"])


def _cells(
  name: str,
  label: str,
  rows: Sequence[Mapping[str, Any]],
  ends: tuple[float, float] | None,
  category: str | None = None,
) -> list[Text]:
  scored = [row for row in rows if row["score"] is not None]
  count = len(scored) if len(scored) == len(rows) else f"{len(scored)} of {len(rows)}"
  second = str(count) if category is None else category
  others: dict[str, list[float]] = {}
  for row in scored:
    for reading, value in list(row["scores"].items())[1:]:
      others.setdefault(reading, []).append(value)
  chances = [100 * row["chance"] for row in rows if row.get("higher_is_better", True)]
  cells = [
    name,
    label,
    second,
    f"{sum(row['n'] for row in rows):,}",
    _mean([row["score"] for row in scored]),
    f"{ends[0]:.1f}-{ends[1]:.1f}" if ends else "",
    ", ".join(f"{reading} {_mean(values)}" for reading, values in others.items()),
    _mean(chances) if chances else "",
    _told(rows),
  ]
  return [Text(visible(cell)) for cell in cells]


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
  """What went wrong with answers and questions, counted."""
  counts = {
    name: sum(row[key] for row in rows)
    for name, key in (
      ("no answer", "unparsable"),
      ("cut off", "truncated"),
      ("exemplars dropped", "dropped_exemplars"),
      ("prompts cut", "cut_prompts"),
    )
  }
  counts["bad rows"] = sum(sum(row["problems"].values()) for row in rows)
  return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _mean(values: Sequence[float]) -> str:
  return f"{sum(values) / len(values):.1f}" if values else "none"
