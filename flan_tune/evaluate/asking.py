"""What is asked, and how: an evaluation's options, its questions, the settings of each exam."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.benchmarks.exam import GENERATE, METHODS, RANK, Exam, Question
from flan_tune.evaluate import predictor as predictor_lib
from flan_tune.evaluate import summaries
from flan_tune.text.fields import BadRow

# Of self-consistency unless the user says otherwise (Wang et al. 2022, 3.1).
TEMPERATURE, TOP_K = 0.7, 40
# Options that change no answer: whoever continues an evaluation may choose them anew.
_FREE = ("batch_size", "shard")
_MANY = 2**31 - 1  # what the device counts to
_RANGES = {
  "limit": (1, _MANY),
  "samples": (1, _MANY),
  "temperature": (0, 1e6),
  "top_k": (0, _MANY),
  "max_tokens": (1, 2**16),  # each takes its place in the cache of keys and values
  "max_input_tokens": (1, _MANY),
  "batch_size": (1, _MANY),
  "seed": (0, 2**32 - 1),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How an evaluation asks.

  Attributes:
    limit: The first so many usable questions of each exam; None for all.
    method: "generate" or "rank"; None leaves it to the exam.
    samples: Answers per question, put to the vote; 1 for none.
    temperature: 0 takes the best token each time; with several samples 0 means TEMPERATURE.
    top_k: Draw from so many of the best tokens; 0 from all, with several samples from TOP_K.
    early_stop: Ask for no more samples once the majority cannot change.
    max_tokens: Most tokens of an answer; None leaves it to the exam.
    max_input_tokens: Longest prompt, EOS included; a longer one loses its front.
    batch_size: Rows the model sees together; changes no answer.
    seed: Of the draws.
    shard: (k, n): of n processes this is number k, from 0; question i belongs to number i mod n.

  Raises:
    UserError: A value is out of its range.
  """

  limit: int | None = None
  method: str | None = None
  samples: int = 1
  temperature: float = 0.0
  top_k: int = 0
  early_stop: bool = False
  max_tokens: int | None = None
  max_input_tokens: int | None = None
  batch_size: int = 32
  seed: int = 0
  shard: tuple[int, int] = (0, 1)

  def __post_init__(self):
    if self.method is not None:
      errors.one_of(self.method, METHODS, "method")
    for name, (least, most) in _RANGES.items():
      value = getattr(self, name)
      if value is not None and not least <= value <= most:  # NaN, too
        told = f"below {least}" if not value > most else f"above {most}"
        raise errors.UserError(f"{name}: {value} is {told}")
    if self.top_k and not self.temperature and self.samples == 1:
      raise errors.UserError(
        f"top_k: {self.top_k} needs a temperature above 0 or several samples; one answer without a"
        " temperature is not drawn"
      )
    number, count = self.shard
    if not 0 <= number < count:
      raise errors.UserError(
        f"shard: {number} of {count} unknown; shards are numbered from 0 to {max(count, 1) - 1}"
      )

  def lasting(self) -> dict[str, Any]:
    """What answers depend on, and `limit`: by name, in JSON's types."""
    fields = dataclasses.asdict(self)
    return {name: value for name, value in fields.items() if name not in _FREE}


class Way(NamedTuple):
  """How an exam is asked; questions of exams that are asked alike share batches."""

  method: str
  max_tokens: int = 0
  stop: tuple[str, ...] = ()
  samples: int = 1
  temperature: float = 0.0
  top_k: int = 0
  early_stop: bool = False


class Name(NamedTuple):
  """What no two questions of an evaluation share."""

  exam: str
  setting: str
  id: str


class Asked(NamedTuple):
  """A question with what is asked of the model."""

  exam: Exam
  question: Question
  method: str
  prompt_hash: str

  @property
  def name(self) -> Name:
    """Under which its answer is kept."""
    return Name(self.exam.name, self.exam.setting, self.question.id)


class Gathered(NamedTuple):
  """All questions in order, what was left out of each exam by reason, and what to tell the user."""

  asked: list[Asked]
  problems: dict[str, dict[str, int]]
  notes: list[str]


