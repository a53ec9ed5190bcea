"""From a generation to the answer in it, by rules that task cards name (`extract: final_answer`).

A rule is applied to generations and, so that both are treated alike, to the answers they are
compared with.
"""

import re
from collections.abc import Callable

# What introduces an answer at the end of a chain of thought, in any case and after any words.
CUES = ("answer is", "answer:")
# One of these is dropped from the end of an answer.  Not a comma or a bracket: those belong to it.
SENTENCE_MARKS = ".!?。！？।"

_CUE = re.compile(r"\banswer\s*(?:is\b\s*:?|:)", re.IGNORECASE)


def whole(generation: str) -> str:
  """The generation without white space around it."""
  return generation.strip()


def has_cue(generation: str) -> bool:
  """Whether one of `CUES` occurs, so that `final_answer` need not guess."""
  return _CUE.search(generation) is not None


def final_answer(generation: str) -> str:
  """The rest of the line after the last of `CUES`, or the last line when there is none.

  Where the cue ends its line, the next line with text is taken.  One sentence mark is dropped from
  the end; brackets, quotation marks and currency signs stay.  Empty when nothing follows the cue.
  """
  cues = list(_CUE.finditer(generation))
  rest = generation[cues[-1].end() :] if cues else generation
  lines = [line.strip() for line in rest.splitlines() if line.strip()]
  if not lines:
    return ""
  answer = lines[0] if cues else lines[-1]
  return answer[:-1].rstrip() if answer[-1] in SENTENCE_MARKS else answer


EXTRACTORS: dict[str, Callable[[str], str]] = {"whole": whole, "final_answer": final_answer}
