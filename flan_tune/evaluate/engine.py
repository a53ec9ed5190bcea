"""Asks a model the questions of exams, judges the answers, and goes on where it was stopped.

With a folder every answer is a line on disk as soon as its batch is done; without one everything
stays in memory, as the training loop wants it.  The rules of this module know texts and numbers
only: whatever satisfies `predictor.Predictor` can be evaluated.
"""

import collections
import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from flan_tune import draws, runlog
from flan_tune.benchmarks.exam import RANK, Exam
from flan_tune.evaluate import asking, journal, judging, manifest, outcomes
from flan_tune.evaluate.asking import Asked, Options, Way
from flan_tune.evaluate.journal import Record, Seconds
from flan_tune.evaluate.outcomes import Results
from flan_tune.evaluate.predictor import Predictor

__all__ = ["Options", "Results", "answer"]

# Samples of a question that are drawn together.  Fixed: a draw depends on its block's number.
BLOCK = 8

Progress = Callable[[int, int, str], None]
T = TypeVar("T")


def answer(
  exams: Sequence[Exam],
  predictor: Predictor,
  options: Options | None = None,
  *,
  folder: pathlib.Path | None = None,
  progress: Progress | None = None,
  checkpoint: Mapping[str, Any] | None = None,
  missing: Sequence[Any] = (),
  known: Mapping[str, Any] | None = None,
  environment: Mapping[str, Any] | None = None,
) -> Results:
  """Answers all questions of a shard that the folder does not answer yet.

  Once no question of any shard is left, `results.json` is written.

  Args:
    folder: Of the evaluation; None keeps everything in memory.
    progress: Told questions done, questions in all, and the exam of the last one.
    checkpoint: What tells the model from others, as plain data; a folder takes one only.
    missing: For `results.json`; see `outcomes.document`, as for `known` and `environment`.  What
      the folder has answers of must not be among them.

  Raises:
    UserError: The folder holds another evaluation, or another process answers this shard.
  """
  began = time.perf_counter()
  options = options or Options()
  gathered = asking.gather(exams, options)
  with contextlib.ExitStack() as stack:
    if folder is None:
      log = journal.Memory()
    else:
      wanted = manifest.document(exams, gathered, options, checkpoint or {})
      log = stack.enter_context(_opened(folder, options, gathered, wanted, missing))
    asked, notes = _work(log, predictor, options, gathered, progress=progress, began=began)
    log.refresh()
    notes = [*gathered.notes, *notes, *_unwritable(gathered, predictor), *log.told()]
    results = _results(exams, log, gathered, notes=notes, asked=asked)
    if folder is not None and not results.remaining:
      made = outcomes.document(
        exams,
        results,
        options.lasting(),
        checkpoint=checkpoint,
        missing=missing,
        known=known,
        environment=environment,
      )
      runlog.write_json(folder / manifest.RESULTS, made)
  return results


def _opened(
  folder: pathlib.Path,
  options: Options,
  gathered: asking.Gathered,
  wanted: Mapping[str, Any],
  missing: Sequence[Any],
) -> journal.Journal:
  with journal.settling(folder):
    # Before the shard's file is made: what is refused leaves nothing behind.
    manifest.check(folder, wanted, missing)
    log = journal.Journal(folder, options.shard)
    try:
      manifest.check_answers(folder, log.records, gathered)
      manifest.settle(folder, log, wanted)
    except BaseException:
      log.withdraw()
      raise
  return log


def _unwritable(gathered: asking.Gathered, predictor: Predictor) -> list[str]:
  """Notes on right answers that the model could not give if it would."""
  asked: collections.Counter[str] = collections.Counter()
  lost: collections.Counter[str] = collections.Counter()
  for one in gathered.asked:
    suite = f"{one.exam.suite}_{one.exam.setting}"
    asked[suite] += 1
    answers = one.question.answers
    lost[suite] += bool(answers) and not any(map(predictor.can_write, answers))
  return [
    f"{suite}: {count:,} of {asked[suite]:,} right answers hold what the model's vocabulary lacks,"
    " so no generation can equal them"
    for suite, count in lost.items()
    if count
  ]


def _results(
  exams: Sequence[Exam],
  log: journal.Memory,
  gathered: asking.Gathered,
  *,
  notes: list[str],
  asked: int,
) -> Results:
  records: dict[str, list[Record]] = {exam.key: [] for exam in exams}
  for one in gathered.asked:
    if one.name in log.records:
      records[one.exam.key].append(log.records[one.name])
  remaining = len(gathered.asked) - sum(map(len, records.values()))
  return Results(records, gathered.problems, notes, asked, remaining, log.seconds())


class Todo(NamedTuple):
  """A question to be asked, how, and its length in tokens, EOS included."""

  asked: Asked
  way: Way
  tokens: int


