"""Numbers, as decimal text: `1234`, `3.5`, `-5`."""

import re
from collections.abc import Sequence

from flan_tune.text import numbers, scripts
from flan_tune.text.extraction import cues

_CUE = re.compile(f"{cues.CUE.pattern}|{cues.NATIVE_CUE.pattern}", re.IGNORECASE)
# Longer texts are no answer by themselves, so words in them are not taken for one.
_SHORT = 40
_PLAIN = re.compile(r"(-?)([1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.(\d+))?", re.ASCII)
# Counters, cases and copulas that some scripts write onto a number: 39個, 11টি, 11です.
_ATTACHED = re.compile(r"\.?[^\W\d_a-zA-Z][^\s\d.!?。！？।,;:]*")
# Thousands set apart by ordinary spaces, which SentencePiece makes of all others.
_SPACE = "[ \u00a0\u2007\u2009\u202f]"
_SPACED = re.compile(rf"(?<![\d.,/])\d+(?:{_SPACE}\d+)+")
_BEFORE = re.compile(
  r"[^\w\d]*(?:(?:about|approximately|exactly|only|just|US|USD|EUR|Rs)\b)?[^\w\d]*", re.IGNORECASE
)
_OPERATOR = re.compile(r"[\w%$€£]{0,12}\s{0,2}[-+*/x×÷−^=]\s{0,2}[-−($€£]{0,3}\d")
# What makes a number the second of two, `20 - 12` that nobody worked out or `5 or 6`, or leaves
# open whether a sign or the mark of a list stands before it: `- 5`.
_SECOND = re.compile(
  r"(?:\d\)?\s{0,2}[-+*/x×÷^–—]|\d\s{1,2}(?:or|to|and|&|plus|minus|times)\s"
  r"|(?:^|[=:])\s{0,2}[-−]\s|\bbetween\s[$€£]?[\d.,]{1,20}\sand\s)"
  r"\s{0,2}[($€£]{0,2}$"
)
_MINUS = re.compile(r"(?<![\d)]\s)\b(?:minus|negative)\s(?=[$€£]?\d)", re.IGNORECASE)
_OTHER = re.compile(r"\s{0,2}(?:or|to|and|&|plus|minus|times)\s{1,2}[$€£]?\d|\s?[–—]\s?\d")
_UNITS = (
  *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
  *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
  *("eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SPELLED = re.compile(
  rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(_UNITS[1:10])}))?|({'|'.join(_UNITS)}))\b"
  r"(?![- ](?:hundred|thousand|million|and\b|half|third|point|of\b))",
  re.IGNORECASE | re.ASCII,
)


def _exact(candidates: Sequence[str]) -> str | None:
  for candidate in candidates:
    if found := _PLAIN.fullmatch(candidate):
      sign, whole, decimals = found.groups(default="")
      return numbers.canonical(whole.replace(",", ""), decimals, negative=bool(sign))
  return None


def strict(generation: str, options: Sequence[str]) -> str | None:
  """The first line is a number in ASCII digits, with perhaps one mark after it."""
  del options
  return _exact(cues.trimmed(cues.first_line(generation)))


def strict_cot(generation: str, options: Sequence[str]) -> str | None:
  """The number directly after the last cue, English or MGSM's own, or a number and nothing else.

  Marks at either end are dropped, and a counter or copula of another script that is written
  onto the number; other words after it are not.
  """
  del options
  rest = cues.after_last(generation, _CUE)
  if rest is None:
    return _exact(cues.trimmed_both(generation.strip()))
  found = _PLAIN.search(rest)
  if found and found.end() < len(rest) and (word := _ATTACHED.match(rest, found.end())):
    rest = rest[: found.end()] + rest[word.end() :]
  return _exact(cues.trimmed_both(rest))


def _joined_spaces(text: str) -> str:
  def join(found: re.Match[str]) -> str:
    first, *groups = re.split(_SPACE, found[0])
    thousands = len(first) <= 3 and first[0] != "0" and all(len(group) == 3 for group in groups)
    return first + "".join(groups) if thousands else found[0]

  return _SPACED.sub(join, text)


def _spelled(text: str) -> str | None:
  found = cues.last_match(text, _SPELLED)
  if found is None:
    return None
  tens, unit, alone = found.groups()
  if alone:
    return str(_UNITS.index(alone.lower()))
  return str(20 + 10 * _TENS.index(tens.lower()) + (_UNITS.index(unit.lower()) if unit else 0))


def _said(text: str) -> str | None:
  """The number with which a text begins, or the value of the sum with which it begins.

  Empty where it begins with several, or with a sum that is not worked out.
  """
  start = _BEFORE.match(text)
  found = next(numbers.find(text), None)
  if found is None or start is None or found.start > start.end():
    return None
  if _OPERATOR.match(text, found.end):
    _, equal, value = cues.sentences(text)[0].rpartition("=")
    return _last(value) if equal else ""
  several = _OTHER.match(text, found.end) or _second(text, found)
  return "" if found.fraction or several else found.value


def _last(text: str) -> str | None:
  found = numbers.last(text)
  if found is None or found.fraction:
    return None
  return "" if _second(text, found) else found.value


def _second(text: str, found: numbers.Number) -> bool:
  return _SECOND.search(text, max(0, found.start - 30), found.start) is not None


def _loose(text: str) -> str | None:
  text = _MINUS.sub("-", _joined_spaces(text))
  cue = cues.last_match(text, _CUE)
  if cue and cues.bare(text[cue.end() :]):
    # What follows a cue is the answer even where it is no number.
    text = text[cue.end() :]
    rest = cues.first_line(text)
    for said in (_said(rest), _last(rest), _spelled(rest)):
      if said is not None:
        return said or None
  return _last(text) or (_spelled(text) if len(text) <= _SHORT else None)


def loose(generation: str, options: Sequence[str]) -> str | None:
  """The number after the last cue, else the last number, in digits of any script.

  Units, signs of currency and markup do not matter.  Where there are no digits, English words up
  to ninety-nine count after a cue or by themselves.  A fraction is no number.
  """
  text = cues.own(scripts.half_width(generation)).strip()
  return strict(text, options) or _loose(text)


def loose_cot(generation: str, options: Sequence[str]) -> str | None:
  """As `loose`, but a first line that is a number does not decide."""
  text = cues.own(scripts.half_width(generation)).strip()
  return strict_cot(text, options) or _loose(text)
