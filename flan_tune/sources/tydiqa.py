"""TyDi QA's gold-passage task (Clark et al. 2020): questions on a passage, in nine languages.

Files are in SQuAD's form: one a language, or, as google-research-datasets/tydiqa publishes the
training questions, one for all, whose ids begin with the language.  `tydiqa: {language: bengali}`
"""

import array
import collections
import pathlib
from collections.abc import Mapping
from typing import Any

from flan_tune import errors
from flan_tune.sources import exam_files, lines, nested, paths

LANGUAGES = (
  "arabic",
  "bengali",
  "english",
  "finnish",
  "indonesian",
  "korean",
  "russian",
  "swahili",
  "telugu",
)
SPLITS = ("train", "dev")
_LEVELS = ("data", "paragraphs", "qas")
_OF_A_LANGUAGE = (
  "tydiqa/language_data/{language}/{language}_tydiqa_{split}.json",
  "tydiqa/tydiqa-goldp-v1.1-{split}/tydiqa-goldp-{split}-{language}.json",
  "tydiqa-goldp-v1.1-{split}/tydiqa-goldp-{split}-{language}.json",
)
_OF_ALL = ("tydiqa/tydiqa-goldp-v1.1-{split}.json", "tydiqa-goldp-v1.1-{split}.json")
_HOW = (
  "put tydiqa-goldp-v1.1-{split}.json, which github.com/google-research-datasets/tydiqa links to,"
  " into $FLAN_TUNE_DATA/tydiqa"
)
_WHERE = "source tydiqa"


def open_source(argument: object, split: str, root: pathlib.Path | None) -> "Passages":
  """Opens the questions of a language.

  Args:
    argument: `language`: its English name in small letters.
    split: `train` or `dev`.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, question, context, title, answers (a tuple of texts, of which each is right) and
    answer, the first of them.

  Raises:
    MissingData: The file is not there.
    UserError: The argument is wrong, there is no such split, or the file holds no question in the
      language.
  """
  return Passages(locate(argument, split, root), _language(argument), split)


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the file without opening it; arguments and errors as `open_source`."""
  language = _language(argument)
  errors.one_of(split, SPLITS, f"{_WHERE}: split")
  names = [name.format(language=language, split=split) for name in (*_OF_A_LANGUAGE, *_OF_ALL)]
  how = _HOW.format(split=split)
  return exam_files.first_found(root, names, where=f"{_WHERE}: language", how=how)


class Passages:
  """The questions of one language.

  Attributes:
    problems: Questions left out, counted by reason; those in another language are none.
    used: The file that was read, as a path under the data folder.
  """

  def __init__(self, found: paths.Found, language: str, split: str):
    self.used = found.name
    self._path = found.path
    self._questions = nested.Questions(found.path, _LEVELS, used=found.name)
    self._kept = array.array("q")
    shared = found.name in [name.format(split=split) for name in _OF_ALL]
    problems = collections.Counter(self._questions.problems)
    known: set[str] = set()
    for number in range(len(self._questions)):
      question = self._questions[number]
      if shared and _language_of(question.get("id")) not in (language, None):
        continue
      try:
        row = parsed(question)
        if row["id"] in known:
          raise lines.BadLine("a second question with one id")
      except lines.BadLine as reason:
        problems[str(reason)] += 1
      else:
        known.add(row["id"])
        self._kept.append(number)
    self.problems: Mapping[str, int] = {f"{language}: {why}": n for why, n in problems.items()}
    if not self._kept:
      raise exam_files.nothing_left(found.path, language, problems)

  def __len__(self) -> int:
    return len(self._kept)

  def __getitem__(self, index: int) -> lines.Row:
    if not 0 <= index < len(self):
      raise IndexError(f"{self.used}: row {index} of {len(self)}, counted from 0")
    try:
      return parsed(self._questions[self._kept[index]])
    except lines.BadLine as reason:
      raise RuntimeError(f"{self._path}: row {index + 1} changed while in use: {reason}") from None


def parsed(question: Mapping[str, Any]) -> lines.Row:
  """A row of a question with the fields of its article and paragraph.

  Raises:
    BadLine: A text is missing or blank, or no answer has one.
  """
  texts = {name: exam_files.text_field(question, name) for name in ("id", "question", "context")}
  title = question.get("title")
  answers = tuple(text.strip() for text in _answers(question.get("answers")) if text.strip())
  if not answers:
    raise lines.BadLine("no answer")
  title = title.strip() if isinstance(title, str) else ""
  return {**texts, "title": title, "answers": answers, "answer": answers[0]}


def _answers(value: Any) -> list[str]:
  """The texts of answers, which `nested` turns into columns where all have the same fields."""
  if isinstance(value, Mapping):
    texts = value.get("text")
  else:
    records = value if isinstance(value, list) else []
    texts = [one.get("text") for one in records if isinstance(one, Mapping)]
  return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def _language(argument: object) -> str:
  language = exam_files.checked_name(argument, "language", "bengali", where=_WHERE)
  return errors.one_of(language, LANGUAGES, f"{_WHERE}: language")


def _language_of(identifier: Any) -> str | None:
  """The language that an id begins with; None where there is none, which costs the question."""
  return identifier.partition("-")[0] if isinstance(identifier, str) else None
