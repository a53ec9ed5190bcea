"""The paper's numbers beside ours: which models to show, and which of their rows to compare."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import errors
from flan_tune.evaluate import wording
from flan_tune.report.scoreboard import MISSING, number

# Parameters of the published models (T5 1.1: Raffel et al. 2020, counted; PaLM: Chowdhery et al.
# 2022, rounded as its name is).
PARAMETERS = {
  "Small": 77e6,
  "Base": 248e6,
  "Large": 783e6,
  "XL": 2.85e9,
  "XXL": 11.1e9,
  "8B": 8.6e9,
  "62B": 62.5e9,
  "540B": 540e9,
}
AVERAGE = "normalized_average"
_SHARES = {"RealToxicityPrompts"}  # printed as shares, 0 to 1
_MOST = 8  # columns of published models; more cannot be read side by side
_MODEL = re.compile(r"(Flan-)?(T5|PaLM|cont-PaLM|U-PaLM)-(\w+)")


class Published(NamedTuple):
  """One printed score, 0 to 100 as ours (the normalised average may be below)."""

  model: str
  benchmark: str
  setting: str
  score: float


def table() -> list[Published]:
  """Everything printed; empty where the package's table is not there."""
  try:
    from flan_tune.evaluate import published

    entries = published.rows()
  except (ImportError, errors.UserError, OSError):
    return []
  return [row for entry in entries if (row := _published(entry))]


def models(rows: Iterable[Published]) -> list[str]:
  """The published models whose six scores are known, smallest first."""
  found = {row.model for row in rows if _MODEL.fullmatch(row.model)}
  return sorted(found, key=lambda name: (size(name) or 0.0, "Flan" in name, name))


def size(model: str) -> float | None:
  """Parameters of a published model by its name."""
  found = _MODEL.fullmatch(model)
  return PARAMETERS.get(found[3]) if found else None


def chosen(rows: Iterable[Published], asked: str) -> list[str]:
  """The models that `--sizes` names.

  Args:
    asked: Names of models (`Flan-T5-XL`) or sizes (`XL`, `8B`), separated by commas; `none`.

  Raises:
    UserError: One of them is neither.
  """
  known, picked = models(rows), []
  if asked.strip().lower() == "none":
    return []
  for word in filter(None, (part.strip() for part in asked.split(","))):
    fits = [m for m in known if word.lower() in (m.lower(), m.rpartition("-")[2].lower())]
    if not fits:
      sizes = [name for name in PARAMETERS if any(m.endswith(f"-{name}") for m in known)]
      raise errors.unknown(word, [*sizes, *known, "none"], where="--sizes")
    picked += fits
  picked = list(dict.fromkeys(picked))
  if len(picked) > _MOST:
    raise errors.UserError(
      f"--sizes={asked}: names {len(picked)} models; name {_MOST} or fewer, such as Flan-T5-XL"
    )
  return picked


def nearest(rows: Iterable[Published], parameters: Sequence[float]) -> list[str]:
  """The published pair, untuned and tuned, nearest in size to the largest of ours.

  Without a known size, the smallest pair.
  """
  known = [name for name in models(rows) if "cont" not in name and "U-PaLM" not in name]
  if not known:
    return []
  ours = max(parameters, default=0.0) or 1.0
  # At one size only T5 or only PaLM: 8 and 11 billion are near, and the pair belongs together.
  best = min(known, key=lambda name: abs(math.log((size(name) or 1.0) / ours)))
  family = best.removeprefix("Flan-")
  return [name for name in known if name.removeprefix("Flan-") == family]


class Lookup:
  """Finds the printed score of the same thing, however the two tables word it."""

  def __init__(self, rows: Iterable[Published]):
    self._found: dict[tuple[str, str, str], list[tuple[wording.Setting, float]]] = {}
    for row in rows:
      suite, task, setting = wording.read(row.benchmark, row.setting)
      # Of the four suites a remark tells an ablation, of others what is measured.
      if suite not in wording.SUITES or not setting.remark:
        self._found.setdefault((row.model, suite, task), []).append((setting, row.score))

  def score(self, model: str, benchmark: str, setting: str) -> float | None:
    """The printed score, or None.

    Args:
      benchmark: A suite, a group or a task: `BBH`, `BBH-nlp`, `BBH/snarks`; AVERAGE.
      setting: In the words of results, as `5-shot CoT, validation`.
    """
    suite, task, ours = wording.read(benchmark, setting)
    return next(
      (
        score
        for printed, score in self._found.get((model, suite, task), [])
        if suite == AVERAGE or _same(printed, ours)
      ),
      None,
    )

  def shown(self, model: str, benchmark: str, setting: str) -> str:
    """The printed score as text; where only another split was printed, that with its name."""
    found = self.score(model, benchmark, setting)
    if found is not None:
      return f"{found:.1f}"
    suite, task, ours = wording.read(benchmark, setting)
    others = self._found.get((model, suite, task), [])
    for printed, score in others:
      if printed.split and ours.split and _same(printed, ours._replace(split=printed.split)):
        return f"{score:.1f} ({printed.split})"
    return MISSING


def _same(printed: wording.Setting, ours: wording.Setting) -> bool:
  """Equal, but that a printed table may leave exemplars out, which its text then tells."""
  return ours == printed._replace(shots=ours.shots if printed.shots is None else printed.shots)


def parts(model: str) -> dict[str, float | None]:
  """The six normalised scores of a published model, recomputed from what is printed of it."""
  try:
    from flan_tune.evaluate import aggregate, published

    return dict(aggregate.aggregate(published.rows(model)).parts)
  except (ImportError, errors.UserError, OSError):
    return {}


def task_scaling(rows: Iterable[Published], name: str) -> list[tuple[int, float]]:
  """Table 3: finetuning tasks against the normalised average, of the base of one model."""
  base = name.removeprefix("Flan-")
  found = {}
  for row in rows:
    tasks = re.search(r"\((\d+) tasks", row.setting)
    if tasks and row.benchmark == AVERAGE and row.model.startswith(f"{base} finetuned on"):
      found[int(tasks[1])] = row.score
  return sorted(found.items())


def _published(entry: Mapping[str, Any]) -> Published | None:
  try:
    score = number(float(entry["score"]))
  except (KeyError, TypeError, ValueError):
    return None
  if score is None:
    return None
  model, benchmark, setting = (str(entry.get(k) or "") for k in ("model", "benchmark", "setting"))
  scale = 100.0 if benchmark in _SHARES else 1.0
  return Published(model, benchmark, setting, scale * score)
