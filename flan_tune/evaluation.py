"""Evaluating a model by the names of benchmarks and tasks: `ft.evaluate`, `flan-tune evaluate`."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import console, errors, model, partition, pretrained, report, runlog, whole
from flan_tune.benchmarks import library
from flan_tune.benchmarks.exam import Exam
from flan_tune.evaluate import engine, exams, manifest, outcomes, summaries, toxicity
from flan_tune.evaluate.predictor import Predictor
from flan_tune.models import choices, registry

FOLDER = "evaluations"  # of a run, or beside where one stands
# Questions of each training task, unless a limit is given: they have thousands of unseen rows.
TASK_LIMIT = 100
_CHOICES = {"split", "setting", "shots", "seed", "seen"}
# Arguments of `evaluate` that are no options.
_BESIDE = {"shard", "progress", "strict", "toxic"}
_NAMES_SHOWN = 4  # in the name of a folder


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What came out.

  Attributes:
    document: The content of `results.json`: rows, aggregate, notes, missing, ...
    records: A record for each question, by the key of its exam, such as `bbh_snarks_cot`.
    remaining: Questions that other shards have not answered yet.
    folder: Where all of it was written; None for nowhere.
  """

  document: Mapping[str, Any]
  records: Mapping[str, Sequence[Mapping[str, Any]]]
  remaining: int = 0
  folder: pathlib.Path | None = None

  @property
  def rows(self) -> list[dict[str, Any]]:
    """A row for each exam: score, its readings, interval, counts."""
    return list(self.document["rows"])

  @property
  def normalized_average(self) -> float | None:
    """The paper's average of six, where all of them were asked."""
    means = self.document["aggregate"]
    return means["normalized_average"] if means else None


def evaluate(
  ready: Predictor,
  names: Sequence[str] | str,
  *,
  output: str | pathlib.Path | None = None,
  strict: bool = False,
  toxic: toxicity.Judgements | None = None,
  checkpoint: Mapping[str, Any] | None = None,
  progress: bool = False,
  shard: tuple[int, int] = (0, 1),
  **options: Any,
) -> Evaluation:
  """Scores a model on benchmarks (`flan_eval`, `mmlu_direct`, `bbh_snarks_cot`) and tasks.

  Args:
    ready: From `ft.load`; or anything with the methods of `evaluate.predictor.Predictor`.
    names: See `flan-tune evaluate --list` and `flan-tune tasks list`.
    output: A folder for answers, results and report; an evaluation that is in it already goes on.
    strict: A benchmark without data is an error; else it is named in the results.
    toxic: Judgements of texts, for benchmarks of toxicity.
    checkpoint: What tells the model from others, for `output`; by default a sample of its numbers.
    progress: Show a bar.
    shard: (k, n): this process asks part k, from 0, of n.
    **options: Of `engine.Options` (limit, method, samples, temperature, top_k, early_stop,
      max_tokens, max_input_tokens, batch_size, seed) and of `exams.Choice` (split, setting, shots,
      seen).

  Raises:
    UserError: A name or option is unknown, nothing of what is named has data, or the folder holds
      another evaluation.
  """
  names = [names] if isinstance(names, str) else list(names)
  choice, asking = _sorted(options, ready, shard)
  opened = exams.open_exams(names, choice)
  exams.require(opened, ", ".join(names), strict=strict)
  if checkpoint is None:
    checkpoint = identity(ready) if isinstance(ready, model.Model) else {}
  told: dict[str, Any] = {
    "checkpoint": checkpoint,
    "missing": [one._asdict() for one in opened.missing],
    "known": {"toxicity": toxic} if toxic else {},
    "environment": runlog.environment(devices=[one.device_kind for one in jax.devices()]),
  }
  folder = None if output is None else pathlib.Path(output)
  with _writing(folder):
    with _bar(shown=progress) as tell:
      found = engine.answer(opened.exams, ready, asking, folder=folder, progress=tell, **told)
    if folder is not None and not found.remaining:
      document = json.loads((folder / manifest.RESULTS).read_text(encoding="utf-8"))
      _report(folder)
      _write_waiting(opened.exams, found, told["known"], folder)
    else:
      document = outcomes.document(opened.exams, found, asking.lasting(), **told)
  return Evaluation(document, found.records, found.remaining, folder)


def of_checkpoint(
  path: str,
  names: Sequence[str],
  *,
  step: int | str | None = None,
  output: str | pathlib.Path | None = None,
  vocabulary: str | None = None,
  dtype: str | None = None,
  mesh: str | None = None,
  **options: Any,
) -> Evaluation:
  """As `evaluate`, of a checkpoint; by default into a folder of the run that it belongs to.

  Args:
    path: As `ft.load` takes it, and so `step`, `vocabulary` and `dtype`.
    mesh: Of devices, as in "data=4,model=2"; by default all of them for data.
  """
  # Before a large model is read.
  exams.check(names, options.get("setting"))
  _asking({name: value for name, value in options.items() if name not in _BESIDE})
  if dtype is not None:
    choices.check_dtype(dtype, "dtype")
  # Opened once: a run that goes on may write a newer one meanwhile, and opening reads it all.
  store = whole.open_store(path, step=step)
  ready = pretrained.of_store(store, vocabulary=vocabulary, dtype=dtype)
  told = {"name": _named(path), "step": store.step} | identity(ready)
  if output is None:
    output = folder_of(path, names, told, options)
  ready = ready.on(partition.make_mesh(mesh or "data=-1"))
  return evaluate(ready, names, output=output, checkpoint=told, **options)


