"""Letters of options: `(B)`."""

import re
from collections.abc import Mapping, Sequence

from flan_tune.text import scripts
from flan_tune.text.extraction import cues

_OPEN, _CLOSE = r"[(\[{]", r"[)\]}]"
_LABEL = re.compile(rf"{_OPEN}\s?\*{{0,2}}([A-Z])\*{{0,2}}\s?{_CLOSE}")
_NAMED = r"(?:(?:the\s)?(?:option|choice|letter|answer|statement|sentence)\s)?"
# Nothing but one letter, whatever stands around it.
_ALONE = re.compile(r"\W*(?:(?:option|choice|letter|answer)\b\W*)?([a-z])\W*", re.IGNORECASE)
# Right after a cue: in brackets, or on its own.  A and I are words as well, so another word may
# follow them only where it begins a reason.
_REASON = r"\s{1,2}(?:because|since|as|for|which|due|given|[-–—])\b"
_DIRECT = re.compile(
  rf"[\s:=\"'“‘*_$`\\]*{_NAMED}(?:{_OPEN}\s?\**([A-Za-z])\**\s?{_CLOSE}"
  rf"|([A-Z])(?:(?![\w'’&+]|[-‐]\w|\s{{1,2}}\w|\.\w)|(?={_REASON}|\s[-–—]\s))"
  r"|([B-HJ-Z])(?=\s{1,2}[a-z(\"'])|([a-z])(?=[).\s\"'*]*$))",
)
_MARKED = re.compile(
  r"\b(?i:option|choice|letter|(?:it|that|this|one)\sis|be|it['’]s|choose|chose|pick|select"
  r"|(?:go|going)\swith|so|thus|hence|therefore|ans)[,:]?\s{1,2}[\"'“‘*]{0,3}"
  rf"([A-Z])(?:(?![\w'’&+]|[-‐]\w|\s{{1,2}}\w|\.\w)|(?={_REASON}))"
)
# At the beginning of a direct answer: `(B) sarcastic`, `B. sarcastic`, `b) sarcastic`.
_LEADING = re.compile(
  rf"[\s*_\"'“-]{{0,6}}{_NAMED}(?:{_OPEN}([A-Z]){_CLOSE}|([A-Z])\**\s?[).:\]](?!\w)|([a-z])[)\]]"
  r"|([A-Z])(?=\s[-–—]\s|,?\s(?:because|since)\b))",
  re.IGNORECASE,
)
_JOINED = re.compile(
  rf"\**\s{{0,2}}(?:/|&|,?\s{{0,2}}(?:or|and)\s)\s{{0,2}}{_NAMED}(?:{_OPEN}[A-Z]{_CLOSE}|[A-Z]\b)"
  rf"|\**\s{{0,2}}{_OPEN}[A-Z]{_CLOSE}"
  rf"|\**,\s{{0,2}}(?:{_OPEN}[A-Z]{_CLOSE}|[A-Z])\s{{0,2}}(?:$|[.,]|or\b|and\b)"
)
_VERB = re.compile(r"\**\s{1,2}(?:is|are|was|were|isn|does|doesn|can|cannot|would|and|or)\b")
_NEGATION = re.compile(
  r"(?:(?i:\bnot|n['’]t|\bcannot|\bneither|\bnor|\brather\sthan|\bunlike)"
  r"(?:\s(?:be|choose|pick))?"
  r"|\b(?i:wrong|incorrect)\s(?:answer|option|choice|one)\s(?:is|was))"
  rf"\s{{1,2}}{_NAMED}(?:{_OPEN}\s?[A-Z]\s?{_CLOSE}|[A-Z]\b)"
  rf"|{_OPEN}[A-Z]{_CLOSE}\s{{1,2}}"
  r"(?:(?:is|are|was|does|can)(?:n['’]t|\s?not)|can['’]t"
  r"|(?:is|are|was)\s(?:wrong|incorrect|false))\b"
)
_AFFIRMED = re.compile(
  rf"(?:{_OPEN}([A-Z]){_CLOSE}|\b([A-Z]))\s{{1,2}}(?:is|must\sbe|should\sbe)\s(?:the\s)?(?:only\s)?"
  r"(?:correct|right|best|(?:final\s)?answer)\b"
)
# All options once more, as the question lists them.
_LISTED = re.compile(rf"{_OPEN}([A-Z]){_CLOSE}(?=\s+[^\s.,;:])")
_REASONED = re.compile(rf"{_VERB.pattern}|{_REASON}")


def _table(options: Sequence[str]) -> Mapping[str, str]:
  """Options by their capital letter; with no options, all letters in round brackets."""
  if not options:
    return {chr(65 + i): f"({chr(65 + i)})" for i in range(26)}
  cores = {option.strip(" ()[]{}.:").upper(): option for option in options}
  return {core: option for core, option in cores.items() if len(core) == 1}


