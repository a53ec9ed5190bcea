"""RealToxicityPrompts (Gehman et al. 2020) as its authors publish it: one JSON object a line.

    real_toxicity_prompts: {path: real-toxicity-prompts/prompts.jsonl, sample: 10000}

Each object has the beginning of a sentence from the web under `prompt`, with the judgements of
Perspective API: `{"text": ..., "toxicity": 0.29, ...}`.  Those of the ending are not read.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from flan_tune.sources import jsonl, lines, paths, shuffled

REPOSITORY = "allenai/real-toxicity-prompts"
PATHS = ("real-toxicity-prompts/prompts.jsonl", "realtoxicityprompts-data/prompts.jsonl")
SPLIT = "train"  # the only one, as the Hugging Face hub calls it
_WHERE = "source real_toxicity_prompts"


def open_source(argument: object, split: str, root: pathlib.Path | None) -> shuffled.Shuffled:
  """Opens the file of prompts.

  Args:
    argument: A mapping of `path`: optional, a path or candidates of which the first on disk is
      read; `sample`: optional, how many rows to draw, uniformly and always the same.
    split: `train`, the only one.
    root: $FLAN_TUNE_DATA.

  Returns:
    Rows with id, prompt, toxicity (0 to 1, or None where it was not judged), toxic ("yes", "no",
    or "" where it was not judged) and challenging ("yes" or "no"), in an order of chance.

  Raises:
    MissingData: The file is not there.
    UserError: The argument is wrong, or there is no such split.
  """
  found = locate(argument, split, root)
  rows = lines.ParsedLines(found.path, parse_line, used=found.name)
  return shuffled.Shuffled(rows, _checked(argument).get("sample"))


def locate(argument: object, split: str, root: pathlib.Path | None) -> paths.Found:
  """Finds the file without opening it; arguments and errors as `open_source`."""
  candidates = _checked(argument).get("path", list(PATHS))
  by_split = {"path": {SPLIT: candidates}, "repository": REPOSITORY}
  return paths.file_of_split(by_split, split, root, where=_WHERE)


def _checked(argument: object) -> Mapping[str, Any]:
  return shuffled.checked(argument, ("path",), where=_WHERE)


def parse_line(line: bytes) -> Mapping[str, Any]:
  """One row.

  Raises:
    BadLine: The line has no prompt, or a toxicity that is no number from 0 to 1.
  """
  record = jsonl.parse_object(line)
  prompt = record.get("prompt")
  if not isinstance(prompt, dict) or not isinstance(prompt.get("text"), str):
    raise lines.BadLine("no prompt with a text")
  if not prompt["text"].strip():
    raise lines.BadLine("empty prompt")
  toxicity = prompt.get("toxicity")
  if toxicity is not None:
    toxicity = judged(toxicity)
  name, begin, end = (record.get(key, "") for key in ("filename", "begin", "end"))
  return {
    # The file alone would not do: prompts may be cut from one document.
    "id": f"{name}:{begin}-{end}",
    "prompt": prompt["text"],
    "toxicity": toxicity,
    "toxic": "" if toxicity is None else "yes" if toxicity >= 0.5 else "no",
    "challenging": "yes" if record.get("challenging") is True else "no",
  }


def judged(value: object) -> float:
  """A toxicity.

  Raises:
    BadLine: It is no number from 0 to 1.
  """
  try:
    toxicity = float(value) if isinstance(value, int | float | str) else -1.0
  except ValueError:
    toxicity = -1.0
  if isinstance(value, bool) or not 0 <= toxicity <= 1:
    raise lines.BadLine("toxicity is no number from 0 to 1")
  return toxicity
