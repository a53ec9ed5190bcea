"""Series over training steps: cleaned, smoothed, and thinned to what a screen can show."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flan_tune.report.scoreboard import number


class Series(NamedTuple):
  """Steps, ascending, and one finite value for each."""

  steps: list[float]
  values: list[float]


def of(records: Iterable[Mapping[str, Any]], key: str) -> Series:
  """The finite values of `key`; records without one are left out."""
  pairs = [(record["step"], number(record.get(key))) for record in records]
  kept = [(step, value) for step, value in pairs if value is not None]
  return Series([step for step, _ in kept], [value for _, value in kept])


def mean_by_step(
  records: Iterable[Mapping[str, Any]], key: str, keep: Callable[[Mapping[str, Any]], bool]
) -> Series:
  """The mean over tasks at each evaluated step: every task counts the same."""
  found: dict[float, list[float]] = {}
  for record in records:
    value = number(record.get(key))
    if value is not None and keep(record):
      found.setdefault(record["step"], []).append(value)
  steps = sorted(found)
  return Series(steps, [sum(found[step]) / len(found[step]) for step in steps])


def smoothed(series: Series, window: int) -> Series:
  """The mean of up to `window` values around each.

  Centred, because a trailing average lags: a falling loss would seem higher than it was.
  """
  sums = [0.0, *itertools.accumulate(series.values)]
  length, half = len(series.values), window // 2
  means = []
  for middle in range(length):
    # As far to the left as to the right, or the ends of a slope would bend inwards.
    reach = min(half, middle, length - 1 - middle)
    means.append((sums[middle + reach + 1] - sums[middle - reach]) / (2 * reach + 1))
  return Series(series.steps, means)


def thinned(series: Series, limit: int) -> Series:
  """About `limit` points at most, peaks kept: of every stretch its lowest and its highest.

  Picking every n-th point would hide exactly the spikes one looks for in a loss curve.
  """
  length = len(series.steps)
  if length <= limit:
    return series
  stretches = max(1, limit // 2)
  kept: list[int] = []
  for stretch in range(stretches):
    members = range(stretch * length // stretches, (stretch + 1) * length // stretches)
    ends = {
      min(members, key=series.values.__getitem__),
      max(members, key=series.values.__getitem__),
    }
    kept.extend(sorted(ends))
  kept = sorted({0, *kept, length - 1})
  return Series([series.steps[i] for i in kept], [series.values[i] for i in kept])
