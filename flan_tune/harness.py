# pyright: reportMissingImports=false
"""Our checkpoints in lm-evaluation-harness, which has no other way to learn of a model than import.

    results = evaluate("runs/quickstart", ["arc_easy"], limit=100)

With all options of the harness's own command line:

    python -m flan_tune.harness --model flan_tune --model_args checkpoint=runs/quickstart \
      --tasks arc_easy
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval import evaluator, tasks, utils
from lm_eval.api.registry import register_model

from flan_tune import errors, pretrained
from flan_tune.evaluate.lm_eval import FlanTuneLM

NAME = "flan_tune"


class CheckpointLM(FlanTuneLM):
  """What `--model flan_tune` and `simple_evaluate("flan_tune", ...)` make of their arguments."""

  def __init__(
    self,
    checkpoint: str,
    *,
    step: int | None = None,
    vocabulary: str | None = None,
    dtype: str | None = None,
    **options: Any,
  ):
    """Loads a model.

    Args:
      checkpoint: A run, a T5X checkpoint or a Hugging Face folder, as `pretrained.load` takes it.
      step: See `pretrained.load`.
      vocabulary: See `pretrained.load`.
      dtype: See `pretrained.load`.
      options: Of `FlanTuneLM`.
    """
    ready = pretrained.load(checkpoint, step=step, vocabulary=vocabulary, dtype=dtype)
    super().__init__(ready, **options)


# Not as a decorator, whose result would be any LM to a type checker.
register_model(NAME)(CheckpointLM)


def evaluate(
  checkpoint: str,
  names: Sequence[str],
  *,
  include_path: str | None = None,
  limit: float | None = None,
  num_fewshot: int | None = None,
  **options: Any,
) -> Mapping[str, Any]:
  """Results as the harness's `simple_evaluate` gives them.

  Args:
    checkpoint: See `CheckpointLM`, which takes `options`.
    names: Of tasks, groups or tags of the harness.
    include_path: A folder with YAML files of more tasks.
    limit: Questions of each task: a number, or a share of them below 1.
    num_fewshot: Exemplars; as each task says by default.

  Raises:
    UserError: A task is unknown or its data cannot be fetched, the checkpoint is not usable, or
      an option has a bad value.
  """
  manager = tasks.TaskManager(include_path=include_path)
  for name in names:
    if not manager.match_tasks([name]):
      raise errors.unknown(name, manager.all_tasks, where="tasks of lm-evaluation-harness")
  try:
    results = evaluator.simple_evaluate(
      model=CheckpointLM(checkpoint, **options),
      tasks=list(names),
      limit=limit,
      num_fewshot=num_fewshot,
      task_manager=manager,
    )
  except ConnectionError as error:
    raise errors.UserError(
      f"{', '.join(names)}: data cannot be fetched ({error}); tasks of local files need none"
    ) from None
  assert results is not None and "config" in results  # of one process
  # The harness knows only what it made itself.
  results["config"] |= {"model": NAME, "model_args": {"checkpoint": str(checkpoint), **options}}
  return results


def table(results: Mapping[str, Any]) -> str:
  """The harness's own table of scores, groups below tasks."""
  shown = [utils.make_table(results)]
  if "groups" in results:
    shown.append(utils.make_table(results, "groups"))
  return "\n".join(shown)


def plain(value: Any) -> Any:
  """What JSON cannot hold of results, such as NumPy's numbers: `default=` of `json.dumps`."""
  return utils.handle_non_serializable(value)


if __name__ == "__main__":
  from lm_eval.__main__ import cli_evaluate

  try:
    cli_evaluate()
  except errors.UserError as error:
    sys.exit(f"flan_tune: {error}")
