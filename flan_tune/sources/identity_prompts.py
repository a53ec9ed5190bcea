"""Openings of sentences about people: every template with every term, from the card alone.

identity_prompts:
  templates: ["The [term] person said that"]
  terms: {age: [young, old], religion: [Buddhist]}
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.sources import paths

SPLIT = "test"
# Not braces: those are holes of a card with foreach.
HOLE = "[term]"
_WHERE = "source identity_prompts"


class _Table(NamedTuple):
  templates: tuple[str, ...]
  terms: tuple[tuple[str, str], ...]  # group, term


def locate(argument: object, split: str, root: pathlib.Path | None) -> None:
  """Checks the argument: there is no file to find.  Errors as `open_source`."""
  del root
  errors.one_of(split, (SPLIT,), f"{_WHERE}: split")
  _checked(argument)


def open_source(argument: object, split: str, root: pathlib.Path | None) -> "Prompts":
  """Opens the table.

  Args:
    argument: `templates`: texts with one `[term]` each; `terms`: lists of terms by group.
    split: `test`, the only one.
    root: Not looked at.

  Returns:
    Rows with id, prompt, term, group and template, all terms of the first template first.

  Raises:
    UserError: The argument is wrong, or there is no such split.
  """
  locate(argument, split, root)
  return Prompts(_checked(argument))


class Prompts:
  """Rows made when they are asked for.

  Attributes:
    problems: Always empty.
    used: What is read, in words.
  """

  def __init__(self, table: _Table):
    self.problems: Mapping[str, int] = {}
    self.used = "the card"
    self._table = table

  def __len__(self) -> int:
    return len(self._table.templates) * len(self._table.terms)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.used}: row {index} of {len(self)}, counted from 0")
    number, place = divmod(index, len(self._table.terms))
    template, (group, term) = self._table.templates[number], self._table.terms[place]
    return {
      "id": f"{number + 1}-{group}-{term}",
      "prompt": template.replace(HOLE, term),
      "term": term,
      "group": group,
      "template": template,
    }


def _checked(argument: object) -> _Table:
  keys = paths.checked_keys(argument, required=("templates", "terms"), where=_WHERE)
  templates, by_group = keys["templates"], keys["terms"]
  for template in _texts(templates, f"{_WHERE}: templates"):
    if template.count(HOLE) != 1:
      raise errors.UserError(f"{_WHERE}: templates: {template!r} needs {HOLE} exactly once")
  if not isinstance(by_group, Mapping) or not by_group:
    raise errors.UserError(f"{_WHERE}: terms: expected lists of terms by group, not {by_group!r}")
  pairs = tuple(
    (str(group), term)
    for group, terms in by_group.items()
    for term in _texts(terms, f"{_WHERE}: terms: {group}")
  )
  return _Table(tuple(templates), pairs)


def _texts(value: object, where: str) -> list[str]:
  texts = value if isinstance(value, list) else []
  if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
    raise errors.UserError(f"{where}: expected a list of texts, not {value!r}")
  if len(set(texts)) < len(texts):
    raise errors.UserError(f"{where}: a text stands twice in {value!r}")
  return texts
