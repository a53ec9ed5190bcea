"""Opens a benchmark in one setting: its data, its exemplars, its fingerprint."""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import checked, errors, sources
from flan_tune.benchmarks import card, prompts
from flan_tune.benchmarks.card import Benchmark, Setting
from flan_tune.benchmarks.exam import Exam
from flan_tune.data import mixing
from flan_tune.templating import Template
from flan_tune.text import extraction
from flan_tune.text.fields import BadRow

# Fields of an exam that its card has under the same name.
_AS_THE_CARD = (
  "name",
  "suite",
  "metric",
  "version",
  "category",
  "chance",
  "method",
  "samples",
  "temperature",
  "top_k",
  "held_out",
)
_ROWS_TO_SEE = 100  # for one that can be read


def open_exam(
  benchmark: Benchmark,
  setting: str,
  *,
  split: str | None = None,
  shots: int | None = None,
  count_tokens: prompts.CountTokens | None = None,
  budget: int | None = None,
  seed: int = 0,
) -> Exam:
  """Opens the data of a benchmark under $FLAN_TUNE_DATA.

  Args:
    setting: One of its settings.
    split: One of the splits it may ask; None for the first one on disk.
    shots: Exemplars in a prompt; None for as many as the card says.
    count_tokens: Tokens of a text with its end of sequence, for `budget`.
    budget: Most tokens of a prompt.  Exemplars leave a longer one from the front; one that is too
      long without any is kept whole.
    seed: Of exemplars that are drawn.

  Raises:
    MissingData: Its files are not on disk.
    UserError: It has no such setting or split, not so many exemplars, or the card does not fit
      the rows.
  """
  checked.one_of(setting, f"{benchmark.file}: setting", allowed=benchmark.settings)
  asks = benchmark.settings[setting]
  root = mixing.data_root()
  questions = _questions(benchmark, split, root)
  texts = _check_rows(benchmark, questions.rows)
  exemplars = _exemplars(benchmark, asks, shots, seed, root)
  wanted = asks.shots if shots is None else shots
  shared = {key: value for key, value in exemplars.shared.items() if key not in texts}
  maker = prompts.Maker(benchmark, asks, wanted, exemplars.pool, shared, count_tokens, budget)
  _check_templates(maker, texts)
  stop = tuple(one.render({**benchmark.fields, **maker.shared}) for one in asks.stop)
  return Exam(
    **{name: getattr(benchmark, name) for name in _AS_THE_CARD},
    setting=setting,
    benchmark=benchmark.label,
    label=Template(asks.label).render({"shots": str(wanted), "split": questions.split}),
    questions=prompts.Asked(questions.rows, maker),
    extract=benchmark.extract[setting],
    fingerprint=_fingerprint(maker, setting, questions.split, stop, seed),
    max_tokens=benchmark.max_tokens[setting],
    stop=stop,
    problems=dict(questions.rows.problems),
    stand_in="; ".join(one for one in (questions.stand_in, exemplars.stand_in) if one),
  )


class _Rows(NamedTuple):
  """Rows of a split, and what it stands in for, in words."""

  rows: sources.Source
  split: str
  stand_in: str


class _Exemplars(NamedTuple):
  pool: Sequence[prompts.Exemplar]
  shared: Mapping[str, str]
  stand_in: str


def _questions(benchmark: Benchmark, split: str | None, root: pathlib.Path | None) -> _Rows:
  allowed = benchmark.questions
  if split is not None:
    allowed = (errors.one_of(split, allowed, f"{benchmark.file}: split"),)
  return _first_on_disk(benchmark, allowed, root, "questions")


def _first_on_disk(
  benchmark: Benchmark, splits: Sequence[str], root: pathlib.Path | None, what: str
) -> _Rows:
  """The first of the splits that is there; where none is, the error is of the first one."""
  first: sources.MissingData | None = None
  for split in splits:
    native = benchmark.splits[split]
    try:
      rows = sources.open_split(benchmark.source, native, root, where=benchmark.file)
    except sources.MissingData as missing:
      first = first or missing
      continue
    told = f"{what} from the {split} split: that of {splits[0]} is not on disk"
    return _Rows(rows, split, told if first else "")
  assert first is not None
  raise first


