"""From a generation to the answer in it, twice: strictly and loosely.

A strict rule accepts what the public post-processors of Flan accept (FLAN:
flan/v2/postprocessors.py); a loose one credits every form in which a right answer can be
recognised without guessing.  The distance between the two scores says how much of a model's
failure is one of form.  `docs/extraction.md` has the rules with examples.

Rules take a generation as the model wrote it and the answers that are allowed.  They return one
of these as it is spelled there (numbers as decimal text, free answers as they stand), or None when
nothing can be read.  They never raise, and take time linear in the length of the generation.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flan_tune.text import answers
from flan_tune.text.extraction import labels, quantities, strings, words

Extract = Callable[[str, Sequence[str]], str | None]


class Rule(NamedTuple):
  """A way to read answers.

  Attributes:
    strict: As the papers' post-processors do it.
    loose: With credit for every awkward but right way.
    version: Raised whenever any generation is read differently.
    told: What it reads, in one line, for listings.
  """

  strict: Extract
  loose: Extract
  version: int
  told: str


def _without_options(extract: Callable[[str], str]) -> Extract:
  def apply(generation: str, options: Sequence[str]) -> str | None:
    del options
    return extract(generation) or None

  return apply


_whole, _final_answer = map(_without_options, (answers.whole, answers.final_answer))

RULES: dict[str, Rule] = {
  "option": Rule(labels.strict, labels.loose, 1, "the letter of an option"),
  "option_cot": Rule(labels.strict_cot, labels.loose_cot, 1, "a letter that ends a rationale"),
  "word": Rule(words.strict, words.loose, 1, "one of a few words, such as yes and no"),
  "word_cot": Rule(words.strict_cot, words.loose_cot, 1, "one of a few words after a rationale"),
  "text": Rule(strings.strict, strings.loose, 1, "free words or signs in one line"),
  "text_cot": Rule(strings.strict_cot, strings.loose_cot, 1, "free words after a rationale"),
  "number": Rule(quantities.strict, quantities.loose, 1, "a number"),
  "number_cot": Rule(quantities.strict_cot, quantities.loose_cot, 1, "a number after a rationale"),
  "span": Rule(strings.strict_span, strings.loose_span, 1, "words of a passage"),
  "whole": Rule(_whole, _whole, 1, "all of it"),
  "final_answer": Rule(_final_answer, _final_answer, 1, "the rest of the line after `answer is`"),
}
