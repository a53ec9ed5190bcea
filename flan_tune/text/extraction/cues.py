"""What introduces an answer, where it ends, and what a model writes after it."""

import collections
import re
from collections.abc import Iterator

from flan_tune.text.answers import SENTENCE_MARKS

# FLAN: flan/v2/postprocessors.py knows these five, of which ours are the same in any case.
CUE = re.compile(
  r"\b(?:final\s{1,3})?answer\s*(?:is\b\s*[:：]?|[:：])|\bfinal\s{1,3}answer\b", re.IGNORECASE
)
# The sentences in which MGSM's exemplars give their answers: bn de es fr ja ru sw te th zh.
NATIVE_CUE = re.compile(
  r"উত্তর\s?(?:হল\b|হলো|হ'ল|হচ্ছে|[:：])|\bAntwort\s(?:ist|lautet)\b|\bAntwort:"
  r"|\brespuesta\s(?:es\b|final)|\brespuesta:|\br(?:é|e\u0301)ponse\s(?:est\b|:)|\br(?:é|e\u0301)ponse:"
  r"|答え\s?[はわ:：]|\bответ\s?(?:[—–:]|-\s|равен\b)|\bjibu\s(?:ni\b|:)|\bjibu:|సమాధానం\s?[:：]?"
  r"|คำตอบ\s?(?:คือ|[:：])|答案\s?(?:是|为|為|[:：])",
  re.IGNORECASE,
)
# Other words before an option; loose extraction alone knows them.
LOOSE_CUE = re.compile(
  rf"(?<!wrong )(?<!incorrect ){CUE.pattern}|\banswer\s(?:should|would|must|has\sto)\sbe\b"
  r"|\b(?:correct|right|best)\s(?:answer|option|choice|one|letter)\s*(?:is\b|:|=)"
  r"|\\boxed(?=\s?\{)",
  re.IGNORECASE,
)
# A model that goes on with a question of its own, as its exemplars do.
_GOES_ON = re.compile(
  rf"(?:[\r\n]|(?<=[{SENTENCE_MARKS})\]]) )[ \t*#]{{0,4}}"
  r"(?:Q|Question|Frage|Pregunta|প্রশ্ন|問題|问题|Задача|Swali|ప్రశ్న|โจทย์)"
  r"[* ]{0,3}[:：]"
)
# What our prompts end with, written once more.
_LABEL = re.compile(r"\s*A\s?[:：]\s{0,3}(?=\S)")
_SENTENCE = re.compile(rf"[{SENTENCE_MARKS}](?=\s|$)|[。！？\r\n]")
_QUOTES = "\"'`´“”„‟‘’‚‛«»‹›「」『』"
MARKUP = "*_`~#$"


def own(text: str) -> str:
  """A generation up to the next question that the model asks itself."""
  found = _GOES_ON.search(text)
  head = text[: found.start() + 1] if found else text
  return head if head.strip() else text


def unlabelled(text: str) -> str:
  """Without the `A:` before an answer."""
  found = _LABEL.match(text)
  return text[found.end() :] if found else text


def first_line(text: str) -> str:
  """The first line that has text, stripped; empty when there is none."""
  return next(lines(text), "")


def lines(text: str) -> Iterator[str]:
  """Lines that have text, stripped."""
  return (stripped for line in text.splitlines() if (stripped := line.strip()))


def sentences(text: str) -> list[str]:
  """Stretches of text between sentence marks or line ends."""
  return [stripped for piece in _SENTENCE.split(text) if (stripped := piece.strip())]


def segments(text: str, cue: re.Pattern[str]) -> list[str]:
  """What follows each cue, up to the end of a line with text in it or to the next cue."""
  found = list(cue.finditer(text))
  ends = [match.start() for match in found[1:]] + [len(text)] * bool(found)
  return [first_line(text[match.end() : end]) for match, end in zip(found, ends, strict=True)]


def after_last(text: str, cue: re.Pattern[str]) -> str | None:
  """The line with text that follows the last cue; None without a cue."""
  found = last_match(text, cue)
  return first_line(text[found.end() :]) if found else None


def last_match(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
  """The last place where a pattern is met."""
  return next(iter(collections.deque(pattern.finditer(text), maxlen=1)), None)


def is_mark(character: str) -> bool:
  """Whether a character is punctuation as `string.punctuation` or the sentences of MGSM have it."""
  ascii_mark = character.isascii() and character.isprintable() and not character.isalnum()
  return (ascii_mark and character != " ") or character in SENTENCE_MARKS


def trimmed(text: str) -> list[str]:
  """A text, and the text without one trailing mark."""
  return [text, text[:-1].rstrip()] if text and is_mark(text[-1]) else [text]


def trimmed_both(text: str) -> list[str]:
  """`trimmed`, and those without one more mark at either end, as after a cue."""
  found = trimmed(text)
  for candidate in list(found):
    core = candidate[1:].lstrip() if candidate and is_mark(candidate[0]) else candidate
    found += trimmed(core)
  return found


def bare(text: str) -> str:
  """Without white space, quotation marks, markup and sentence marks at either end."""
  return text.strip(f" \t\r\n\u00a0\u202f{_QUOTES}{MARKUP}{SENTENCE_MARKS},;:")


def unquoted(text: str) -> str:
  """Without the quotation marks around it."""
  return text.strip(_QUOTES).strip()
