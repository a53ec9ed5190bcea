"""Numbers in running text: digits of any script, separators of thousands, decimal marks.

A comma or a dot is read as English writes it, unless that makes no sense: `1,234` is 1234 and
`1.234` is 1.234, but `1.234,5`, `1.234.567` and `2,50` are read as German, Spanish, French and
Russian write them.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

# Thousands may also be set apart by no-break, figure and thin spaces, apostrophes, and the Arabic
# mark; an ordinary space is too often what stands between two numbers.
_THOUSANDS = "\u00a0\u2007\u2009\u202f'\u2019\u066c"
_ARABIC_DECIMAL = "\u066b"
_MARK = f"[.,{_ARABIC_DECIMAL}{_THOUSANDS}]"
# Digits and all marks between digits at once, so that no text is scanned twice.
_RUN = re.compile(rf"\d+(?:{_MARK}\d+)*|(?<![\w.])\.\d+")
_MARKS = re.compile(_MARK)
_MINUS = "-\u2212\uff0d\ufe63\u2013"


class Number(NamedTuple):
  """A number and where it stands.

  Attributes:
    value: Decimal text: ASCII digits, no separators, no zeros that say nothing.
    start: Of the number with its sign.
    end: After its last digit.
    fraction: Whether it is one side of a fraction, a date or a time, as in 3/4 and 10:30.
  """

  value: str
  start: int
  end: int
  fraction: bool = False


def canonical(whole: str, decimals: str = "", *, negative: bool = False) -> str:
  """Decimal text of digits before and after the mark: `("007", "50")` gives `7.5`."""
  whole, decimals = _ascii(whole).lstrip("0") or "0", _ascii(decimals).rstrip("0")
  text = f"{whole}.{decimals}" if decimals else whole
  return f"-{text}" if negative and text != "0" else text


def _ascii(digits: str) -> str:
  return digits if digits.isascii() else "".join(str(unicodedata.decimal(c)) for c in digits)


def _grouped(groups: list[str], *, indian: bool = False) -> bool:
  """Whether groups of digits are what separators of thousands (or lakhs) leave."""
  first, *middle, last = groups
  between = (2, 3) if indian else (3,)
  ok = 1 <= len(first) <= 3 and len(last) == 3 and first[0] != "0"
  return ok and all(len(group) in between for group in middle)


def _split(groups: list[str], marks: list[str], *, enclosed: bool) -> tuple[str, str] | None:
  """Digits before and after the decimal mark, or None when this is not one number."""
  last, others = marks[-1], set(marks[:-1])
  if others and last not in others and last in (".", ",", _ARABIC_DECIMAL):
    one_mark = len(others) == 1
    return ("".join(groups[:-1]), groups[-1]) if one_mark and _grouped(groups[:-1]) else None
  if others and others != {last}:
    return None
  if last == _ARABIC_DECIMAL or (last == "." and not others):
    return None if others else (groups[0], groups[1])
  if _grouped(groups, indian=last == ","):
    return "".join(groups), ""
  # 2,5 and 0,125 have a decimal comma; (1,2) is a pair.
  decimal = len(groups[-1]) <= 2 or groups[0] == "0"
  return (groups[0], groups[1]) if last == "," and not others and decimal and not enclosed else None


def _start(text: str, first: int) -> int:
  """Where the number whose first digit is at `first` begins: at its sign, if it has one.

  A minus sign counts unless it stands after an operand, as in 7-3.  A sign of currency may stand
  between it and the digits.
  """
  sign = first - 1
  if sign > 0 and unicodedata.category(text[sign]) == "Sc":
    sign -= 1
  if sign < 0 or text[sign] not in _MINUS:
    return first
  before = text[sign - 1] if sign else " "
  return first if before.isalnum() or before in "_)]" else sign


def _read(text: str, run: re.Match[str]) -> Iterator[Number]:
  found, first, end = run[0], run.start(), run.end()
  start = _start(text, first)
  negative = start < first
  over = text[end : end + 1] in ("/", ":") and text[end + 1 : end + 2].isdecimal()
  under = text[first - 1 : first] in ("/", ":") and text[max(first - 2, 0) : first - 1].isdecimal()
  marks, groups = _MARKS.findall(found), _MARKS.split(found)
  if not marks:
    yield Number(canonical(found, negative=negative), start, end, over or under)
    return
  enclosed = text[first - 1 : first] in ("(", "[") and text[end : end + 1] in (")", "]")
  begins = found.startswith(".")
  parts = ("", groups[1]) if begins else _split(groups, marks, enclosed=enclosed)
  if parts is not None:
    yield Number(canonical(*parts, negative=negative), start, end, over or under)
    return
  # Several numbers with no space between them, as in 2000,3000.
  at = first
  for piece in re.split(_MARK.replace(".", ""), found):
    whole, _, decimals = piece.partition(".")
    decimals = "" if "." in decimals else decimals
    value = canonical(whole if decimals else piece.rpartition(".")[2], decimals)
    yield Number(f"-{value}" if negative and at == first else value, at, at + len(piece))
    at += len(piece) + 1


def find(text: str) -> Iterator[Number]:
  """All numbers of a text, in order, in linear time."""
  for run in _RUN.finditer(text):
    yield from _read(text, run)


def last(text: str) -> Number | None:
  """The last number of a text."""
  found = None
  for run in _RUN.finditer(text):
    found = run
  return list(_read(text, found))[-1] if found else None
