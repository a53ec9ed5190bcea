"""MMLU (Hendrycks et al. 2021), as the authors' data.tar unpacks, and Flan's worked examples.

`mmlu: {subject: astronomy}`, with the splits `dev` (five questions), `val`, `test` and `cot`: the
chain-of-thought exemplars of Chung et al. 2022, which jasonwei20/flan-2 publishes.
"""

import json
import pathlib
import re
from collections.abc import Mapping

from flan_tune import errors
from flan_tune.sources import csv_records, exam_files, lines, paths

SPLITS = ("dev", "val", "test", "cot")
LETTERS = ("A", "B", "C", "D")
TRIGGER = "Let's think step by step."
EXEMPLARS = 5
# Upstream's prompts of these subjects have one exemplar fewer (measured: four questions, four
# answers; the fifth of `dev` is nowhere in the text).
FEWER = {"college_chemistry": 4, "formal_logic": 4, "human_aging": 4}
_FOLDERS = ("mmlu/data", "data", "hendrycks_test/data")
_PROMPTS = ("mmlu/mmlu-cot.json", "flan-2/mmlu-cot.json")
_HOW = "unpack the data.tar that github.com/hendrycks/test links to into $FLAN_TUNE_DATA/mmlu"
_HOW_PROMPTS = "clone github.com/jasonwei20/flan-2 into $FLAN_TUNE_DATA/flan-2"
_WHERE = "source mmlu"
_COLUMNS = ("question", *LETTERS, "answer")
_QUESTION = re.compile(r"^Q:", re.MULTILINE)
_ANSWER = re.compile(r"^A:", re.MULTILINE)
_OPTIONS = re.compile(r"^\(A\) ", re.MULTILINE)
_LABEL = re.compile(r"(?:^|\s)\(([A-Z])\) ")
_CLOSING = re.compile(r"The answer is \(([A-Z])\)\.\Z")


def open_source(argument: object, split: str, root: pathlib.Path | None) -> exam_files.Numbered:
  """Opens a subject.

  Args:
    argument: `subject`: as in the files' names.
    split: `dev`, `val`, `test` or `cot`.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, question and answer, a letter.  Of `cot` also options_line ("(A) .. (B) ..", in a
    few subjects over several lines), rationale, between the trigger phrase and the sentence with
    the answer; worked, all of it from "Q:" on as the file has it; and description, the prompt's
    first line; one upstream exemplar has a fifth option and the answer E.  Of the others also
    choices, a tuple of four texts; records of another form are counted in `problems`.

  Raises:
    MissingData: The file is not there.
    UserError: The argument is wrong, there is no such split, or the prompts have not their form.
  """
  found = locate(argument, split, root)
  subject = exam_files.checked_name(argument, "subject", "astronomy", where=_WHERE)
  if split == "cot":
    rows = exemplars(_prompt(found.path, subject), subject, found.path)
    return exam_files.Numbered(rows, subject, found)
  # A record cut short lacks its letter.
  records = csv_records.Records(
    found.path, _COLUMNS, parsed, header=False, open_end=True, used=found.name
  )
  return exam_files.Numbered(records, subject, found, problems=records.problems)


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the file without opening it; arguments and errors as `open_source`."""
  subject = exam_files.checked_name(argument, "subject", "astronomy", where=_WHERE)
  errors.one_of(split, SPLITS, f"{_WHERE}: split")
  names = [f"{folder}/{split}/{subject}_{split}.csv" for folder in _FOLDERS]
  wanted, how = (_PROMPTS, _HOW_PROMPTS) if split == "cot" else (names, _HOW)
  return exam_files.first_found(root, wanted, where=f"{_WHERE}: subject", how=how)


def parsed(texts: Mapping[str, str]) -> lines.Row:
  """Question, choices and answer of a record.

  Raises:
    BadLine: There is no question, or the answer is no letter from A to D.
  """
  question, answer = texts["question"].strip(), texts["answer"].strip()
  if not question:
    raise lines.BadLine("empty question")
  if answer not in LETTERS:
    raise lines.BadLine("the answer is none of A, B, C, D")
  # An empty choice is a choice all the same: leaving its question out would change the score.
  return {
    "question": question,
    "choices": tuple(texts[letter].strip() for letter in LETTERS),
    "answer": answer,
  }


def exemplars(text: str, subject: str, path: pathlib.Path) -> list[lines.Row]:
  """The worked examples of a subject's prompt.

  Raises:
    UserError: There are not as many as there should be, or one lacks a part.
  """
  description, *worked = _QUESTION.split(text)
  expected = FEWER.get(subject, EXEMPLARS)
  if len(worked) != expected:
    raise errors.UserError(
      f"{path}: {subject}: expected {expected} exemplars that begin with 'Q:', found {len(worked)}"
    )
  shared = {"description": description.strip()}
  where = f"{path}: {subject}: exemplar"
  return [_exemplar(one, f"{where} {number}") | shared for number, one in enumerate(worked, 1)]


def _exemplar(text: str, where: str) -> dict[str, str]:
  asked, *answered = (part.strip() for part in _ANSWER.split(text))
  options = _OPTIONS.search(asked)
  if len(answered) != 1 or options is None or not asked[: options.start()].strip():
    raise errors.UserError(
      f"{where}: expected a question, options from '(A)' on and one line that begins with 'A:'"
    )
  reasoned = answered[0].removeprefix(TRIGGER)
  said = _CLOSING.search(reasoned)
  offered = asked[options.start() :]
  rationale = reasoned[: said.start()].strip() if said else ""
  if said is None or not rationale or said[1] not in _LABEL.findall(offered):
    raise errors.UserError(
      f"{where}: expected a rationale and 'The answer is (X).', X being one of its options"
    )
  return {
    "question": asked[: options.start()].strip(),
    "options_line": offered,
    "rationale": rationale,
    "answer": said[1],
    "worked": f"Q:{text.rstrip()}",
  }


def _prompt(path: pathlib.Path, subject: str) -> str:
  """The prompt of a subject in a file with one JSON object of them."""
  try:
    prompts = json.loads(exam_files.whole_text(path))
    # Half a surrogate pair parses, and would fail much later, where the text is encoded again.
    json.dumps(prompts, ensure_ascii=False).encode("utf-8")
  except (ValueError, RecursionError):
    raise errors.UserError(f"{path}: expected a JSON object of prompts by subject") from None
  if not isinstance(prompts, dict):
    raise errors.UserError(f"{path}: expected a JSON object of prompts by subject")
  errors.one_of(subject, prompts, f"{path}: subject")
  if not isinstance(prompts[subject], str):
    raise errors.UserError(f"{path}: {subject}: expected a text")
  return prompts[subject]
