"""MGSM (Shi et al. 2022): school mathematics in eleven languages, from google-research/url-nlp.

`mgsm: {language: bn}`, with the splits `test` and `exemplars` (eight worked examples).
"""

import ast
import json
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flan_tune import errors
from flan_tune.sources import exam_files, lines, paths

REPOSITORY = "google-research/url-nlp"
LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
SPLITS = ("test", "exemplars")
_FOLDER = "url-nlp/mgsm"
_WHERE = "source mgsm"
_EXEMPLARS, _ANSWERS = "MGSM_EXEMPLARS", "EXEMPLAR_NUMBER_ANSWERS"
_NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
_WHOLE_NUMBER = re.compile(_NUMBER)
_NUMBER_IN_TEXT = re.compile(rf"(?<![0-9]){_NUMBER}")  # "20-12" has 20 and 12
_COLON = re.compile("[:\N{FULLWIDTH COLON}]")
_KEY = re.compile("[1-9][0-9]{0,2}")


def open_source(argument: object, split: str, root: pathlib.Path | None) -> exam_files.Numbered:
  """Opens a language.

  Args:
    argument: `language`: its two letters.
    split: `test` or `exemplars`.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, question and answer, a number as it is written in the file; lines of another form
    are counted in `problems`.  Of `exemplars` also rationale, the sentence with the answer
    included, and question_label and answer_label: the words in front of either, with their colon
    and without what follows it (a blank, but nothing behind a full-width colon).

  Raises:
    MissingData: The file is not there.
    UserError: The argument is wrong, there is no such split, or the exemplars have not their form.
  """
  found = locate(argument, split, root)
  language = _language(argument)
  if split == "exemplars":
    worked = exemplars(_assigned(found.path), language, found.path)
    return exam_files.Numbered(worked, language, found)
  rows = lines.ParsedLines(found.path, parse_line, used=found.name)
  return exam_files.Numbered(rows, language, found, problems=rows.problems)


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the file without opening it; arguments and errors as `open_source`."""
  language = _language(argument)
  errors.one_of(split, SPLITS, f"{_WHERE}: split")
  names = [f"{_FOLDER}/mgsm_{language}.tsv"]
  if split == "exemplars":
    names = [f"{_FOLDER}/exemplars.py", f"{_FOLDER}/exemplars.json"]
  return paths.first_found(root, names, where=f"{_WHERE}: language", repository=REPOSITORY)


def parse_line(line: bytes) -> lines.Row:
  """One question.

  Raises:
    BadLine: The line is no question and number with a tab between them.
  """
  texts = lines.text_of(line).split("\t")
  if len(texts) != 2:
    raise lines.BadLine(f"{len(texts)} fields instead of 2")
  question, answer = (text.strip() for text in texts)
  if not question:
    raise lines.BadLine("empty question")
  if not _WHOLE_NUMBER.fullmatch(answer):
    raise lines.BadLine("the answer is no number")
  return {"question": question, "answer": answer}


def exemplars(members: Mapping[str, Any], language: str, path: pathlib.Path) -> Sequence[lines.Row]:
  """The worked examples of a language, in the order of their numbers.

  Args:
    members: MGSM_EXEMPLARS, records with q and a by language and number; where
      EXEMPLAR_NUMBER_ANSWERS is there, too, the answers are checked against it.

  Raises:
    UserError: There are none, or one lacks a part, or their labels differ.
  """
  by_language = members.get(_EXEMPLARS)
  if not isinstance(by_language, dict) or not isinstance(by_language.get(language), dict):
    raise errors.UserError(f"{path}: expected {_EXEMPLARS} with exemplars for {language!r}")
  by_number = by_language[language]
  where = f"{path}: {_EXEMPLARS}: {language}"
  if not by_number or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in by_number):
    raise errors.UserError(f"{where}: expected exemplars by number, '1', '2' and so on")
  rows = [
    _exemplar(by_number[key], members.get(_ANSWERS), int(key), f"{where}: {key}")
    for key in sorted(by_number, key=int)
  ]
  for name in ("question_label", "answer_label"):
    if len(found := {row[name] for row in rows}) > 1:
      shown = ", ".join(map(repr, sorted(found)))
      raise errors.UserError(f"{where}: expected one {name} in front of all exemplars, not {shown}")
  return rows


def _exemplar(record: Any, answers: Any, number: int, where: str) -> dict[str, str]:
  try:
    question_label, question = _unlabelled(exam_files.text_field(record, "q"))
    answer_label, rationale = _unlabelled(exam_files.text_field(record, "a"))
  except lines.BadLine as reason:
    raise errors.UserError(f"{where}: {reason}") from None
  numbers = _NUMBER_IN_TEXT.findall(rationale)
  if not numbers:
    raise errors.UserError(f"{where}: expected 'a' to end with a number")
  if isinstance(answers, list) and answers[number - 1 : number] != [_value(numbers[-1])]:
    raise errors.UserError(f"{where}: its last number, {numbers[-1]}, is not that of {_ANSWERS}")
  return {
    "question": question,
    "rationale": rationale,
    "answer": numbers[-1],
    "question_label": question_label,
    "answer_label": answer_label,
  }


def _unlabelled(text: str) -> tuple[str, str]:
  """The words up to the first colon, and what follows them."""
  colon = _COLON.search(text)
  if colon is None or not text[: colon.start()].strip() or not text[colon.end() :].strip():
    raise lines.BadLine("expected words, a colon and a text")
  return text[: colon.end()], text[colon.end() :].strip()


def _value(number: str) -> float:
  return float(number.replace(",", ""))


def _assigned(path: pathlib.Path) -> Mapping[str, Any]:
  """The members of the JSON file, or what the Python file assigns, which is never run."""
  text = exam_files.whole_text(path)
  expected = f"{path}: expected literals assigned to {_EXEMPLARS}"
  try:
    members = dict(_literals(text)) if path.suffix == ".py" else json.loads(text)
    # Half a surrogate pair parses, and would fail much later, where the text is encoded again.
    json.dumps(members, ensure_ascii=False).encode("utf-8")
  except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
    raise errors.UserError(expected) from None
  if not isinstance(members, dict):
    raise errors.UserError(expected)
  return members


def _literals(text: str) -> Iterator[tuple[str, Any]]:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # for the author of the file, not for its readers
    module = ast.parse(text)
  for statement in module.body:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
      targets = [statement.target]
    names = [one.id for one in targets if isinstance(one, ast.Name)]
    for name in {_EXEMPLARS, _ANSWERS}.intersection(names):
      yield name, ast.literal_eval(statement.value)  # pyright: ignore


def _language(argument: object) -> str:
  language = exam_files.checked_name(argument, "language", "bn", where=_WHERE)
  return errors.one_of(language, LANGUAGES, f"{_WHERE}: language")
