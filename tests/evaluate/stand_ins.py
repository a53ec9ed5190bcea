"""A model for tests of evaluations: it answers by a rule of the prompt."""

from collections.abc import Callable
from typing import NamedTuple


class Text(NamedTuple):
  """An answer."""

  text: str
  tokens: tuple[int, ...] = (5, 1)
  log_prob: float = -1.0
  ended: str = "eos"


class Judged(NamedTuple):
  """What an option is worth."""

  log_probs: tuple[float, ...]
  greedy: bool = False


class Model:
  """Writes `rule(prompt)`, and prefers an option that is just that."""

  def __init__(self, rule: Callable[[str], str]):
    self.rule = rule
    self.asked: list[str] = []

  def decode(self, prompts, *, num_samples=1, **options):
    del options
    self.asked += prompts
    return [[Text(self.rule(prompt))] * num_samples for prompt in prompts]

  def judge(self, pairs, **options):
    del options
    self.asked += [prompt for prompt, _ in pairs]
    return [Judged((-0.1 if self.rule(prompt) == text else -9.0,)) for prompt, text in pairs]

  def count_tokens(self, text):
    return len(text.split()) + 1

  def can_write(self, text):
    return bool(text)