def _exemplars(
  benchmark: Benchmark, asks: Setting, shots: int | None, seed: int, root: pathlib.Path | None
) -> _Exemplars:
  wanted = asks.shots if shots is None else shots
  checked.whole(wanted, f"{benchmark.name}: shots", least=0)
  if not asks.exemplars:
    if wanted:
      raise errors.UserError(f"{benchmark.file}: shots: {wanted}, in a setting without exemplars")
    return _Exemplars((), {}, "")
  found = _first_on_disk(benchmark, asks.exemplars, root, "exemplars")
  pool, shared = prompts.pool(benchmark, asks, found.rows, wanted, seed)
  if len(pool) < wanted and (wanted > asks.shots or not pool):
    raise errors.UserError(
      f"{benchmark.file}: shots: {wanted}, and its {found.split} split has {len(pool)} to show"
    )
  fewer = f"{len(pool)} exemplars: there are not {wanted} in the {found.split} split"
  notes = (found.stand_in, fewer if len(pool) < wanted else "")
  return _Exemplars(pool, shared, "; ".join(note for note in notes if note))


def _check_rows(benchmark: Benchmark, rows: sources.Source) -> Mapping[str, str]:
  """The texts of the first row; a field that it lacks is a mistake of the card, not of all rows."""
  row = _first_row(rows)
  if row is None:
    return {}
  if benchmark.options.kind != card.FIXED:
    errors.one_of(benchmark.options.values[0], row, f"{benchmark.file}: options")
  for name in benchmark.facts:
    errors.one_of(name, row, f"{benchmark.file}: facts")
  texts = prompts.Reader(benchmark).texts(row)
  if benchmark.answers is not None:
    benchmark.answers.check({**row, **texts})
  return texts


def _check_templates(maker: prompts.Maker, texts: Mapping[str, str]) -> None:
  asks, common = maker.setting, {**maker.benchmark.fields, **maker.shared}
  for template in (asks.header, *asks.stop):
    template.check(common)
  if texts:
    asks.question.check({**common, **texts})


def _first_row(rows: sources.Source) -> Mapping[str, Any] | None:
  for number in range(min(len(rows), _ROWS_TO_SEE)):
    with contextlib.suppress(BadRow):
      return rows[number]
  return None


def _fingerprint(
  maker: prompts.Maker, setting: str, split: str, stop: Sequence[str], seed: int
) -> str:
  """SHA-256 of all that shapes prompts and judgement but the rows themselves and the budget."""
  benchmark, asks = maker.benchmark, maker.setting
  answers = benchmark.answers
  drawn = maker.shots > 0 and asks.pick != card.FIRST
  common = {**maker.shared, **benchmark.fields}
  holes = (*asks.question.holes, *(answers.holes if answers else ()))
  shapes: dict[str, Any] = {
    "name": benchmark.name,
    "version": benchmark.version,
    "setting": setting,
    "source": benchmark.source,
    "split": benchmark.splits[split],
    "shots": maker.shots,
    "exemplars": [[one.text, one.apart] for one in maker.pool] if maker.shots else [],
    "pick": [asks.pick, asks.apart],
    "seed": seed if drawn else None,
    "header": maker.header,
    "question": asks.question.text,
    "separator": asks.separator,
    "answers": answers.text if answers else None,
    "fields": {hole: common[hole] for hole in holes if hole in common},
    "options": list(benchmark.options),
    "extract": [benchmark.extract[setting], extraction.RULES[benchmark.extract[setting]].version],
    "metric": benchmark.metric,
    "max_tokens": benchmark.max_tokens[setting],
    "stop": list(stop),
    "method": [benchmark.method, benchmark.samples, benchmark.temperature, benchmark.top_k],
  }
  text = json.dumps(shapes, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()
