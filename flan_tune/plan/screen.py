"""What a plan is printed with: titles, sentences, tables, and numbers with their units."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flan_tune.report.visible import shortened, visible

_PLAIN_WIDTH = 150  # columns assumed where there is no terminal to ask
_LEAST_WIDTH = 80  # what every table fits into; a narrower terminal breaks its lines
_AIRY_WIDTH = 100  # from which columns stand two apart
_CHARACTERS = 500  # of one sentence
_LEFT = {"", "remat", "from", "kind", "axes", "network"}
_FOLDED = {"group", "task", "note"}  # left as well, and on several lines where it is narrow
_GIB, _MIB = 2**30, 2**20
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS = ((2 * _DAY, _DAY, "days"), (2 * _HOUR, _HOUR, "h"), (2 * _MINUTE, _MINUTE, "min"))


def title(text: str) -> None:
  """Prints what the next lines are about."""
  say("")
  say(f"── {text}")


def say(text: str) -> None:
  """Prints a sentence, cut where it is very long."""
  _console().print(Text(shortened(visible(text), _CHARACTERS)))


def rest(count: int, what: str) -> None:
  """Says how many lines are left out, if any."""
  if count > 0:
    say(f"{count:,} more {what}; --json has all.")


def facts(*rows: tuple[str, str]) -> None:
  """Prints names with what is to be said of them, in two columns."""
  grid = Table.grid(padding=(0, 2, 0, 0))
  grid.add_column(no_wrap=True)
  grid.add_column(overflow="fold")
  for name, text in rows:
    grid.add_row(Text(name), Text(text))
  _console().print(grid)


def table(*columns: str) -> Table:
  """An empty table; columns of words are known by their titles, all others hold numbers."""
  gap = int(_console().width >= _AIRY_WIDTH)
  made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0), show_edge=False)
  for column in columns:
    folded = column in _FOLDED
    left = folded or column in _LEFT
    made.add_column(
      column, justify="left" if left else "right", no_wrap=not folded, overflow="fold"
    )
  return made


def show(made: Table) -> None:
  """Prints a table and an empty line."""
  _console().print(made)
  say("")


def share(value: float, digits: int = 1) -> str:
  """A share of 1 in per cent."""
  return f"{100 * value:.{digits}f} %"


def exponent(value: float) -> str:
  """A number of operations."""
  return f"{value:.3g}" if value < 1e6 else f"{value:.2e}"


def decimal(value: float) -> str:
  """A number with one decimal, if it is not a large one."""
  return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def digits(value: float) -> str:
  """A number with three digits at least."""
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size(count: int) -> str:
  """A number of bytes."""
  if count >= _GIB / 10:
    return f"{count / _GIB:,.2f} GiB"
  return f"{count / _MIB:,.1f} MiB" if count >= _MIB / 10 else f"{count / 1024:,.1f} KiB"


def unit_of_bytes(largest: int) -> tuple[int, str]:
  """The unit for numbers of bytes up to `largest`, and its name."""
  return (_GIB, "GiB") if largest >= _GIB else (_MIB, "MiB")


def duration(seconds: float) -> str:
  """A time, from milliseconds to days."""
  for least, unit, name in _UNITS:
    if seconds >= least:
      return f"{seconds / unit:,.1f} {name}"
  return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _console() -> Console:
  console = Console(highlight=False, markup=False)
  least = _LEAST_WIDTH if console.is_terminal else _PLAIN_WIDTH
  return Console(width=max(console.width, least), highlight=False, markup=False)
