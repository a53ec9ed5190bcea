"""What a person sees on the terminal: a line of progress, the table of scores, examples to read.

Everything is legible without colours and fits narrow terminals.  Without a terminal (a pipe, a
file, a cluster's log) progress comes as plain lines, one every few seconds.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich import box
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Downloads
from rich.table import Table
from rich.text import Text

from flan_tune import marked, render
from flan_tune.report import scoreboard
from flan_tune.report.visible import middle_cut, shortened, visible

_REDRAW_SECONDS = 0.1  # ten pictures a second look smooth; more only cost time
_PLAIN_WIDTH = 110  # columns assumed where there is no terminal to ask


class Progress:
  """One line that tells how training, or an evaluation, goes; a context manager.

  Without a terminal, a line at the first update, then one every `interval` seconds and the last.
  Nothing is drawn from a thread: worker processes forked meanwhile could inherit its locks.
  """

  def __init__(
    self,
    total: int,
    start: int = 0,
    *,
    unit: str = "step",
    console: Console | None = None,
    interval: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Prepares a line for steps `start` + 1 to `total`; `start` is the restored step.

    Args:
      unit: What is counted, for logs.
      interval: Seconds between lines where there is no terminal.
      clock: Seconds, never going backwards.
    """
    self._console = console or Console(highlight=False)
    self._total, self._clock, self._interval = total, clock, interval
    self._line = _Line(start, total, {}, None, "starting", unit)
    self._origin: tuple[int, float] | None = None  # step and time of the first update
    self._drawn = float("-inf")
    self._pending = False
    self._live: Live | None = None
    # Asked of the stream too: FORCE_COLOR makes rich take a log file for a terminal.
    if self._console.is_interactive and self._console.file.isatty():
      self._live = Live(self._line, console=self._console, auto_refresh=False)

  def update(
    self,
    step: int,
    metrics: Mapping[str, Any] | None = None,
    *,
    total: int | None = None,
  ) -> None:
    """Shows that `step` is done.

    Args:
      total: Steps in all, where that was not known at first.
      metrics: Shown are loss, tokens_per_second, fill and utilisation (0..1 both); what is
        missing keeps its last value, so this may be called every step with nothing measured.
    """
    now = self._clock()
    if self._origin is None:
      self._origin = (step, now)
    self._total = self._total if total is None else total
    known = {**self._line.metrics, **(metrics or {})}
    left = self._seconds_left(step, now)
    self._line = self._line._replace(
      step=step, total=self._total, metrics=known, seconds_left=left, note=""
    )
    self._pending = True
    if now - self._drawn >= (_REDRAW_SECONDS if self._live else self._interval):
      self._draw()

  def note(self, text: str) -> None:
    """Says what keeps the next step waiting ("compiling", "evaluating"), until the next update."""
    self._line = self._line._replace(note=text)
    if self._live:
      self._draw()

  def print(self, text: str) -> None:
    """Prints a line above the bar."""
    self._console.print(Text(visible(text)), soft_wrap=True)

  def _seconds_left(self, step: int, now: float) -> float | None:
    # Counted from the first update: the first step compiles, and would spoil the average.
    first, since = self._origin or (step, now)
    if step <= first:
      return None
    return (now - since) / (step - first) * max(0, self._total - step)

  def _draw(self) -> None:
    self._drawn, self._pending = self._clock(), False
    if self._live:
      self._live.update(self._line, refresh=True)
    else:
      self._console.print(self._line.plain(), soft_wrap=True, markup=False, highlight=False)

  def __enter__(self) -> Self:
    if self._live:
      self._live.start(refresh=True)
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if self._pending:
      self._draw()
    if self._live:
      self._live.stop()


