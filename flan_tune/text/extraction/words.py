"""Answers that are one of a few words or phrases: True and False, yes and no, valid and invalid."""

import functools
import itertools
import re
from collections.abc import Mapping, Sequence

from flan_tune.text import scripts
from flan_tune.text.extraction import cues, strings

_NOT = (
  r"(?:\bnot|n['’]t|\bnever|\bcannot|\bhardly|\bfar\sfrom|\bfails\sto)\s{1,2}"
  r"(?:(?:seem|appear|look)\s{1,2})?(?:to\s)?(?:be\s{1,2})?"
  r"(?:\w{1,20}ly\s{1,2}(?:(?:or|and)\s\w{1,20}ly\s{1,2})?|quite\s{1,2})?"
  r"(?:a\s|an\s|the\s)?[(\"'*]{0,3}\s?"
)
# Denied twice, or behind: `not not True`, `True is wrong`.
_TWICE = re.compile(r"\b(?:not|n['’]t)[\s(]{1,4}$", re.IGNORECASE)
_DENIED = re.compile(
  r"[\"'*]{0,3}\s{1,2}(?:(?:is|was|would\sbe)(?:n['’]t|\s(?:not|wrong|incorrect))|if|unless)\b",
  re.IGNORECASE,
)
# What is only supposed: `Let A = True`, `whether it is valid`.
_SUPPOSED = re.compile(
  r"\b(?:if|whether|unless|let|suppose|doubt)\b[^,;:\r\n.]{0,60}$", re.IGNORECASE
)
_BEFORE = 80  # characters that are looked at
# Parts of an expression, which is no answer: `True and not ( False`.
_OPERATOR = re.compile(r"[\s()]*(?:and|or)[\s()]*(?:not[\s()]+)*", re.IGNORECASE)
_UP_TO_MARK = re.compile(r"[^.!?？\r\n]*+[.!?？\r\n]?")
_JOIN = re.compile(r"[\"'*]{0,3}\s{0,2}(?:/|,?\s?(?:or|and)\s|\s)\s{0,2}[\"'*]{0,3}", re.IGNORECASE)
# `no` is an answer before a mark or a reason, and no answer in "no reason".
_STANDS = (
  r"(?=$|[^\w\s'’-]|['’](?!\w)|\s{0,2}[\r\n]|\s{1,2}[-–—]\s"
  r"|\s{1,2}(?:yes|no|because|since|as|for|the|it|he|she|they|this)\b)"
)
_END = re.compile(
  r"(?:[=:→]|\b(?:is|be|so|thus|hence|therefore|means|conclude))[\s\"'*,]{0,4}$", re.IGNORECASE
)


def _fold(text: str) -> str:
  return " ".join(scripts.half_width(text).casefold().split())


def _exact(candidates: Sequence[str], options: Sequence[str]) -> str | None:
  return next((candidate for candidate in candidates if candidate in options), None)


def strict(generation: str, options: Sequence[str]) -> str | None:
  """The first line is an option as it is spelled, with perhaps one mark after it."""
  if not options:
    return strings.strict(generation, options)
  return _exact(cues.trimmed(cues.first_line(generation)), options)


def strict_cot(generation: str, options: Sequence[str]) -> str | None:
  """What follows the last cue in its line, or all there is, is an option between two marks."""
  if not options:
    return strings.strict_cot(generation, options)
  rest = cues.after_last(generation, cues.CUE)
  return _exact(cues.trimmed_both(generation.strip() if rest is None else rest), options)


class _Words:
  """The options of a question as they may be met in a text."""

  def __init__(self, options: Sequence[str]):
    self.options: Mapping[str, str] = {_fold(option): option for option in options}
    longest_first = sorted((word for word in self.options if word), key=len, reverse=True)
    one = "|".join(
      re.escape(word).replace(r"\ ", r"\s{1,3}") + (_STANDS if word == "no" else "")
      for word in longest_first
    )
    word = rf"(?<![\w-])({one or '(?!)'})(?!\w)"
    self.mention = re.compile(rf"({_NOT})?{word}", re.IGNORECASE)
    self.leading = re.compile(rf"[\s\W]{{0,6}}({_NOT})?{word}", re.IGNORECASE)

  def meant(self, match: re.Match[str]) -> str | None:
    """The option; of two that which is not denied; None for two denials or what is supposed."""
    said = self.options.get(_fold(match[2]))
    before = match.string[max(0, match.start() - _BEFORE) : match.start()]
    doubted = _TWICE.search(before) or _SUPPOSED.search(before)
    if doubted or _DENIED.match(match.string, match.end()):
      return None
    if said is None or not match[1]:
      return said
    others = [option for option in self.options.values() if option != said]
    return others[0] if len(others) == 1 else None

  def leads(self, text: str) -> re.Match[str] | None:
    """An option at the beginning that no second one is joined to."""
    found = self.leading.match(text)
    join = _JOIN.match(text, found.end()) if found else None
    return None if join and self.mention.match(text, join.end()) else found

  def are_two(self, text: str) -> bool:
    """Whether two options are all of a text, as of `Yes. No`."""
    found = self.leading.match(text)
    if found is None:
      return False
    rest = _fold(cues.bare(text[found.end() :]))
    return rest in self.options and self.options[rest] != self.meant(found)

  def last(self, text: str) -> str | None:
    """The only option of the last sentence with any, or the one that such a sentence ends with."""
    pieces = _UP_TO_MARK.findall(text)
    told = "".join(piece for piece in pieces if piece[-1:] not in ("?", "？"))
    for sentence in reversed(cues.sentences(told if cues.bare(told) else text)):
      found = list(self.mention.finditer(sentence))
      if len({self.meant(match) for match in found}) == 1 and not _is_expression(found):
        return self.meant(found[0])
      if found:
        ends = not cues.bare(sentence[found[-1].end() :])
        ends = ends and _END.search(sentence, max(0, found[-1].start() - 30), found[-1].start())
        return self.meant(found[-1]) if ends else None
    return None


def _is_expression(found: Sequence[re.Match[str]]) -> bool:
  """Whether two of the mentions are operands."""
  pairs = itertools.pairwise(found)
  return any(_OPERATOR.fullmatch(a.string, a.end(), b.start(2)) for a, b in pairs)


@functools.lru_cache(maxsize=64)
def _words(options: tuple[str, ...]) -> _Words:
  return _Words(options)


def _loose(text: str, options: Sequence[str], *, leads: bool) -> str | None:
  words = _words(tuple(options))
  if words.are_two(text):
    return None
  for segment in reversed(cues.segments(text, cues.LOOSE_CUE)):
    if found := words.leads(segment):
      return words.meant(found)
    if found := words.mention.search(segment):
      return words.last(segment)
  found = words.leads(text)
  rest = text[found.end() :] if found else ""
  if found and (not cues.bare(rest) or (leads and rest[0] != " ")):
    return words.meant(found)
  return words.last(text) or (words.meant(found) if found and leads else None)


def loose(generation: str, options: Sequence[str]) -> str | None:
  """An option in any case, after a cue, at the beginning, or in the last sentence with any.

  Of two options, `not valid` says the other one.
  """
  if not options:
    return strings.loose(generation, options)
  text = cues.own(scripts.half_width(generation)).strip()
  return strict(text, options) or _loose(text, options, leads=True)


def loose_cot(generation: str, options: Sequence[str]) -> str | None:
  """As `loose`, but the last sentence is heard before the beginning."""
  if not options:
    return strings.loose_cot(generation, options)
  text = cues.own(scripts.half_width(generation)).strip()
  return strict_cot(text, options) or _loose(text, options, leads=False)
