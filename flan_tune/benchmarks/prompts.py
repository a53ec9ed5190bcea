"""From rows to prompts: solved exemplars and a question, within a budget of tokens."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import errors, sources
from flan_tune.benchmarks import card
from flan_tune.benchmarks.exam import Question
from flan_tune.draws import Draws, permuted
from flan_tune.templating import Template
from flan_tune.text.fields import BadRow

# Parts counted one by one may differ from the whole by a few tokens where they meet; a prompt
# further from the limit than this share of it is not counted again.
_NEAR = 0.75
_MOST_LOOKED_AT = 10_000  # rows, for exemplars of every answer

CountTokens = Callable[[str], int]


class Reader:
  """Reads rows of a benchmark: the texts for templates, the options, the right answers."""

  def __init__(self, benchmark: card.Benchmark):
    self._options = benchmark.options
    self._answers = benchmark.answers
    self._fields = benchmark.fields

  def texts(self, row: Mapping[str, Any]) -> dict[str, str]:
    """What fills the holes of templates: texts and numbers of the row, and the card's fields."""
    found = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    found |= {key: str(value) for key, value in row.items() if _is_number(value)}
    if self._options.kind == card.LETTERS and self._options.values[0] in row:
      choices = self._listed(row)
      labelled = zip(_letters(choices), choices, strict=True)
      found[self._options.values[0]] = " ".join(f"{label} {text}" for label, text in labelled)
    return {**self._fields, **found}

  def options(self, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers that the row allows; none where any is."""
    if self._options.kind == card.FIXED:
      return self._options.values
    listed = self._listed(row)
    return _letters(listed) if self._options.kind == card.LETTERS else listed

  def answers(self, row: Mapping[str, Any], texts: Mapping[str, str]) -> tuple[str, ...]:
    """The right answers.

    Raises:
      BadRow: There is none.
    """
    template = self._answers
    if template is None:
      return ()
    (hole,) = template.holes if len(template.holes) == 1 else ("",)
    if template.text == f"{{{hole}}}" and isinstance(row.get(hole), list | tuple):
      found = tuple(str(one).strip() for one in row[hole])
    else:
      found = (render(template, texts).strip(),)
    if not found or not all(found):
      raise BadRow("no answer")
    return found

  def _listed(self, row: Mapping[str, Any]) -> tuple[str, ...]:
    (name,) = self._options.values
    value = row.get(name)
    if not isinstance(value, list | tuple):
      raise BadRow(f"field {name!r} is no list of options")
    return tuple(str(one) for one in value)


class Exemplar(NamedTuple):
  """A solved question: its text in a prompt, that text in one line, and its field `apart`."""

  text: str
  line: str
  apart: str


@dataclasses.dataclass(frozen=True)
class Maker:
  """Makes the questions of an exam.

  Attributes:
    pool: Exemplars in order: the first `shots` that may stand beside a question do.
    shared: Fields that questions lack and that are the same in all exemplars, such as MGSM's word
      for "question": for the header and for questions.
    count_tokens: Of a text with its end of sequence; None for no limit.
    budget: Most tokens of a prompt.
  """

  benchmark: card.Benchmark
  setting: card.Setting
  shots: int
  pool: Sequence[Exemplar]
  shared: Mapping[str, str]
  count_tokens: CountTokens | None = None
  budget: int | None = None

  @functools.cached_property
  def _reader(self) -> Reader:
    return Reader(self.benchmark)

  @functools.cached_property
  def header(self) -> str:
    """What stands before the exemplars."""
    return render(self.setting.header, {**self.benchmark.fields, **self.shared})

  @functools.cached_property
  def _sizes(self) -> Mapping[str, int]:
    """Tokens of the header and of each exemplar with its separator."""
    assert self.count_tokens is not None
    parts = [self.header, *(one.text + self.setting.separator for one in self.pool)]
    return {part: self.count_tokens(part) for part in parts}

  def question(self, row: Mapping[str, Any], number: int) -> Question:
    """The question of a row.

    Raises:
      BadRow: The row lacks a field, or its answer is not among the options.
    """
    texts = {**self.shared, **self._reader.texts(row)}
    asked = render(self.setting.question, texts)
    beside = self._beside(asked, texts)
    answers, options = self._reader.answers(row, texts), self._reader.options(row)
    if options and (odd := [one for one in answers if one not in options]):
      raise BadRow(f"the answer {odd[0][:40]!r} is none of the options")
    prompt, kept = self._fitted([one.text for one in beside], asked)
    return Question(
      id=str(row.get("id", number)),
      prompt=prompt,
      answers=answers,
      options=options,
      shots=kept,
      dropped=len(beside) - kept,
      facts={name: row.get(name) for name in self.benchmark.facts},
    )

  def _beside(self, asked: str, texts: Mapping[str, str]) -> list[Exemplar]:
    """The exemplars of a question: never the question itself, nor one of its own article."""
    # A prompt ends where its answer begins: the same question, solved, begins with all of it.
    same, apart = line(asked), texts.get(self.setting.apart, "")
    fit = (
      one for one in self.pool if not (one.line.startswith(same) or (apart and one.apart == apart))
    )
    return list(itertools.islice(fit, self.shots))

  def _fitted(self, exemplars: Sequence[str], asked: str) -> tuple[str, int]:
    """The prompt, and how many exemplars are left in it: they leave from the front."""
    separator = self.setting.separator
    if self.count_tokens is None or self.budget is None:
      return self.header + separator.join([*exemplars, asked]), len(exemplars)
    rest = self.count_tokens(asked) + self._sizes[self.header]
    sizes = [self._sizes[one + separator] for one in exemplars]
    dropped = 0
    while True:
      prompt = self.header + separator.join([*exemplars[dropped:], asked])
      guess = rest + sum(sizes[dropped:])
      near = guess > _NEAR * self.budget
      if dropped == len(exemplars) or not near or self.count_tokens(prompt) <= self.budget:
        return prompt, len(exemplars) - dropped
      dropped += 1


class Asked:
  """The questions of a source, made when they are looked at."""

  def __init__(self, rows: sources.Source, maker: Maker):
    self._rows = rows
    self._maker = maker

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Question:
    """Question `index`.

    Raises:
      BadRow: No question can be made of the row.
    """
    if not 0 <= index < len(self):
      raise IndexError(f"question {index} of {len(self)}, counted from 0")
    return self._maker.question(self._rows[index], index)


def pool(
  benchmark: card.Benchmark, setting: card.Setting, rows: sources.Source, shots: int, seed: int
) -> tuple[list[Exemplar], dict[str, str]]:
  """Exemplars in the order in which they are taken, some to spare, and the fields all share.

  Raises:
    UserError: An exemplar template has a hole that no field of the rows fills.
  """
  reader = Reader(benchmark)
  picked = _picked(setting.pick, rows, reader, shots, Draws("exemplars", benchmark.name, seed))
  found: list[Exemplar] = []
  for texts in picked:
    setting.exemplar.check(texts)
    text = setting.exemplar.render(texts)
    found.append(Exemplar(text, line(text), texts.get(setting.apart, "")))
  first = picked[0] if picked else {}
  shared = {
    key: value for key, value in first.items() if all(one.get(key) == value for one in picked)
  }
  return found, shared


def _picked(
  pick: str, rows: sources.Source, reader: Reader, shots: int, draws: Draws
) -> list[dict[str, str]]:
  """Twice as many rows as shots where there are so many, so that one may be left out."""
  key = draws.below(1 << 63)
  order: Iterable[int] = range(len(rows))
  if pick != card.FIRST:
    order = (permuted(i, len(rows), key) for i in range(min(len(rows), _MOST_LOOKED_AT)))
  wanted = max(1, shots)  # one tells the fields that all share
  solved = _solved(rows, order, reader)
  if pick == card.BALANCED:
    # The rarer an answer, the later its rows come: unshuffled, all of them would stand last.
    blocks = [draws.shuffled(list(_balanced(solved, wanted, reader))) for _ in range(2)]
    solved = itertools.chain.from_iterable(blocks)
  return [texts for _, texts, _ in itertools.islice(solved, 2 * wanted)]


class _Solved(NamedTuple):
  row: Mapping[str, Any]
  texts: dict[str, str]
  answer: str


def _solved(rows: sources.Source, order: Iterable[int], reader: Reader) -> Iterator[_Solved]:
  """The rows of which exemplars can be made."""
  for number in order:
    with contextlib.suppress(BadRow):
      row = rows[number]
      texts = reader.texts(row)
      yield _Solved(row, texts, "".join(reader.answers(row, texts)[:1]))


def _balanced(solved: Iterator[_Solved], shots: int, reader: Reader) -> Iterator[_Solved]:
  """As many rows of each option as of any other, or one more."""
  left: dict[str, int] = {}
  missing = shots
  for one in solved if shots else ():
    options = reader.options(one.row) or (one.answer,)
    most = -(-shots // len(options))
    if left.setdefault(one.answer, most) > 0:
      left[one.answer] -= 1
      missing -= 1
      yield one
    if not missing:
      return


def render(template: Template, texts: Mapping[str, str]) -> str:
  """The template filled.

  Raises:
    BadRow: A hole has no field.
  """
  try:
    return template.render(texts)
  except errors.UserError:
    lacking = next(hole for hole in template.holes if hole not in texts)
    raise BadRow(f"no field {lacking!r}") from None


def line(text: str) -> str:
  """A text in one line."""
  return " ".join(text.split())


def _letters(choices: Sequence[str]) -> tuple[str, ...]:
  return tuple(f"({chr(ord('A') + place)})" for place in range(len(choices)))


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)
