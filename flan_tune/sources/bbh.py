"""BIG-Bench Hard (Suzgun et al. 2022), as suzgunmirac/BIG-Bench-Hard publishes it.

Each of its 27 files is a task.  `bbh: {task: snarks}`, with the splits `test` (the questions) and
`exemplars` (the three worked examples of its chain-of-thought prompt).
"""

import pathlib
import re
from typing import Any

from flan_tune import errors
from flan_tune.sources import elements, exam_files, lines, paths

REPOSITORY = "suzgunmirac/BIG-Bench-Hard"
SPLITS = ("test", "exemplars")
TRIGGER = "Let's think step by step."
EXEMPLARS = 3
_FILES = {
  "test": "BIG-Bench-Hard/bbh/{}.json",
  "exemplars": "BIG-Bench-Hard/cot-prompts/{}.txt",
}
_WHERE = "source bbh"
_OPTIONS = re.compile(r"^Options:[ \t]*\n", re.MULTILINE)
_LABEL = re.compile(r"^(\([A-Z]\))(?= |$)", re.MULTILINE)
_RULE = re.compile(r"^-{5,}[ \t]*$", re.MULTILINE)
_QUESTION = re.compile(r"^Q:", re.MULTILINE)
_ANSWER = re.compile(r"^A:", re.MULTILINE)
_SAYING = re.compile(r"\bthe answer is\b", re.IGNORECASE)
# The rest of the last sentence: no full stop but at its end or in a number.
_SAID = re.compile(r"(?P<answer>(?:[^.\n]|\.(?=\S))+)\.?")


def open_source(argument: object, split: str, root: pathlib.Path | None) -> exam_files.Numbered:
  """Opens a task.

  Args:
    argument: `task`: the file's name without its ending.
    split: `test` or `exemplars`.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, question (with its lines of options) and answer.  Of `test` also options: the
    labels that the question offers, `("(A)", "(B)")`, or nothing where its answer is no letter;
    an answer that is none of them is counted in `problems` (three of upstream's are a film's or a
    band's name).  Of `exemplars` also rationale, from behind the trigger phrase to the end, the
    sentence with the answer included; worked, all of it from "Q:" to there as the file has it; and
    description, the task's.

  Raises:
    MissingData: The file is not there.
    UserError: The argument is wrong, there is no such split, or the file has not its form.
  """
  found = locate(argument, split, root)
  task = found.path.stem
  if split == "exemplars":
    rows = exemplars(exam_files.whole_text(found.path), found.path)
    return exam_files.Numbered(rows, task, found)
  questions = elements.Elements(found.path, "examples", parsed, used=found.name)
  return exam_files.Numbered(questions, task, found, problems=questions.problems)


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the file without opening it; arguments and errors as `open_source`."""
  task = exam_files.checked_name(argument, "task", "snarks", where=_WHERE)
  errors.one_of(split, SPLITS, f"{_WHERE}: split")
  name = _FILES[split].format(task)
  return paths.first_found(root, [name], where=f"{_WHERE}: task", repository=REPOSITORY)


def parsed(example: Any) -> lines.Row:
  """Question, answer and options of an example.

  Raises:
    BadLine: It lacks one of the first two, or the answer is none of the options.
  """
  question = exam_files.text_field(example, "input")
  answer = exam_files.text_field(example, "target")
  options = labels(question)
  if options and answer not in options:
    raise lines.BadLine("the answer is none of the options")
  return {"question": question, "answer": answer, "options": options}


def labels(question: str) -> tuple[str, ...]:
  """The labels that stand at the beginnings of lines below "Options:"."""
  offered = _OPTIONS.split(question, maxsplit=1)[1:]
  return tuple(_LABEL.findall("".join(offered)))


def exemplars(text: str, path: pathlib.Path) -> list[lines.Row]:
  """The worked examples of a prompt file.

  Raises:
    UserError: There are not three, or one has no answer, or the canary cannot be cut off.
  """
  rule = _RULE.search(text)
  prompt = text[rule.end() :] if rule else text
  if "canary" in prompt.lower():
    raise errors.UserError(f"{path}: expected the canary line to end with a line of '-----'")
  description, *worked = _QUESTION.split(prompt)
  if len(worked) != EXEMPLARS:
    raise errors.UserError(
      f"{path}: expected {EXEMPLARS} exemplars that begin with 'Q:', found {len(worked)}"
    )
  if not description.strip():
    raise errors.UserError(f"{path}: expected the task's description before the first 'Q:'")
  shared = {"description": description.strip()}
  return [_exemplar(one, f"{path}: exemplar {n}") | shared for n, one in enumerate(worked, 1)]


def _exemplar(text: str, where: str) -> dict[str, str]:
  question, *answered = (part.strip() for part in _ANSWER.split(text))
  if len(answered) != 1 or not question:
    raise errors.UserError(f"{where}: expected a question and one line that begins with 'A:'")
  rationale = answered[0].removeprefix(TRIGGER).strip()
  *before, last = _SAYING.split(rationale)
  said = _SAID.fullmatch(last) if before else None
  answer = said["answer"].strip() if said else ""
  if not answer:
    raise errors.UserError(f"{where}: expected it to end with 'the answer is ...'")
  options = labels(question)
  if options and answer not in options:
    raise errors.UserError(f"{where}: its answer {answer!r} is none of {', '.join(options)}")
  worked = f"Q:{text.rstrip()}"
  return {"question": question, "rationale": rationale, "answer": answer, "worked": worked}
