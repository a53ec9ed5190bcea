"""Steps whose loss or gradient is not finite: left out by the step, counted and explained here."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flan_tune import runlog

Metrics = Mapping[str, tuple[Any, Any]]
Dump = Callable[[int, Metrics, Any], pathlib.Path | None]

# Batches written down in one process: enough to see what they have in common.
_MOST_DUMPS = 16
_SHOWN = 4  # norms that a sentence names


class NonFinite(Exception):
  """Training cannot go on: too many steps in a row had a loss or a gradient that is not finite.

  The message is a sentence without the cure, which the caller knows.

  Attributes:
    step: The last of them.
    metric: The first metric that is not finite.
    batch: The batch of that step.
    dump: The file that describes it, if one could be written.
  """

  def __init__(
    self,
    step: int,
    metric: str,
    batch: Any,
    *,
    told: str | None = None,
    dump: pathlib.Path | None = None,
  ):
    super().__init__(told or f"step {step}: {metric} is not finite")
    self.step, self.metric, self.batch, self.dump = step, metric, batch, dump


class Watch:
  """Looks at the metrics of each step and ends the run when skipped steps do not end.

  Args:
    limit: Skipped steps in a row after which the run stops.
    dump: Called with (step, metrics, batch) for the first step of a row of them and for the last;
      writes them down and returns the file, or None.  If it fails the run's end is still told.
    event: Called with (step, text) at the first step of a row and when steps are good again.
    state: From `state()`, of the process that wrote the checkpoint.

  Attributes:
    in_a_row: Skipped steps since the last good one.
    total: Skipped steps of the run.
  """

  def __init__(
    self,
    limit: int,
    dump: Dump,
    *,
    event: Callable[[int, str], None] = lambda step, text: None,
    state: Mapping[str, int] | None = None,
  ):
    self._limit, self._dump, self._event = limit, dump, event
    self._dumps = 0
    given = state or {}
    self.in_a_row, self.total = given.get("in_a_row", 0), given.get("total", 0)

  def state(self) -> dict[str, int]:
    """JSON for the checkpoint, so that a row of skipped steps is one across a restart."""
    return {"in_a_row": self.in_a_row, "total": self.total}

  def __call__(self, step: int, metrics: Metrics, batch: Any) -> bool:
    """Whether the numbers of this step may be summed up; False for a skipped one.

    Args:
      step: Its number.
      metrics: On the host: name to (sum, count), numbers or vectors.  "skipped" says whether the
        step left parameters and optimiser as they were.
      batch: What `dump` is given.

    Raises:
      NonFinite: The limit is reached; or a metric is not finite although the step was done, so
        that the parameters may be spoilt.
    """
    wrong = not_finite(metrics)
    if not float(metrics.get("skipped", (0.0, 1.0))[0]):
      if wrong:
        raise self._stop(step, metrics, batch, f"step {step:,} was done, yet {_shown(metrics)}")
      if self.in_a_row:
        self._event(step, f"finite again after {_steps(self.in_a_row)}")
      self.in_a_row = 0
      return True
    self.in_a_row += 1
    self.total += 1
    if self.in_a_row >= self._limit:
      raise self._stop(step, metrics, batch, self._told(step, metrics))
    if self.in_a_row == 1:
      told = f"{_shown(metrics)}; this step's update is left out"
      if self._dumps < _MOST_DUMPS and (path := self._written(step, metrics, batch)):
        told = f"{told}; its batch is in {path}"
      self._event(step, told)
    return False

  def _told(self, step: int, metrics: Metrics) -> str:
    first = step - self.in_a_row + 1
    which = f"step {step:,}" if first == step else f"steps {first:,} to {step:,}"
    told = f"{which}: {_shown(metrics)}, {_steps(self.in_a_row)} in a row, none of which changed"
    told += " the parameters"
    # Nothing ever went well: no data are to blame for that.
    return f"{told}; no step of this run was finite" if first <= 1 else told

  def _stop(self, step: int, metrics: Metrics, batch: Any, told: str) -> NonFinite:
    path = self._written(step, metrics, batch)
    told = f"{told}; the batch is in {path}" if path else told
    metric = next(iter(not_finite(metrics)), "gradient")
    return NonFinite(step, metric, batch, told=told, dump=path)

  def _written(self, step: int, metrics: Metrics, batch: Any) -> pathlib.Path | None:
    self._dumps += 1
    try:
      return self._dump(step, metrics, batch)
    except Exception as error:  # whatever it is, the run's own trouble is the news
      self._event(step, f"the batch could not be written down: {type(error).__name__}: {error}")
      return None


def not_finite(metrics: Metrics) -> list[str]:
  """Names of the metrics of which a sum is infinite or not a number, in their order."""
  return [name for name, (total, _) in metrics.items() if not np.all(np.isfinite(total))]


def write(
  folder: pathlib.Path,
  step: int,
  metrics: Metrics,
  *,
  rows: Sequence[Mapping[str, Any]],
  groups: Sequence[tuple[str, str]] = (),
  process: int = 0,
) -> pathlib.Path:
  """Writes down a step: its metrics, and the batch's rows with their tasks and texts.

  Args:
    folder: Made when absent.
    step: Its number.
    metrics: Of the step; what is not finite is written as "nan", "inf" or "-inf".
    rows: From `data.provenance.rows`.
    groups: What the entries of a vector of metrics stand for, as (group, kind).
    process: Of several that each write their own rows: its number.

  Returns:
    The file.
  """
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"step_{step}{f'_process_{process}' if process else ''}.json"
  names = ["/".join(one) for one in groups]
  document = {
    "step": step,
    "not_finite": not_finite(metrics),
    "metrics": {
      name: {"sum": _labelled(total, names), "count": _labelled(count, names)}
      for name, (total, count) in metrics.items()
    },
    "rows": list(rows),
  }
  runlog.write_json(path, document)
  return path


def _labelled(values: Any, names: Sequence[str]) -> Any:
  numbers = np.asarray(values, np.float64)
  if numbers.ndim == 0:
    return _number(float(numbers))
  listed = [_number(float(value)) for value in numbers.ravel()]
  return dict(zip(names, listed, strict=True)) if len(names) == len(listed) else listed


def _number(value: float) -> float | str:
  return value if math.isfinite(value) else str(value)


def _shown(metrics: Metrics) -> str:
  """As in "not finite: loss nan, grad_norm inf", of the numbers that are not."""
  scalars = [(name, np.asarray(metrics[name][0])) for name in not_finite(metrics)]
  found = [(name, f"{name} {float(value)}") for name, value in scalars if value.ndim == 0]
  # Norms by group are dozens, and say no more than that of all.
  few = [told for name, told in found if "/" not in name] or [told for _, told in found][:_SHOWN]
  rest = f" and {len(found) - len(few)} more" if len(found) > len(few) else ""
  return f"not finite: {', '.join(few) or 'the gradient'}{rest}"


def _steps(count: int) -> str:
  return "1 step" if count == 1 else f"{count:,} steps"
