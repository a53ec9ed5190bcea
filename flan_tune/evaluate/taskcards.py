"""Exams of task cards: unseen rows of what a model was tuned on, or might have been.

A card's templates phrase the questions, as in training, with a fixed number of exemplars.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flan_tune import cards, render
from flan_tune.benchmarks.exam import Exam, Question
from flan_tune.data import rendered
from flan_tune.text import extraction

_SHOTS = 2  # exemplars of few-shot prompts


@dataclasses.dataclass(frozen=True)
class Choice:
  """How exams are opened.

  Attributes:
    split: Of benchmarks, instead of their own choice.
    setting: Of task cards.
    shots: Instead of a benchmark's own number; of task cards 2.
    seed: Chooses templates and exemplars where they are drawn.
    count_tokens: With `budget` it limits exemplars.
    budget: Most tokens of a prompt.
    seen: Task cards with a training split only are asked from that.
    max_tokens: Most tokens of an answer to a task card's question; benchmarks have their own.
    most: Of a task card's rows, the first so many; None for all.
  """

  split: str | None = None
  setting: str = "zs_opt"
  shots: int | None = None
  seed: int = 0
  count_tokens: Callable[[str], int] | None = None
  budget: int | None = None
  seen: bool = False
  max_tokens: int = 128
  most: int | None = None


class Opened(NamedTuple):
  """The exams that have data, and what the other tasks lack, by task."""

  exams: list[Exam]
  lacking: dict[str, str]


def open_exams(names: Sequence[str], choice: Choice, *, held_out: bool = False) -> Opened:
  """An exam for each task that has the setting and rows that are no training rows.

  Args:
    names: Tasks and mixtures.
    choice: How.
    held_out: The tasks are never trained on.

  Raises:
    UserError: No task or mixture of a name, or a template with a hole that no row fills.
  """
  collection = cards.load()
  tasks = {card.name: card for name in names for card in collection.members(name)}
  exams, lacking = [], {}
  for card in tasks.values():
    try:
      exams.append(_opened(card, choice, held_out))
    except render.BadRow as reason:
      lacking[card.name] = str(reason)
  return Opened(exams, lacking)


def _opened(card: cards.TaskCard, choice: Choice, held_out: bool) -> Exam:
  if choice.setting not in card.settings:
    raise render.BadRow(f"it has no setting {choice.setting}")
  split = next((one for one in ("validation", "test") if one in card.splits), "train")
  if split == "train" and not choice.seen:
    raise render.BadRow("it has a training split only")
  renderer = rendered.open_renderer(
    card.name,
    split=split,
    seed=choice.seed,
    fixed_shots=True,
    shots=_SHOTS if choice.shots is None else choice.shots,
    count_tokens=choice.count_tokens,
    budget=choice.budget,
  )
  questions = _Rows(renderer, choice.setting, choice.most)
  return _exam(card, questions, choice, split=split, held_out=held_out)


def _exam(
  card: cards.TaskCard, questions: "_Rows", choice: Choice, *, split: str, held_out: bool
) -> Exam:
  renderer, setting = questions.renderer, questions.setting
  return Exam(
    name=card.name,
    setting=setting,
    suite=card.group,
    benchmark=card.name,
    label=setting,
    questions=questions,
    metric=card.metrics[0],
    extract=card.extract,
    fingerprint=_fingerprint(card, renderer, setting),
    version=card.version,
    category=card.category,
    chance=card.chance,
    max_tokens=choice.max_tokens,
    held_out=held_out,
    problems=getattr(renderer.rows, "problems", {}),
    stand_in="no unseen rows: asked from its training split" if split == "train" else "",
  )


class _Rows:
  """A card's rows as questions."""

  def __init__(self, renderer: render.Renderer, setting: str, most: int | None):
    self.renderer, self.setting, self._most = renderer, setting, most
    self._rule = extraction.RULES[renderer.card.extract]

  def __len__(self) -> int:
    rows = len(self.renderer.rows)
    return rows if self._most is None else min(rows, self._most)

  def __getitem__(self, index: int) -> Question:
    example = self.renderer.example(index, setting=self.setting)
    # The target goes through the same rule, so brackets and full stops are treated alike.
    answer = self._rule.strict(example.targets, ())
    return Question(
      id=str(index),
      prompt=example.inputs,
      answers=(example.answer if answer is None else answer,),
      shots=example.shots,
      facts={"kind": example.kind, "template": example.template, "targets": example.targets},
    )


def _fingerprint(card: cards.TaskCard, renderer: render.Renderer, setting: str) -> str:
  fields = dataclasses.asdict(card)
  shaping = {
    "card": {name: value for name, value in fields.items() if name not in ("file", "stem")},
    "templates": repr(renderer.family),  # their texts, without where they were read
    "setting": setting,
    "seed": renderer.seed,
    "shots": renderer.shots,
    "rule": extraction.RULES[card.extract].version,
  }
  return hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()
