"""Text in Penn Treebank tokens, back in ordinary spelling.

e-SNLI and QED are published as tokens with spaces between them: "it 's a `` test '' ( or not ) ."
The rules undo what is certain and leave the rest: they change white space and quotation marks only.
"""

import re

# (what must occur, pattern, replacement), applied in this order: quotation marks first, for they
# decide where the punctuation leans.  The first column only saves time.
_RULES = tuple(
  (sign, re.compile(pattern), replacement)
  for sign, pattern, replacement in (
    ("``", r"`` ?", '"'),
    ("''", r" ?''", '"'),
    ("'", r" (n't|N'T)\b", r"\1"),
    (" '", r" ('(?:s|S|re|ve|ll|d|m))\b", r"\1"),
    ("s ' ", r"(?<=s) ' ", "' "),  # the owners ' dogs
    ("' ", r"(?<![^ (])' ([^']{1,60}?) '(?=[ ,.;:)]|$)", r"'\1'"),
    (" : ", r"(?<=\d) : (?=\d)", ":"),
    ("( ", r"\( ", "("),
    ("[ ", r"\[ ", "["),
    (" )", r" \)", ")"),
    (" ]", r" \]", "]"),
    (" ", r" ([,.;:?!%])(?=[ \"')\],.;:?!%]|$)", r"\1"),
    (" ", r"([$£€]) (?=\d)", r"\1"),
  )
)


def detokenised(text: str) -> str:
  """The text as one would write it, on one line."""
  text = " ".join(text.split())
  for sign, pattern, replacement in _RULES:
    if sign in text:
      text = pattern.sub(replacement, text)
  return text.strip()


def hyphens_joined(text: str) -> str:
  """Joins "role - playing" and "1942 - 43".

  For text whose tokeniser split at every hyphen, as that of Natural Questions does; elsewhere a
  hyphen between spaces is a dash.
  """
  return re.sub(r"(?<=\w) - (?=\w)", "-", text)


def sentence(text: str) -> str:
  """The text with a capital first letter and a mark at its end."""
  text = text[:1].upper() + text[1:]
  return text if not text or text.endswith((".", "?", "!", '."', '?"', '!"')) else f"{text}."
