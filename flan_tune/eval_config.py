"""An evaluation as gin files configure it; `configs/runs/eval.gin` has the macros."""

import dataclasses
from typing import Any

from flan_tune import errors


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """What `flan-tune evaluate` is told, as flags or by gin.  None leaves a value to the default.

  Attributes:
    checkpoint: A run, a T5X or a Hugging Face folder.
    names: Benchmarks, suites, tasks and mixtures, separated by commas.
    output: A folder; by default one of the run that the checkpoint belongs to.
    limit: Questions per task; by default all of a benchmark and 100 of a training task.
    split: Of benchmarks: validation or test.
    setting: Of training tasks.
    shots: Exemplars, other than each benchmark's own number.
    method: "generate" or "rank", other than each benchmark's own.
    samples: Answers drawn per question, of which the majority counts.
    temperature: Of draws.
    top_k: Draws are from so many of the best tokens.
    early_stop: Draw no more once the majority cannot change.
    max_tokens: Most tokens of an answer, other than each benchmark's own number.
    max_input_tokens: Longest prompt.
    batch_size: Prompts asked together; changes no score.
    seed: Of draws, templates and exemplars.
    step: Of several checkpoints, a number or "best"; the newest by default.
    vocabulary: A SentencePiece model, where the folder holds none.
    dtype: Of the parameters.
    mesh: Of devices; all for data by default.
    strict: A benchmark without data is an error.
    toxicity: A file of judgements.
  """

  checkpoint: str | None = None
  names: str | None = None
  output: str | None = None
  limit: int | None = None
  split: str | None = None
  setting: str | None = None
  shots: int | None = None
  method: str | None = None
  samples: int | None = None
  temperature: float | None = None
  top_k: int | None = None
  early_stop: bool | None = None
  max_tokens: int | None = None
  max_input_tokens: int | None = None
  batch_size: int | None = None
  seed: int | None = None
  step: int | str | None = None
  vocabulary: str | None = None
  dtype: str | None = None
  mesh: str | None = None
  strict: bool | None = None
  toxicity: str | None = None

  def with_flags(self, flags: dict[str, Any]) -> "Evaluate":
    """These values with the flags that are given in front of them.

    Raises:
      UserError: Neither says what to score, or on what.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    found = dataclasses.replace(self, **given)
    if not found.checkpoint:
      raise errors.UserError("--checkpoint: names the model to score; or --compare, or --list")
    if not found.listed():
      raise errors.UserError("--suite: names what to score on, such as flan_eval; see --list")
    if found.output == "":
      raise errors.UserError("--output: is empty; name a folder or leave it out")
    return found

  def listed(self) -> list[str]:
    """The names one by one."""
    return [name.strip() for name in (self.names or "").split(",") if name.strip()]

  def options(self) -> dict[str, Any]:
    """What `evaluation.of_checkpoint` takes besides checkpoint and names; without the defaults."""
    rest = ("checkpoint", "names", "toxicity")
    fields = {name: value for name, value in vars(self).items() if name not in rest}
    return {name: value for name, value in fields.items() if value is not None}
