"""Answers in free words: brackets to close, sorted words, spans of a text."""

import re
from collections.abc import Sequence

from flan_tune.text import scripts
from flan_tune.text.answers import SENTENCE_MARKS
from flan_tune.text.extraction import cues

_BRACKETS = "()[]{}<>"
# "The sorted words are:"
_ANNOUNCED = re.compile(
  r"^[^:\n]{0,80}\b(?:sort|sorted|order|list|words|sequence|result)\b[^:\n]{0,40}:\s{1,3}(?=\S)",
  re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*•–]|\(?\d{1,3}[.)])\s+")
# A passage may hold such words itself, so they count only at the beginning: Arabic, Finnish,
# Indonesian, Korean, and the languages of MGSM.
_NATIVE_START = re.compile(
  rf"\s*(?:{cues.NATIVE_CUE.pattern}|(?:الجواب|الإجابة)\s?(?:هو|هي|[:：])|vastaus(?:\son\b|:)"
  r"|jawaban(?:nya)?(?:\sadalah\b|:)|(?:정답|답)[은:]\s?)",
  re.IGNORECASE,
)
# Full stops of other scripts than SENTENCE_MARKS knows: Arabic, Urdu, Ethiopic, Burmese, Khmer.
_STOPS = f"{SENTENCE_MARKS}\u061f\u06d4\u1362\u104b\u17d4\u0965\uff0e\uff61"


def _without_mark(text: str) -> str:
  return text[:-1].rstrip() if text and text[-1] in SENTENCE_MARKS else text


def strict(generation: str, options: Sequence[str]) -> str | None:
  """The first line, without one sentence mark at its end; brackets and quotes stay."""
  del options
  return _without_mark(cues.first_line(generation)) or None


def strict_cot(generation: str, options: Sequence[str]) -> str | None:
  """The rest of the line after the last cue, without one sentence mark; None without a cue."""
  del options
  rest = cues.after_last(generation, cues.CUE)
  return _without_mark(rest or "") or None


def _block(text: str) -> list[str]:
  """Lines up to the first empty one."""
  found: list[str] = []
  for line in text.strip().splitlines():
    if not line.strip():
      break
    found.append(line.strip())
  return found


def _single(block: Sequence[str]) -> bool:
  """Whether each line is one word."""
  return not any(" " in line for line in block)


def _listed(block: Sequence[str]) -> str:
  """The items of a block that is a list over several lines; else its first line."""
  if len(block) > 1 and block[0].endswith((":", "：")):
    block = block[1:]
  if len(block) > 1 and _single(block):
    return " ".join(block)
  items = [_ITEM.sub("", line, count=1) if _ITEM.match(line) else None for line in block]
  if all(item is not None for item in items):
    return " ".join(item for item in items if item)
  return block[0] if block else ""


def _words(text: str) -> str | None:
  """Single spaces, no commas, quotes or markup; brackets one by one."""
  text = _ANNOUNCED.sub("", scripts.composed(cues.unlabelled(text)), count=1)
  signs = text.translate(dict.fromkeys(map(ord, "\"'`“”‘’*$, \t\\.")))
  if signs and all(sign in _BRACKETS for sign in signs):
    return " ".join(signs)
  if text[:1] == "[" and text[-1:] == "]":
    text = text[1:-1]
  for between in (" < ", " > ", " -> ", " → "):
    text = text.replace(between, " ")
  words = (cues.unquoted(word.strip(",;*`_")) for word in text.replace(",", " ").split())
  return cues.bare(" ".join(word for word in words if word)) or None


def loose(generation: str, options: Sequence[str]) -> str | None:
  """What follows a cue, else the beginning: brackets spaced, commas and list marks dropped."""
  del options
  text = cues.own(scripts.visible(generation))
  found = cues.last_match(text, cues.LOOSE_CUE)
  return _words(_listed(_block(text[found.end() :] if found else text)))


def loose_cot(generation: str, options: Sequence[str]) -> str | None:
  """As `loose`, but without a cue the last line counts, or the list at the end."""
  text = cues.own(scripts.visible(generation))
  if cues.LOOSE_CUE.search(text):
    return loose(text, options)
  blocks = re.split(r"\n[ \t\r]{0,80}\n", text.strip())
  block = _block(blocks[-1])
  listed = all(_ITEM.match(line) for line in block[1:]) or _single(block)
  return _words(_listed(block if listed else block[-1:]))


def strict_span(generation: str, options: Sequence[str]) -> str | None:
  """The first line, without one sentence mark at its end."""
  return strict(generation, options)


def loose_span(generation: str, options: Sequence[str]) -> str | None:
  """What follows the first cue, else the first line, without quotes, full stops, markup."""
  del options
  text = cues.unlabelled(cues.own(scripts.visible(generation)))
  cue = _NATIVE_START.match(text) or cues.LOOSE_CUE.search(text)
  line = cues.first_line(text[cue.end() :] if cue else text)
  line = scripts.composed(line)
  return cues.bare(line.strip(_STOPS + " ")).strip(_STOPS + " ") or None
