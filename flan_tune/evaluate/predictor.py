"""What an evaluation needs of a model: `flan_tune.model.Model` has it, and so may others."""

from collections.abc import Sequence
from typing import Any, Protocol


class Answer(Protocol):
  """One generation; see `flan_tune.model.Generation`."""

  @property
  def text(self) -> str:
    """Without the stop string and what follows it."""
    ...

  @property
  def tokens(self) -> Sequence[int]:
    """Their ids, end of sequence included."""
    ...

  @property
  def log_prob(self) -> float:
    """Of all tokens, in nats."""
    ...

  @property
  def ended(self) -> str:
    """Why: "eos", "stop" or "length"."""
    ...


class Judged(Protocol):
  """How likely a given target is; see `flan_tune.model.Judged`."""

  @property
  def log_probs(self) -> Sequence[float]:
    """Of each token of the target, in nats."""
    ...

  @property
  def greedy(self) -> bool:
    """Whether each token is the model's best one there."""
    ...


class Predictor(Protocol):
  """A model as evaluations see it."""

  def decode(
    self,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    num_samples: int = 1,
    stop: Sequence[str] = (),
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    batch_size: int = 32,
    max_input_tokens: int | None = None,
    long: str = "refuse",
  ) -> Sequence[Sequence[Answer]]:
    """Answers to each prompt; prompt i draws with fold_in(key(seed), numbers[i]).

    Evaluations give the last two only where a prompt must be cut (long="cut"), so that a model
    without a limit may leave them out.
    """
    ...

  def judge(
    self,
    pairs: Sequence[tuple[str, str]],
    *,
    eos: bool = True,
    batch_size: int = 32,
    max_input_tokens: int | None = None,
    long: str = "refuse",
  ) -> Sequence[Judged]:
    """Log-probabilities of the targets' tokens given their inputs; the last two as in `decode`."""
    ...

  def count_tokens(self, text: str) -> int:
    """Tokens of a text with its end of sequence."""
    ...

  def can_write(self, text: str) -> bool:
    """Whether an answer can hold the text; the vocabulary of T5 lacks newlines, for one."""
    ...


def usable(stop: Sequence[str], predictor: Any) -> tuple[str, ...]:
  """The stop strings that an answer of this model can hold: the others never end one."""
  return tuple(one for one in stop if predictor.can_write(one))
