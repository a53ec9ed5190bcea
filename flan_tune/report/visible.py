"""Text of unknown origin, made fit to be shown: on a terminal, on a page."""

import re

# C0 controls but tab and newline, delete, C1 controls, halves of surrogate pairs; and what turns
# the direction of the text that follows, marks of right-to-left texts not being among it.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
  """Replaces control characters by pictures of them.

  A model may write any byte: an escape sequence would repaint the terminal, HTML forbids most
  control characters, and after a turned direction text reads other than it is.  Tabs and line ends
  stay.
  """
  return _CONTROLS.sub(_picture, text)


def shortened(text: str, limit: int) -> str:
  """At most `limit` characters, saying how many were left out."""
  if len(text) <= limit:
    return text
  return f"{text[:limit]} ... ({len(text) - limit:,} more characters)"


def middle_cut(text: str, limit: int) -> str:
  """At most `limit` characters, cut in the middle: names differ at both ends."""
  if len(text) <= limit:
    return text
  head = (limit - 1) // 2
  return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def _picture(match: re.Match[str]) -> str:
  code = ord(match[0])
  if 0x202A <= code <= 0x2069:
    return f"[U+{code:04X}]"
  # U+2400.. are the Control Pictures of Unicode; U+2421 is that of delete.
  return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