class _Line(NamedTuple):
  """What the progress line says at one moment."""

  step: int
  total: int
  metrics: Mapping[str, Any]
  seconds_left: float | None
  note: str
  unit: str

  def fields(self) -> list[tuple[str, str]]:
    """(name, text) of what there is to say, the least important last."""
    left = self.note or f"ETA {scoreboard.duration(self.seconds_left)}"
    parts = [("step", f"{self.step:,}/{self.total:,}")]
    if (loss := scoreboard.number(_float(self.metrics.get("loss")))) is not None:
      parts.append(("loss", f"loss {loss:.4g}" if loss < 0.01 else f"loss {loss:.3f}"))
    parts.append(("left", left))
    if (speed := scoreboard.number(_float(self.metrics.get("tokens_per_second")))) is not None:
      parts.append(("speed", f"{speed:,.0f} tok/s"))
    if (fill := scoreboard.number(_float(self.metrics.get("fill")))) is not None:
      parts.append(("fill", f"fill {100 * fill:.0f}%"))
    if (used := scoreboard.number(_float(self.metrics.get("utilisation")))) is not None:
      parts.append(("used", f"util {100 * used:.3g}%"))
    return parts

  def share(self) -> float:
    """The part done, 0..1."""
    return min(1.0, self.step / self.total) if self.total else 0.0  # not known yet

  def plain(self) -> str:
    """The whole line without a bar, for logs."""
    texts = dict(self.fields())
    order = ("step", "loss", "speed", "fill", "used", "left")
    head, *rest = [texts[name] for name in order if name in texts]
    return "  ".join([f"{self.unit} {head}", f"{100 * self.share():.0f}%", *rest])

  def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
    """Draws one line at most `max_width` wide, leaving out the least important parts first."""
    room = options.max_width - 1  # a full line would wrap on some terminals
    parts = self.fields()
    while len(parts) > 1 and _width(parts) + 6 > room:  # 6: two spaces and "100%"
      parts.pop()
    texts = dict(parts)
    line = Text(no_wrap=True, overflow="crop", end="")
    line.append(f"{texts.pop('step')}  {100 * self.share():3.0f}%", style="bold")
    bar = min(30, room - _width(parts) - 8)
    if bar >= 6:
      done = round(bar * self.share())
      # ASCII where the stream cannot encode the rule; the two halves differ without colours too.
      full, empty = ("━", "·") if options.encoding.startswith("utf") else ("#", ".")
      line.append("  ").append(full * done, style="green").append(empty * (bar - done), style="dim")
    for name in ("loss", "speed", "fill", "used", "left"):
      if name in texts:
        line.append(f"  {texts[name]}")
    line.truncate(max(1, room))
    yield line


def _width(parts: list[tuple[str, str]]) -> int:
  return sum(len(text) for _, text in parts) + 2 * (len(parts) - 1)


def _float(value: Any) -> float | None:
  """Array scalars become numbers here, not in the caller's loop."""
  return None if value is None else float(value)


def say(text: str) -> None:
  """Prints a line, with nothing in it taken for markup and no path in it broken in two."""
  Console(highlight=False).print(Text(text), soft_wrap=True)


def score_table(
  rows: Iterable[Mapping[str, Any]],
  summary: Iterable[Mapping[str, Any]] = (),
  *,
  console: Console | None = None,
) -> None:
  """Prints scores before and after tuning, grouped, with averages below.

  Args:
    rows: As in `scores.json`: task, group, category, held_out, setting, n, chance, before, after;
      scores are fractions.
    summary: Averages: name, chance, before, after.
  """
  console = console or Console(highlight=False)
  if not console.is_terminal:  # rich would assume 80 columns, and nobody could widen them later
    console = Console(file=console.file, width=max(console.width, _PLAIN_WIDTH), highlight=False)
  scores = [scoreboard.score(row) for row in rows]
  if not scores:
    console.print("No task was scored.")
    return
  averages = [scoreboard.score(row) for row in summary]
  columns, room = _fitting(console.width, [*scores, *averages])
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
  for column in columns:
    table.add_column(column.title, justify=column.justify, no_wrap=True)
  for title, members in scoreboard.grouped(scores):
    table.add_row(Text(title, style="bold"))
    for item in members:
      table.add_row(*(column.cell(item, room) for column in columns))
    table.add_section()
  if averages:
    table.add_row(Text("Averages", style="bold"))
  for item in averages:
    table.add_row(*(column.cell(item, room) for column in columns))
  console.print(table)
  if any(not item.above_chance for item in (*scores, *averages)):
    console.print(f"{scoreboard.NOT_ABOVE_CHANCE} after tuning not above chance")


class _Column(NamedTuple):
  """A column of the score table."""

  title: str
  text: Callable[[scoreboard.Score], str]
  justify: Any = "right"

  def cell(self, item: scoreboard.Score, room: int) -> Text:
    """The cell of one row; `room` is the width left for the task's name."""
    text = visible(self.text(item))
    if self.title == "task":
      return Text("  " + middle_cut(text, room))
    if self.title == "gain" and item.gain:
      return Text(text, style="green" if item.gain > 0 else "red")
    return Text(text)

  def width(self, scores: Iterable[scoreboard.Score]) -> int:
    """Of its longest cell, title included."""
    return max(len(self.title), *(len(self.text(item)) for item in scores))