def _work(
  log: journal.Memory,
  predictor: Predictor,
  options: Options,
  gathered: asking.Gathered,
  *,
  progress: Progress | None,
  began: float,
) -> tuple[int, list[str]]:
  """Asks what is not answered; returns how many questions, and notes."""
  number, count = options.shard
  mine = gathered.asked[number::count]
  ways = asking.Ways(gathered, options, predictor)
  todo = [
    Todo(one, ways.of(one), predictor.count_tokens(one.question.prompt))
    for one in mine
    if one.name not in log.records
  ]
  done = len(mine) - len(todo)
  model = _Timed(predictor)
  if progress and mine:  # compiling takes a while
    progress(done, len(mine), (todo[0].asked if todo else mine[-1]).exam.key)
  for chunk in _chunks(todo, options.batch_size):
    model.seconds = 0.0
    make = _ranked if chunk[0].way.method == RANK else _generated
    records = [runlog.plain(record) for record in make(chunk, model, options)]
    began, before = time.perf_counter(), began
    log.append(records, Seconds(began - before, model.seconds))
    done += len(chunk)
    if progress:
      progress(done, len(mine), chunk[-1].asked.exam.key)
  return len(todo), ways.notes


def _chunks(todo: Sequence[Todo], size: int) -> Iterator[list[Todo]]:
  """Questions asked alike and of like length, the longest first: memory runs out at once or not."""
  groups: dict[Way, list[Todo]] = {}
  for one in todo:
    groups.setdefault(one.way, []).append(one)
  for group in groups.values():
    ordered = sorted(group, key=lambda one: -one.tokens)
    yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


class _Timed:
  """A predictor with a stopwatch."""

  def __init__(self, predictor: Predictor):
    self._predictor = predictor
    self.seconds = 0.0

  def decode(self, prompts: Sequence[str], **options: Any) -> Any:
    return self._time(lambda: self._predictor.decode(prompts, **options))

  def judge(self, pairs: Sequence[tuple[str, str]], **options: Any) -> Any:
    return self._time(lambda: self._predictor.judge(pairs, **options))

  def _time(self, ask: Callable[[], T]) -> T:
    began = time.perf_counter()
    made = ask()
    self.seconds += time.perf_counter() - began
    return made


def _limits(chunk: Sequence[Todo], options: Options) -> dict[str, Any]:
  """Arguments by which long prompts lose their front; none where nothing is too long."""
  if not any(_cut(one, options) for one in chunk):
    return {}
  return {"max_input_tokens": options.max_input_tokens, "long": "cut"}


def _cut(one: Todo, options: Options) -> int:
  limit = options.max_input_tokens
  return max(0, one.tokens - limit) if limit is not None else 0


def _ranked(chunk: Sequence[Todo], model: _Timed, options: Options) -> Iterator[Record]:
  questions = [one.asked.question for one in chunk]
  pairs = [(question.prompt, option) for question in questions for option in question.options]
  judged = iter(model.judge(pairs, batch_size=options.batch_size, **_limits(chunk, options)))
  for one in chunk:
    own = [next(judged) for _ in one.asked.question.options]
    yield judging.ranked(one.asked, own, cut=_cut(one, options))


def _generated(chunk: Sequence[Todo], model: _Timed, options: Options) -> Iterator[Record]:
  way = chunk[0].way
  pools: list[list[Record]] = [[] for _ in chunk]
  for block, start in enumerate(range(0, way.samples, BLOCK)):
    waiting = [
      (one, pool)
      for one, pool in zip(chunk, pools, strict=True)
      if not (way.early_stop and pool and judging.decided(pool, way.samples))
    ]
    if not waiting:
      break
    count = min(BLOCK, way.samples - start)
    several = _drawn([one for one, _ in waiting], model, options, block=block, count=count)
    for (one, pool), drawn in zip(waiting, several, strict=True):
      pool += [judging.sampled(one.asked, sample) for sample in drawn]
  for one, pool in zip(chunk, pools, strict=True):
    yield judging.generated(one.asked, pool, cut=_cut(one, options))


def _drawn(
  chunk: Sequence[Todo], model: _Timed, options: Options, *, block: int, count: int
) -> Any:
  """A block of samples of each question."""
  way = chunk[0].way
  extra: dict[str, Any] = _limits(chunk, options)
  if way.temperature > 0:
    # By the question itself: no batch, order or shard changes what is drawn.
    extra["numbers"] = [_number(one.asked, block) for one in chunk]
  return model.decode(
    [one.asked.question.prompt for one in chunk],
    max_tokens=way.max_tokens,
    temperature=way.temperature,
    top_k=way.top_k,
    num_samples=count,
    stop=way.stop,
    seed=options.seed,
    # Each sample is a row of its own.
    batch_size=max(1, options.batch_size // count),
    **extra,
  )


def _number(one: Asked, block: int) -> int:
  return draws.Draws("sample", one.exam.key, one.question.id, block).below(2**31)