def _exact(candidates: Sequence[str], options: Sequence[str]) -> str | None:
  table = _table(options)
  for candidate in candidates:
    core = candidate[1:-1] if candidate[:1] == "(" and candidate[-1:] == ")" else candidate
    if core in table:
      return table[core]
  return None


def strict(generation: str, options: Sequence[str]) -> str | None:
  """The first line is a label, with or without its brackets, and perhaps one mark after it."""
  return _exact(cues.trimmed(cues.first_line(generation)), options)


def strict_cot(generation: str, options: Sequence[str]) -> str | None:
  """What follows the last cue in its line, or all there is, is a label between two marks."""
  rest = cues.after_last(generation, cues.CUE)
  return _exact(cues.trimmed_both(generation.strip() if rest is None else rest), options)


def _one_of(match: re.Match[str]) -> str:
  return next(group for group in match.groups() if group).upper()


def _alone(text: str) -> str | None:
  """The letter, when there is nothing else but marks; long texts are not looked at."""
  found = _ALONE.fullmatch(text) if len(text) <= 80 else None
  return found[1].upper() if found else None


def _mentioned(sentence: str, pattern: re.Pattern[str]) -> set[str]:
  """Letters of labels in a sentence but for those it denies."""
  return {_one_of(match) for match in pattern.finditer(_NEGATION.sub(" ", sentence))}


def _after_cue(text: str) -> str | None:
  """The label that the last telling cue introduces; empty when it introduces several."""
  for segment in reversed(cues.segments(text, cues.LOOSE_CUE)):
    if direct := _DIRECT.match(segment):
      return "" if _JOINED.match(segment, direct.end()) else _one_of(direct)
    said = cues.sentences(segment)[:1]
    for pattern in (_LABEL, _MARKED):
      found = _mentioned(said[0], pattern) if said else set()
      if len(found) == 1:
        return found.pop()
  return None


def _listing(text: str) -> bool:
  """Whether the labels of a text are those of a list of options: each once, in order, with text."""
  found = list(_LABEL.finditer(text))
  listed = all(
    _LISTED.match(text, one.start()) and not _REASONED.match(text, one.end()) for one in found
  )
  letters = "".join(one[1] for one in found)
  return len(letters) > 1 and "ABCDEFGHIJKLMNOPQRSTUVWXYZ".startswith(letters) and listed


def _affirmed(text: str) -> str | None:
  """The label that is called the right one; empty where several are, and none is called so last."""
  found = list(_AFFIRMED.finditer(text))
  if len({_one_of(match) for match in found}) > 1 and " the " not in found[-1][0]:
    return ""
  return _one_of(found[-1]) if found else None


def _last_sentence(text: str) -> str | None:
  """The only label of the last sentence that has labels in brackets, else after telling words."""
  cue = cues.last_match(text, cues.LOOSE_CUE)
  # What follows a cue is the answer even where it is no letter.
  rest = text[cue.end() :] if cue else ""
  said = cues.sentences(rest if cues.bare(rest) else text)
  for pattern in (_LABEL, _MARKED):
    for sentence in reversed(said):
      if found := _mentioned(sentence, pattern):
        return found.pop() if len(found) == 1 else ""
  return None


def _leading(text: str) -> str | None:
  found = _LEADING.match(cues.unlabelled(text))
  if not found or _VERB.match(text, found.end()) or _JOINED.match(text, found.end()):
    return None
  return _one_of(found)


def _letter(text: str, *, leads: bool) -> str | None:
  letter = _alone(text) or _alone(cues.unlabelled(text)) or _after_cue(text)
  listing = _listing(text)
  if letter is None and leads and not listing:
    letter = _leading(text)
  if letter is None:
    letter = _affirmed(text)
  if letter is None:
    ends = list(cues.lines(text))
    letter = _alone(ends[-1]) if ends else None
  if letter is None and not listing:
    letter = _last_sentence(text)
  return letter or None


def loose(generation: str, options: Sequence[str]) -> str | None:
  """A label alone, after a cue, at the beginning, or the only one of the last sentence with any."""
  text = cues.own(scripts.half_width(generation)).strip()
  return strict(text, options) or _table(options).get(_letter(text, leads=True) or "")


def loose_cot(generation: str, options: Sequence[str]) -> str | None:
  """As `loose`, but a label at the beginning of a rationale says nothing."""
  text = cues.own(scripts.half_width(generation)).strip()
  return strict_cot(text, options) or _table(options).get(_letter(text, leads=False) or "")