def folder_of(
  path: str, names: Sequence[str], checkpoint: Mapping[str, Any], options: Mapping[str, Any]
) -> pathlib.Path:
  """Where an evaluation goes unless told otherwise: the same command finds its folder again."""
  free = {"batch_size", *_BESIDE}
  lasting = {name: value for name, value in options.items() if name not in free}
  text = json.dumps([list(names), lasting, checkpoint], sort_keys=True, default=str)
  folder = pathlib.Path(path)
  parents = [one for one in (folder, *folder.parents) if (one / runlog.METRICS).is_file()]
  home = parents[0] / FOLDER if parents else pathlib.Path(FOLDER) / _named(path)
  shown = "+".join(names) if len(names) < _NAMES_SHOWN else f"{names[0]}+{len(names) - 1}"
  return home / f"{shown}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def identity(ready: model.Model) -> dict[str, Any]:
  """What tells a model from others: its kind, its size, and a hash of some of its numbers."""
  leaves = jax.tree_util.tree_leaves_with_path(ready.params)
  digest = hashlib.sha256(ready.vocabulary.fingerprint.encode())
  for keys, leaf in leaves:
    digest.update(f"{partition.path_of(keys)} {leaf.shape} {leaf.dtype}".encode())
    # The first and the last row: every one of billions would take longer than some evaluations.
    for end in (0, -1):
      digest.update(np.asarray(leaf[(end,) * (leaf.ndim - 1)]).tobytes())
  return {
    "model": registry.summary(ready.network.config),
    "parameters": sum(leaf.size for _, leaf in leaves),
    "fingerprint": digest.hexdigest(),
  }


class Listed(NamedTuple):
  """A suite in one setting, and how many of its tasks have their data.

  Attributes:
    lacking: What is not there, and how to get it; empty where nothing lacks.
  """

  name: str
  tasks: int
  ready: int
  lacking: str


def listing() -> list[Listed]:
  """Every suite in every setting.  Opens data to see whether they are there."""
  known = library.load()
  listed = []
  for suite in known.suites.values():
    for setting in suite.settings:
      name = f"{suite.name}_{setting}"
      opened = exams.open_exams([name])
      lacking = f"{opened.missing[0].path}; {opened.missing[0].how}" if opened.missing else ""
      total = len(opened.exams) + len(opened.missing)
      listed.append(Listed(name, total, len(opened.exams), lacking))
  return listed


def _sorted(
  options: Mapping[str, Any], ready: Predictor, shard: tuple[int, int]
) -> tuple[exams.Choice, engine.Options]:
  """Options by who takes them."""
  asking = _asking(options, shard)
  most = TASK_LIMIT if options.get("limit") is None else None
  budget = options.get("max_input_tokens")
  choice = exams.Choice(
    **{name: options[name] for name in _CHOICES & set(options)},
    most=most,
    count_tokens=None if budget is None else ready.count_tokens,
    budget=budget,
  )
  return choice, asking


def _asking(options: Mapping[str, Any], shard: tuple[int, int] = (0, 1)) -> engine.Options:
  known = {field.name for field in dataclasses.fields(engine.Options)} - {"shard"}
  for name in options:
    errors.one_of(name, _CHOICES | known, "option")
  return engine.Options(**{name: options[name] for name in known & set(options)}, shard=shard)


@contextlib.contextmanager
def _writing(folder: pathlib.Path | None) -> Iterator[None]:
  """Tells in a sentence what keeps the folder from being written."""
  if folder is not None:
    if (folder / runlog.METRICS).is_file():
      raise errors.UserError(f"{folder}: holds a training run; name another folder for its scores")
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      told = f"{folder}: cannot be made into a folder for results: {error.strerror}"
      raise errors.UserError(told) from None
  try:
    yield
  except BrokenPipeError:  # of the terminal's, not of the folder
    raise
  except OSError as error:
    what = error.filename or folder
    raise errors.UserError(
      f"{what}: {error.strerror or error}; what was answered is kept, the same command goes on"
    ) from None


@contextlib.contextmanager
def _bar(*, shown: bool) -> Iterator[engine.Progress | None]:
  if not shown:
    yield None
    return
  with console.Progress(0, unit="question") as bar:
    yield lambda done, total, what: bar.update(done, total=total)


def _report(folder: pathlib.Path) -> None:
  if report.available():
    report.write(folder)


def _write_waiting(
  asked: Sequence[Exam],
  found: engine.Results,
  known: Mapping[str, Any],
  folder: pathlib.Path,
) -> None:
  """Continuations whose toxicity nobody has told go to a file of their own."""
  metric_of = {exam.key: exam.metric for exam in asked}
  toxicity.write_waiting(folder, summaries.waiting(metric_of, found.records, known))


def _named(path: str) -> str:
  return pathlib.Path(path).resolve().name
