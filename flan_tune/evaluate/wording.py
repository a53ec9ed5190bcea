"""How tables of results name a benchmark and the way it was asked.

One table writes "BBH" and "3-shot CoT", the next "MMLU (test)" and "CoT+self-consistency", and an
evaluation of ours "MMLU/astronomy" and "5-shot direct, validation": all of them are read alike.
"""

import re
from typing import NamedTuple

DIRECT, COT = "direct", "CoT"
SUITES = ("MMLU", "BBH", "TyDiQA", "MGSM")
_SUITES = {name.lower(): name for name in SUITES}
_SPLITS = {"validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
# What tables add without meaning another way of asking.
_IDLE = r"\b(em|exact match|\d+ languages|native[- ]language|all)\b"


class Setting(NamedTuple):
  """How a score was measured.

  Attributes:
    shots: Exemplars in the prompt, 0 for none, None where the table does not tell.
    kind: DIRECT, COT, or "" where it does not tell.
    split: "validation", "test", or "" where it does not tell.
    voted: Whether the answer is the majority of several samples (self-consistency).
    remark: Whatever else sets the row apart, in its own words.
  """

  shots: int | None = None
  kind: str = ""
  split: str = ""
  voted: bool = False
  remark: str = ""

  @property
  def text(self) -> str:
    """The setting in the words of the paper's tables: "3-shot CoT, test"."""
    shots = "" if self.shots is None else f"{self.shots}-shot "
    asked = shots + self.kind + ("+self-consistency" if self.voted else "")
    told = ", ".join(part for part in (asked.strip(), self.split, self.remark) if part)
    return told.replace(", (", " (")


class Reading(NamedTuple):
  """What a row is about: a task of a suite, or (task "") the mean of a suite."""

  suite: str
  task: str
  setting: Setting


def read(benchmark: str, setting: str) -> Reading:
  """Reads the two columns of a row.

  Of the setting: "8-shot", "zero-shot" and a last "_zs" tell shots; "direct", "CoT" and "chain of
  thought" the kind; "validation", "val", "dev" and "test" the split; "self-consistency", "SC" and
  "maj@40" a vote.  Metric and number of languages are dropped, the rest is the remark.  A split or
  kind may stand with the benchmark instead: "MMLU (test)", "BBH-CoT".
  """
  found = parse(setting)
  suite, _, task = benchmark.strip().partition("/")
  if moved := re.fullmatch(r"(.+?)(?: \((\w+)\)|-(cot))", suite, flags=re.IGNORECASE):
    name, split, kind = moved.groups()
    if name.lower() in _SUITES and (kind or split.lower() in _SPLITS):
      suite = name
      found = found._replace(
        split=_SPLITS[split.lower()] if split else found.split, kind=COT if kind else found.kind
      )
  return Reading(_SUITES.get(suite.lower(), suite), task.strip(), found)


def parse(setting: str) -> Setting:
  """Reads the words of a setting; see `read`."""
  rest = setting.strip()
  shots, rest = _take(r"\b(\d+|zero|no)[- ]?shots?\b|(_zs)\b", rest)
  voted, rest = _take(r"\+? ?\b(self[- ]consistency|sc|maj@\d+)\b", rest)
  kind, rest = _take(r"(?<![a-z])(direct|cot|chain[- ]of[- ]thought)(?![a-z])", rest)
  split, rest = _take(r"\b(validation|val|dev|test)\b( split| set)?", rest)
  rest = re.sub(_IDLE, " ", rest, flags=re.IGNORECASE)
  remark = re.sub(r"\s+", " ", re.sub(r"\s*,[\s,]*", ", ", rest)).strip(" ,+_")
  return Setting(
    shots=int(re.sub(r"\D", "", shots) or 0) if shots else None,
    kind="" if not kind else DIRECT if kind == "direct" else COT,
    split=_SPLITS[split.split()[0]] if split else "",
    voted=bool(voted),
    remark=remark,
  )


def _take(pattern: str, text: str) -> tuple[str, str]:
  """The first match in lower case, or "", and the text without it."""
  match = re.search(pattern, text, flags=re.IGNORECASE)
  if not match:
    return "", text
  return match[0].lower(), f"{text[: match.start()]} {text[match.end() :]}"
