"""What an evaluation asks: a task in one setting, as questions with their right answers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

GENERATE, RANK = "generate", "rank"
METHODS = (GENERATE, RANK)


class Question(NamedTuple):
  """One question.

  Attributes:
    id: Unlike any other of its exam, and the same in every run: the row's own, or its number.
    prompt: What the model reads.
    answers: The right ones as the exam's extraction rule writes them; the first is shown as the
      target.  Empty where nothing is right or wrong.
    options: What ranking compares, and the answers that extraction rules may find, such as
      "(A)" and "(B)".
    shots: Exemplars in the prompt.
    dropped: Exemplars left out from its front, for the limit of input tokens.
    facts: Of the row, for metrics and reports.
  """

  id: str
  prompt: str
  answers: tuple[str, ...]
  options: tuple[str, ...] = ()
  shots: int = 0
  dropped: int = 0
  facts: Mapping[str, Any] = {}


class Questions(Protocol):
  """Questions by number.  `[i]` raises BadRow for a row of which none can be made."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Question: ...


@dataclasses.dataclass(frozen=True)
class Exam:
  """A task in one setting, with its data opened.

  Attributes:
    name: Of the task, such as `bbh_snarks`.
    setting: `direct`, `cot`, `direct_zs`, `cot_zs`, or a setting of a task card.
    suite: What it belongs to: `bbh`; of a task card its group.
    benchmark: Its name in tables of results: `BBH/snarks`.
    label: Its setting there: `3-shot CoT`.
    version: Of the card; raised whenever prompts or judgement change.
    fingerprint: SHA-256 (hex) of all that shapes prompts and judgement, exemplars included.
    chance: Score of the best constant or random answer, 0 to 1.
    extract: A rule of `flan_tune.text.extraction`.
    metric: Of `flan_tune.metrics`, or a summary of `flan_tune.evaluate.summaries`.
    max_tokens: Most tokens of an answer.
    method: How it is asked unless the user says otherwise, one of METHODS.
    samples: Answers per question, and how they are drawn, where the benchmark is made of draws.
    questions: Opened lazily, row by row.
    problems: What its source left out, counted by reason.
    stand_in: What stands in for something that is not on disk, in words.
  """

  name: str
  setting: str
  suite: str
  benchmark: str
  label: str
  questions: Questions
  metric: str
  extract: str
  fingerprint: str
  version: int = 1
  category: str = ""
  chance: float = 0.0
  max_tokens: int = 128
  stop: tuple[str, ...] = ()
  method: str = GENERATE
  samples: int = 1
  temperature: float = 0.0
  top_k: int = 0
  held_out: bool = True
  problems: Mapping[str, int] = dataclasses.field(default_factory=dict)
  stand_in: str = ""

  @property
  def key(self) -> str:
    """Task and setting in one word, `bbh_snarks_cot`: as it is asked for by name."""
    return f"{self.name}_{self.setting}"
