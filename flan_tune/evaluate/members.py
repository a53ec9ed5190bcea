"""Which tasks a suite's mean is made of, and what guessing scores on them: from the cards."""

import functools
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from flan_tune.benchmarks import library

_SHORT = {"algorithmic": "alg"}


class Member(NamedTuple):
  """A task of a suite.

  Attributes:
    chance: 0 to 100.
    group: The mean that it is part of besides the suite's, such as BBH-nlp; "" for none.
  """

  chance: float
  group: str = ""


@functools.cache
def of(suite: str) -> Mapping[str, Member]:
  """Tasks as tables of results name them, without the suite; none of an unknown suite."""
  loaded = library.load()
  known = loaded.suites.get(suite.lower())
  cards = [loaded.tasks[name] for name in known.tasks] if known else []
  sizes = Counter(card.category for card in cards)
  found = {}
  for card in cards:
    # A group of one or of all would say what the task or the suite says.
    grouped = card.category and 1 < sizes[card.category] < len(cards)
    group = f"{suite}-{_SHORT.get(card.category, card.category)}" if grouped else ""
    found[card.label.partition("/")[2]] = Member(100 * card.chance, group)
  return found