def prompt_hash(prompt: str) -> str:
  """The first 16 hex digits of a prompt's SHA-256."""
  return hashlib.sha256(prompt.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def gather(exams: Sequence[Exam], options: Options) -> Gathered:
  """Makes the prompts of all exams, each once.

  Raises:
    UserError: An exam is named twice.
  """
  asked, problems, notes = [], {}, []
  for exam in exams:
    if exam.key in problems:
      raise errors.UserError(f"{exam.key}: asked for twice; name each exam once")
    questions, counts = _usable(exam, options.limit)
    method = _method(exam, options, questions)
    if options.method not in (None, method):
      why = "is judged by a summary" if exam.metric in summaries.SUMMARIES else "has no options"
      notes.append(f"{exam.key}: {why}, so its method is {method}, not {options.method}")
    if method == RANK:
      questions = _rankable(questions, counts)
    if not questions:
      notes.append(f"{exam.key}: has no usable question, so no score")
    asked += [Asked(exam, one, method, prompt_hash(one.prompt)) for one in questions]
    problems[exam.key] = dict(counts)
  return Gathered(asked, problems, notes)


def _usable(exam: Exam, limit: int | None) -> tuple[list[Question], collections.Counter[str]]:
  found: dict[str, Question] = {}
  counts: collections.Counter[str] = collections.Counter()
  for index in range(len(exam.questions)):
    if len(found) == limit:
      break
    try:
      question = exam.questions[index]
    except BadRow as reason:
      counts[str(reason)] += 1
      continue
    if question.id in found:
      counts["id of an earlier question"] += 1
      continue
    found[question.id] = question
  return list(found.values()), counts


def _method(exam: Exam, options: Options, questions: Sequence[Question]) -> str:
  # A summary reads what its own method leaves in the records.
  if options.method is None or exam.metric in summaries.SUMMARIES:
    return exam.method
  if options.method == RANK and not any(question.options for question in questions):
    return GENERATE
  return options.method


def _rankable(questions: Sequence[Question], counts: collections.Counter[str]) -> list[Question]:
  kept = []
  for question in questions:
    if not question.options:
      counts["no options to rank"] += 1
    elif question.answers and not set(question.answers) & set(question.options):
      counts["answer outside the options"] += 1
    else:
      kept.append(question)
  return kept


class Ways:
  """How each exam is asked of one model.

  Attributes:
    notes: Which stop strings no answer of the model can hold.
  """

  def __init__(self, gathered: Gathered, options: Options, predictor: predictor_lib.Predictor):
    self._options = options
    self._predictor = predictor
    self._usable: dict[tuple[str, ...], tuple[str, ...]] = {}
    self.notes: list[str] = []
    first = {one.exam.key: one for one in reversed(gathered.asked)}
    self._ways = {key: self._way(first[key]) for key in gathered.problems if key in first}

  def of(self, one: Asked) -> Way:
    """The way of this question's exam."""
    return self._ways[one.exam.key]

  def _way(self, one: Asked) -> Way:
    if one.method == RANK:
      return Way(RANK)
    exam, options = one.exam, self._options
    way = Way(GENERATE, options.max_tokens or exam.max_tokens, self._stop(exam))
    if exam.samples > 1:  # made of draws, so neither voted on nor stopped early
      return way._replace(
        samples=exam.samples, temperature=exam.temperature or TEMPERATURE, top_k=exam.top_k
      )
    if options.samples == 1:
      return way._replace(
        temperature=options.temperature or exam.temperature, top_k=options.top_k or exam.top_k
      )
    return way._replace(
      samples=options.samples,
      temperature=options.temperature or TEMPERATURE,
      top_k=options.top_k or TOP_K,
      early_stop=options.early_stop and exam.metric not in summaries.SUMMARIES,
    )

  def _stop(self, exam: Exam) -> tuple[str, ...]:
    if exam.stop not in self._usable:
      kept = predictor_lib.usable(exam.stop, self._predictor)
      self._usable[exam.stop] = kept
      if lost := [one for one in exam.stop if one not in kept]:
        self.notes.append(
          f"{exam.key} and its like: the vocabulary cannot write "
          f"{', '.join(map(repr, lost))}, so no answer is stopped there"
        )
    return self._usable[exam.stop]