_COLUMNS = (
  _Column("task", lambda s: s.task, "left"),
  _Column("category", lambda s: middle_cut(s.category, 28), "left"),
  _Column("setting", lambda s: s.setting, "left"),
  _Column("n", lambda s: "" if s.n is None else f"{s.n:,}"),
  _Column("chance", lambda s: scoreboard.percent(s.chance)),
  _Column("before", lambda s: scoreboard.percent(s.before)),
  _Column("after", lambda s: scoreboard.starred(s) + (" " if s.above_chance else "")),
  _Column("gain", lambda s: scoreboard.signed(s.gain)),
)
_FIRST_TO_GO = ("category", "n", "setting", "chance", "before")


def _fitting(width: int, scores: list[scoreboard.Score]) -> tuple[list[_Column], int]:
  """The columns that leave names readable, and the width left for the names."""
  enough = min(_COLUMNS[0].width(scores), 28)
  columns = list(_COLUMNS)
  room = _room(width, columns, scores)
  for title in _FIRST_TO_GO:
    if room >= enough:
      break
    columns = [column for column in columns if column.title != title]
    room = _room(width, columns, scores)
  return columns, max(8, room)


def _room(width: int, columns: list[_Column], scores: list[scoreboard.Score]) -> int:
  # Two between columns; two at the edges; two for the indentation of names.
  return width - sum(column.width(scores) + 2 for column in columns[1:]) - 4


def samples(
  records: Iterable[Mapping[str, Any]],
  *,
  limit: int = 3,
  max_characters: int = 600,
  console: Console | None = None,
) -> None:
  """Prints the first `limit` examples: prompt, target, and what was written before and after.

  Args:
    records: As in `samples.jsonl`: task, kind, inputs, targets, before, after, right_before,
      right_after.
    max_characters: Of each text; the rest is counted, not shown.
  """
  console = console or Console(highlight=False)
  for record, _ in zip(records, range(limit), strict=False):
    head = " · ".join(str(record[key]) for key in ("task", "kind") if record.get(key))
    console.print(Text(visible(f"── {head}"), style="bold"))
    for title, key, right in (
      ("prompt", "inputs", None),
      ("target", "targets", None),
      ("before", "before", record.get("right_before")),
      ("after", "after", record.get("right_after")),
    ):
      if record.get(key) is not None:
        console.print(_labelled(title, str(record[key]), right, max_characters))
    console.print()


def _labelled(title: str, text: str, right: bool | None, limit: int) -> Table:
  """A label on the left, the text beside it, wrapped under itself."""
  mark = {True: " (right)", False: " (wrong)"}.get(right, "") if right is not None else ""
  colour = {True: "green", False: "red"}.get(right, "") if right is not None else ""
  grid = Table.grid(padding=(0, 2, 0, 0))
  grid.add_column(width=14, no_wrap=True)
  grid.add_column(overflow="fold")
  shown = shortened(visible(text), limit) or "(nothing)"
  grid.add_row(Text(title + mark, style=colour), Text(shown))
  return grid


@contextlib.contextmanager
def transfer() -> Iterator[Callable[[str, int, int | None], None]]:
  """Shows downloads; gives a function to call with a name, bytes done and bytes in all or None."""
  with Downloads(
    TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
  ) as bars:
    known: dict[str, TaskID] = {}

    def progress(name: str, done: int, total: int | None) -> None:
      if name not in known:
        known[name] = bars.add_task(escape(visible(name)), total=total)
      bars.update(known[name], completed=done, total=total)

    yield progress


def example(shown: render.Example, *, console: Console | None = None) -> None:
  """Prints an example of a `marked.MarkedRenderer`, the values of its holes coloured."""
  console = console or Console(highlight=False)
  shots = f", {shown.shots} exemplars" if shown.shots else ""
  console.print(Text(f"── {shown.task} · {shown.kind} · {shown.template}{shots}", style="bold"))
  for title, text in (("inputs", shown.inputs), ("targets", shown.targets)):
    line = Text(f"{title}: ", style="dim")
    for part, is_value in marked.pieces(text):
      line.append(visible(part), style="cyan" if is_value else "default")
    console.print(line, soft_wrap=True)
  console.print()
