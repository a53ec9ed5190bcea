"""The loss of an interval by group of tasks and by kind of prompt."""

import collections
from collections.abc import Sequence

import numpy as np


def of_loss(
  loss_by_group: tuple[np.ndarray, np.ndarray], groups: Sequence[tuple[str, str]]
) -> dict[str, float]:
  """Means over target tokens, for the log.

  Args:
    loss_by_group: (sums, counts), vectors with an entry for each of `groups`: summed cross entropy
      in nats, and weights of the tokens.
    groups: (group of the task, kind of prompt), as `feed.Feed.groups` has them.

  Returns:
    "loss/GROUP" and "loss/kind/KIND" in nats per token, with "tokens/GROUP" and "tokens/kind/KIND",
    the weight they are means over; nothing for groups without a token.

  Raises:
    ValueError: The vectors are not as long as `groups`.
  """
  sums: dict[str, float] = collections.defaultdict(float)
  counts: dict[str, float] = collections.defaultdict(float)
  for (group, kind), total, count in zip(groups, *loss_by_group, strict=True):
    for name in (group, f"kind/{kind}"):
      sums[name] += float(total)
      counts[name] += float(count)
  known = [name for name, count in counts.items() if count]
  return {f"loss/{name}": sums[name] / counts[name] for name in known} | {
    f"tokens/{name}": counts[name] for name in known
  }
