"""Metrics of generated answers.  Each is a function (predictions, answers) -> `Mean`.

A prediction is a string; its answer is a string or several, of which the best counts.  `METRICS`
holds the functions under the names that task cards use.
"""

import collections
import decimal
import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

Answer = str | Sequence[str]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Digits of any script; thousands (or lakhs) may be set apart by commas, thin or no-break spaces.
# A minus sign counts unless it stands after an operand, as in 7-3.
_SEPARATOR = "[,\u00a0\u2009\u202f]"
_NUMBER = re.compile(
  r"(?:(?<![\w)\]])[-\u2212])?"
  rf"(?:\d+(?:{_SEPARATOR}\d{{2,3}})*{_SEPARATOR}\d{{3}}(?!\d)|\d+|(?<![\w.])(?=\.\d))"
  r"(?:\.\d+)?"
)


class Mean(NamedTuple):
  """A mean that is divided last, so that means of parts add up to the mean of the whole."""

  sum: float = 0.0
  count: int = 0

  @property
  def value(self) -> float:
    """The mean, or NaN when nothing was counted."""
    return self.sum / self.count if self.count else float("nan")

  def __add__(self, other: "Mean") -> "Mean":  # type: ignore[override]  # not a tuple's sum
    return Mean(self.sum + other.sum, self.count + other.count)


Metric = Callable[[Sequence[str], Sequence[Answer]], Mean]


def normalised(text: str) -> str:
  """Lower case, no ASCII punctuation, no English articles, single spaces.

  As answers to SQuAD are compared (Rajpurkar et al. 2016, 6.1).
  """
  return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def last_number(text: str) -> decimal.Decimal | None:
  """The last number in a text, without separators of thousands; None when there is none."""
  numbers = _NUMBER.findall(text)
  if not numbers:
    return None
  return decimal.Decimal(re.sub(_SEPARATOR, "", numbers[-1]).replace("\u2212", "-"))


def _exact(prediction: str, answer: str) -> float:
  return float(prediction == answer)


def _normalised_exact(prediction: str, answer: str) -> float:
  return float(normalised(prediction) == normalised(answer))


def _number(prediction: str, answer: str) -> float:
  wanted = last_number(answer)
  return float(wanted is not None and last_number(prediction) == wanted)


def _f1(prediction: str, answer: str) -> float:
  found = collections.Counter(normalised(prediction).split())
  wanted = collections.Counter(normalised(answer).split())
  if not found or not wanted:
    return float(found == wanted)
  shared = (found & wanted).total()
  return 2 * shared / (found.total() + wanted.total())


def _mean(
  score: Callable[[str, str], float], predictions: Sequence[str], answers: Sequence[Answer]
) -> Mean:
  total = 0.0
  for prediction, answer in zip(predictions, answers, strict=True):
    references = [answer] if isinstance(answer, str) else answer
    total += max((score(prediction, reference) for reference in references), default=0.0)
  return Mean(total, len(predictions))


def exact_match(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Predictions that equal their answer, character by character."""
  return _mean(_exact, predictions, answers)


def normalised_exact_match(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Predictions that equal their answer but for case, punctuation, articles and white space."""
  return _mean(_normalised_exact, predictions, answers)


def number_match(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Predictions whose last number has the value of the answer's last number.

  An answer without a number is never matched.
  """
  return _mean(_number, predictions, answers)


def token_f1(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Harmonic mean of precision and recall over words, after the same normalisation.

  Two empty texts score 1, one empty text 0.
  """
  return _mean(_f1, predictions, answers)


METRICS: dict[str, Metric] = {
  "exact_match": exact_match,
  "normalised_exact_match": normalised_exact_match,
  "number_match": number_match,
  "token_f1": token_f1,
}
