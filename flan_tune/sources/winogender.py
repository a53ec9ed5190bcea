"""Winogender schemas (Rudinger et al. 2018) as published: rudinger/winogender-schemas, data/.

    winogender: {path: winogender-schemas/data}

`all_sentences.tsv` has a header and two columns.  The first, `technician.customer.1.male.txt`,
names the occupation, the other participant, whom the pronoun means (0 the occupation, 1 the
participant) and the pronoun's gender.  `occupations-stats.tsv` beside it, when it is there, has
the percentage of women in each occupation in the United States, which tells stereotypes.
"""

import csv
import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flan_tune import errors
from flan_tune.sources import lines, paths

REPOSITORY = "rudinger/winogender-schemas"
PATH = "winogender-schemas/data"
SENTENCES, STATISTICS = "all_sentences.tsv", "occupations-stats.tsv"
SPLIT = "test"
SOMEONE = "someone"
PRONOUNS = {
  "male": ("he", "him", "his", "himself"),
  "female": ("she", "her", "hers", "herself"),
  "neutral": ("they", "them", "their", "theirs", "themself", "themselves"),
}
_HEADER = "header"
_COLUMNS = ("occupation", "bls_pct_female")
_WHERE = "source winogender"


def open_source(argument: object, split: str, root: pathlib.Path | None) -> lines.ParsedLines:
  """Opens the sentences.

  Args:
    argument: A mapping of `path`: optional, the folder of both files.
    split: `test`, the only one.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, sentence, pronoun, gender, occupation, participant, options (both as the sentence
    may name them: "the technician", "someone"), choices (both in the order of the sentence, as
    "someone or the technician"), answer (one of the options) and gotcha: "yes" where the
    stereotype of the occupation leads to the wrong answer, "no" where it leads to the right one,
    "" for neutral pronouns and where the statistics are absent.

  Raises:
    MissingData: The sentences are not there.
    UserError: The argument is wrong, there is no such split, or the statistics are damaged.
  """
  found = locate(argument, split, root)
  women = percentages(found.path.with_name(STATISTICS))
  rows = lines.ParsedLines(found.path, functools.partial(parse_line, women=women), used=found.name)
  # Every copy has one, so it is nothing to report.
  rows.problems = {reason: n for reason, n in rows.problems.items() if reason != _HEADER}
  return rows


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the sentences without opening them; arguments and errors as `open_source`."""
  checked = paths.checked_keys(argument, required=(), optional=("path",), where=_WHERE)
  folder = checked.get("path", PATH)
  paths.under(root, folder, where=f"{_WHERE}: path")
  by_split = {"path": {SPLIT: f"{folder}/{SENTENCES}"}, "repository": REPOSITORY}
  return paths.file_of_split(by_split, split, root, where=_WHERE)


def percentages(path: pathlib.Path) -> Mapping[str, float]:
  """The percentage of women by occupation, or nothing where the file is absent.

  Raises:
    UserError: The file is there and is no such table.
  """
  try:
    with path.open(encoding="utf-8", newline="") as file:
      rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
      return {row["occupation"]: float(row["bls_pct_female"]) for row in rows}
  except FileNotFoundError:
    return {}
  except (OSError, ValueError, KeyError, TypeError, csv.Error):
    raise errors.UserError(
      f"{path}: expected tab-separated columns {' and '.join(_COLUMNS)} with numbers in the second;"
      " take the file from its repository again, or remove it to go without gotcha figures"
    ) from None


def parse_line(line: bytes, *, women: Mapping[str, float]) -> Mapping[str, Any]:
  """One row.

  Raises:
    BadLine: The line is the header, or has not the two columns, or its sentence lacks the pronoun.
  """
  text = lines.text_of(line)
  name, tab, sentence = text.partition("\t")
  if name == "sentid":
    raise lines.BadLine(_HEADER)
  parts = name.removesuffix(".txt").split(".")
  if not tab or "\t" in sentence or len(parts) != 4 or not all(parts):
    raise lines.BadLine("not a name and a sentence")
  occupation, participant, answer, gender = parts
  if answer not in ("0", "1") or gender not in PRONOUNS:
    raise lines.BadLine("name without answer or gender")
  options = tuple(_named(one) for one in (occupation, participant))
  return {
    "id": name.removesuffix(".txt"),
    "sentence": sentence.strip(),
    "pronoun": _pronoun(sentence, gender),
    "gender": gender,
    "occupation": occupation,
    "participant": participant,
    "options": options,
    "choices": " or ".join(_in_order(options, sentence)),
    "answer": options[int(answer)],
    "gotcha": _gotcha(women.get(occupation), answer, gender),
  }


def _named(person: str) -> str:
  return person if person == SOMEONE else f"the {person}"


def _in_order(options: Sequence[str], sentence: str) -> list[str]:
  """The options as the sentence comes to them, for no place among them tells the answer."""
  return sorted(options, key=lambda one: sentence.lower().find(one.removeprefix("the ")))


def _pronoun(sentence: str, gender: str) -> str:
  found = re.findall(rf"\b(?:{'|'.join(PRONOUNS[gender])})\b", sentence, re.IGNORECASE)
  if not found:
    raise lines.BadLine("no pronoun of its gender in the sentence")
  # A sentence may repeat it; all of its pronouns mean the same person.
  return found[0].lower()


def _gotcha(women: float | None, answer: str, gender: str) -> str:
  if women is None or gender == "neutral":
    return ""
  # The stereotype takes a pronoun for the occupation when its gender is the majority's there, and
  # for the other person when it is not.
  expected = "0" if (gender == "female") == (women > 50) else "1"
  return "no" if expected == answer else "yes"
