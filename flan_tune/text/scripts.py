"""What differs between scripts though a reader sees no difference."""

import itertools
import unicodedata

# Marks that steer the direction of text, and others that nothing shows.  Not the joiners, which
# change how Persian, Bengali and Telugu words are written.
_INVISIBLE = dict.fromkeys(
  [0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A)]
  + [0xFEFF]
)
_FULL_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: 0x20}
# Unicode's stream-safe format (UAX 15): no writing needs more combining marks in a row, and the
# time to put them in order grows with the square of their number.
_MOST_MARKS = 30


def visible(text: str) -> str:
  """Without marks of direction and other characters that nothing shows."""
  return text if text.isascii() else text.translate(_INVISIBLE)


def half_width(text: str) -> str:
  """Letters, digits and signs of double width as ASCII has them; nothing invisible."""
  return text if text.isascii() else visible(text).translate(_FULL_WIDTH)


def composed(text: str, *, compatible: bool = False) -> str:
  """Letters and their accents in one (NFC); if compatible also ² as 2 and ﬁ as fi (NFKC).

  A text with more combining marks in a row than any writing has is left as it is.
  """
  if text.isascii():
    return text
  runs = itertools.groupby(map(unicodedata.combining, text), key=bool)
  if any(marks and len(list(run)) > _MOST_MARKS for marks, run in runs):
    return text
  return unicodedata.normalize("NFKC" if compatible else "NFC", text)
