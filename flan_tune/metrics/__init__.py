"""Metrics of generated answers.  Each is a function (predictions, answers) -> `Mean`.

A prediction is a string; its answer is a string or several, of which the best counts.  `METRICS`
holds the functions under the names that task cards use.
"""

import collections
import decimal
import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from flan_tune.text import numbers, scripts
from flan_tune.text.answers import SENTENCE_MARKS

Answer = str | Sequence[str]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_FINAL_MARKS = f"{SENTENCE_MARKS}\u061f\u06d4"


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


def squad_normalised(text: str) -> str:
  """As `normalised`, for any script; of ASCII text both make the same.

  SQuAD's own comparison drops ASCII punctuation alone, so that `«1794»`, `Köln。` or curly quotes
  around an answer make it wrong.  Here all punctuation of Unicode is dropped, as well as marks of
  direction; letters are composed and without forms (NFKC: ² is 2), and case is folded.  Articles
  are English, words are what white space parts, and digits of other scripts stay what they are.
  """
  text = scripts.composed(scripts.visible(text), compatible=True).casefold().translate(_PUNCTUATION)
  if not text.isascii():
    text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
  return " ".join(_ARTICLES.sub(" ", text).split())


def without_articles(text: str) -> str:
  """Folded case, no English articles, single spaces, no sentence mark at the end."""
  text = " ".join(_ARTICLES.sub(" ", text.casefold()).split())
  return text[:-1].rstrip() if text and text[-1] in _FINAL_MARKS else text


def last_number(text: str) -> decimal.Decimal | None:
  """The last number in a text, in digits of any script; None when there is none.

  `flan_tune.text.numbers` says how separators are read.  Units and signs of currency do not matter.
  """
  found = numbers.last(scripts.half_width(text))
  return None if found is None else decimal.Decimal(found.value)


def _exact(prediction: str, answer: str) -> float:
  return float(prediction == answer)


def _normalised_exact(prediction: str, answer: str) -> float:
  return float(normalised(prediction) == normalised(answer))


def _number(prediction: str, answer: str) -> float:
  wanted = last_number(answer)
  return float(wanted is not None and last_number(prediction) == wanted)


def _squad_exact(prediction: str, answer: str) -> float:
  return float(squad_normalised(prediction) == squad_normalised(answer))


def _no_articles(prediction: str, answer: str) -> float:
  return float(without_articles(prediction) == without_articles(answer))


def _words_f1(found: Sequence[str], wanted: Sequence[str]) -> float:
  if not found or not wanted:
    return float(list(found) == list(wanted))
  shared = (collections.Counter(found) & collections.Counter(wanted)).total()
  return 2 * shared / (len(found) + len(wanted))


def _f1(prediction: str, answer: str) -> float:
  return _words_f1(normalised(prediction).split(), normalised(answer).split())


def _squad_f1(prediction: str, answer: str) -> float:
  return _words_f1(squad_normalised(prediction).split(), squad_normalised(answer).split())


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


def squad_em(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Predictions that equal one of their answers after `squad_normalised`."""
  return _mean(_squad_exact, predictions, answers)


def squad_f1(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """`token_f1` after `squad_normalised`; the best of several answers counts."""
  return _mean(_squad_f1, predictions, answers)


def no_articles(predictions: Sequence[str], answers: Sequence[Answer]) -> Mean:
  """Predictions that equal their answer but for case, articles and a full stop (Winogender)."""
  return _mean(_no_articles, predictions, answers)


def auc(values: Sequence[float], labels: Sequence[bool] | Sequence[int]) -> float:
  """Area under the ROC curve: how often a positive has the larger value; ties count half.

  Args:
    values: One score each, infinite ones allowed.
    labels: True or 1 for positives.

  Returns:
    0 to 1, or NaN when there are no positives or no negatives.

  Raises:
    ValueError: Unlike lengths, or a value that is not a number.
  """
  scores, positive = np.asarray(values, np.float64), np.asarray(labels, bool)
  if scores.shape != positive.shape or np.isnan(scores).any():
    raise ValueError(f"auc: {scores.shape} values, NaN not allowed, {positive.shape} labels")
  wanted, others = int(positive.sum()), int((~positive).sum())
  if not wanted or not others:
    return float("nan")
  _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
  ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
  return float((ranks[positive].sum() - wanted * (wanted + 1) / 2) / (wanted * others))


METRICS: dict[str, Metric] = {
  "exact_match": exact_match,
  "normalised_exact_match": normalised_exact_match,
  "number_match": number_match,
  "token_f1": token_f1,
  "squad_em": squad_em,
  "squad_f1": squad_f1,
  "no_articles": no_articles,
}
