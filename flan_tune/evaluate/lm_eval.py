# pyright: reportMissingImports=false, reportMissingModuleSource=false
"""Any task of lm-evaluation-harness on our models.

lm = FlanTuneLM(ft.load("runs/quickstart"))
results = lm_eval.simple_evaluate(lm, tasks=["arc_easy"])

Requests are understood as HFLM understands them for encoder-decoder models, so that the same
weights get the same scores here and there (lm-evaluation-harness: lm_eval/models/huggingface.py).
Decoder-only models read the same two parts, a prompt with its end of sequence and what follows it,
because that is how they were trained.  One difference is meant: `max_gen_toks` is the most tokens
of an answer, to which HFLM adds the length of the longest prompt of the batch.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import lm_eval.utils
from lm_eval.api.model import TemplateLM
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS, DEFAULT_MAX_LENGTH
from lm_eval.models.utils import (
  handle_stop_sequences,
  normalize_gen_kwargs,
  postprocess_generated_text,
)
from tqdm import tqdm

from flan_tune import errors, vocab
from flan_tune.evaluate import predictor

# Batches between two entries into the harness's cache, which keeps them if the run is killed.
_BATCHES = 16
# What a task's `generation_kwargs` may ask for; of the last only what changes nothing.
_GENERATION = ("until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "num_beams")

Text = str | Sequence[int]  # or token ids, taken as they are
Scored = tuple[float, bool]  # log-probability; whether greedy decoding gives the same


class TokenPredictor(Protocol):
  """A `predictor.Predictor` that also takes token ids; `flan_tune.model.Model` is one."""

  @property
  def vocabulary(self) -> vocab.Vocabulary:
    """What its texts are made of."""
    ...

  def can_write(self, text: str) -> bool:
    """See `predictor.Predictor`."""
    ...

  @property
  def decode(self) -> Callable[..., Sequence[Sequence[predictor.Answer]]]:
    """See `predictor.Predictor`; takes `max_input_tokens`, `long` and `top_p`, too."""
    ...

  def judge(
    self, pairs: Sequence[tuple[Text, Text]], *, batch_size: int = 32
  ) -> Sequence[predictor.Judged]:
    """See `predictor.Predictor`."""
    ...


class FlanTuneLM(TemplateLM):
  """A model as lm-evaluation-harness sees one.

  Attributes:
    predictor: Answers and judges.
    max_length: Most tokens of a prompt, end of sequence included; longer ones lose their front.
  """

  backend = "seq2seq"  # what makes TemplateLM encode a prompt and its continuation apart

  def __init__(
    self,
    predictor: TokenPredictor,
    *,
    batch_size: int | str = 32,
    max_length: int = DEFAULT_MAX_LENGTH,
    seed: int = 0,
    device: str | None = None,
    max_batch_size: int | None = None,
  ):
    """Wraps a model.

    Args:
      predictor: Such as `flan_tune.model.Model`.
      batch_size: Requests computed together; changes no score.
      max_length: HFLM's default for folders that state no length, as ours; google/flan-t5-* state
        512, so 512 gives HFLM's scores for them.
      seed: Request i of a task draws with fold_in(key(seed), i), where answers are drawn.
      device: Without effect, as the harness always names one: set JAX_PLATFORMS.
      max_batch_size: Without effect: it is for automatic batch sizes.

    Raises:
      UserError: An argument has a value that cannot be used.
    """
    super().__init__()
    self.predictor = predictor
    self._batch_size = _positive(batch_size, "batch_size")
    self.max_length = _positive(max_length, "max_length")
    self._seed = seed

  @property
  def batch_size(self) -> int:
    """Requests computed together."""
    return self._batch_size

  @property
  def eot_token_id(self) -> int:
    """The end of sequence, which is also the prompt where there is none."""
    return self.predictor.vocabulary.eos_id

  def tok_encode(
    self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
  ) -> list[int]:
    """Ids of a text, with the end of sequence unless `add_special_tokens` is False."""
    ids = self.predictor.vocabulary.encode(string)
    return ids if add_special_tokens is False else [*ids, self.eot_token_id]

  def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Scored]:
    """(log-probability, greedy) of each continuation, which has no end of sequence.

    Raises:
      UserError: A continuation has no token, so that nothing could be less likely than it.
    """
    for one in requests:
      context, continuation = one.args
      if not self.predictor.vocabulary.encode(continuation):
        raise errors.UserError(
          f"task {one.task_name}: continuation {continuation!r} of context {context[-80:]!r} has no"
          f" token in vocabulary {self.predictor.vocabulary.name}, so it cannot be judged; use a"
          " task whose choices are texts"
        )
    return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

  def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
    """Log-probability of each text, end of sequence included.

    A text of more than `max_length` tokens is cut into windows.  The first follows an empty prompt,
    the others the token before them; the last window's prompt is as long as there is room.
    """
    windows, owners = [], []
    for number, one in enumerate(requests):
      found = lm_eval.utils.get_rolling_token_windows(
        self.tok_encode(one.args[0]),
        prefix_token=self.prefix_token_id,
        max_seq_len=self.max_length,
        context_len=1,
      )
      new = [(None, *lm_eval.utils.make_disjoint_window(window)) for window in found]
      windows += new
      owners += [number] * len(new)
    totals = [0.0] * len(requests)
    scored = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
    for number, (log_prob, _) in zip(owners, scored, strict=True):
      totals[number] += log_prob
    for one, total in zip(requests, totals, strict=True):
      self.cache_hook.add_partial("loglikelihood_rolling", one.args, total)
    return totals

  def _loglikelihood_tokens(
    self, requests: list[Any], disable_tqdm: bool = False, **kwargs: Any
  ) -> list[Scored]:
    results: list[Scored] = [(0.0, False)] * len(requests)
    order = sorted(range(len(requests)), key=lambda i: len(requests[i][1]) + len(requests[i][2]))
    for part in self._parts(order, "loglikelihood", quiet=disable_tqdm):
      pairs = [(requests[i][1][-self.max_length :], requests[i][2]) for i in part]
      judged = self.predictor.judge(pairs, batch_size=self.batch_size)
      for number, one in zip(part, judged, strict=True):
        results[number] = (float(sum(one.log_probs)), bool(one.greedy))
        if requests[number][0] is not None:
          self.cache_hook.add_partial("loglikelihood", requests[number][0], results[number])
    return results

  def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
    """An answer to each prompt, up to the first of its stop strings.

    Stop strings that the vocabulary cannot write, such as newlines of T5's, end no answer.

    Raises:
      UserError: A task asks for a way of generating that we do not have.
    """
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(requests):
      groups.setdefault(json.dumps(one.args[1], sort_keys=True), []).append(number)
    texts = [""] * len(requests)
    for numbers in groups.values():
      first = requests[numbers[0]]
      until, options = self._options(first.args[1], first.task_name)
      order = sorted(numbers, key=lambda i: len(requests[i].args[0]))
      for part in self._parts(order, "generate_until", quiet=disable_tqdm):
        prompts = [requests[number].args[0] for number in part]
        answers = self.predictor.decode(prompts, numbers=part, **options)
        for number, (answer,) in zip(part, answers, strict=True):
          text = postprocess_generated_text(self._text(answer.tokens), until, None)
          texts[number] = text
          self.cache_hook.add_partial("generate_until", requests[number].args, text)
    return texts

  def _parts(self, order: list[int], what: str, *, quiet: bool) -> Iterator[list[int]]:
    size = self.batch_size * _BATCHES
    with tqdm(total=len(order), disable=quiet, desc=f"Running {what} requests") as bar:
      for start in range(0, len(order), size):
        yield order[start : start + size]
        bar.update(len(order[start : start + size]))

  def _text(self, tokens: Sequence[int]) -> str:
    """Without sentinels and unknown pieces, which transformers leaves out as special tokens."""
    vocabulary = self.predictor.vocabulary
    pieces = range(1, vocabulary.num_pieces)
    return vocabulary.decode(t for t in tokens if t in pieces and t != vocabulary.unk_id)

  def _options(self, given: dict[str, Any], task: str | None) -> tuple[list[str], dict[str, Any]]:
    """Stop strings, and what `decode` takes, of a task's `generation_kwargs`."""
    asked: dict[str, Any] = {**normalize_gen_kwargs(given, DEFAULT_MAX_GEN_TOKS)}
    where = f"task {task}: generation_kwargs"
    for name in asked:
      errors.one_of(name, _GENERATION, where)
    if asked.get("num_beams", 1) != 1:
      # Their beams are ranked in another way, so ours would pass for what they are not.
      raise errors.UserError(
        f"{where}: num_beams: {asked['num_beams']} cannot be used; only 1, as with"
        " --gen_kwargs num_beams=1"
      )
    until = handle_stop_sequences(asked["until"], eos=None)
    drawn = {name: asked[name] for name in ("top_k", "top_p") if asked.get(name) is not None}
    return until, {
      "max_tokens": asked["max_gen_toks"],
      "temperature": float(asked.get("temperature") or 0.0) if asked["do_sample"] else 0.0,
      "stop": predictor.usable([one for one in until if one], self.predictor),
      "max_input_tokens": self.max_length,
      "long": "cut",
      "seed": self._seed,
      "batch_size": self.batch_size,
      **drawn,
    }


def _positive(value: int | str, what: str) -> int:
  try:
    number = int(value)
  except ValueError:
    number = 0
  if number < 1:
    raise errors.UserError(f"{what}: {value!r} is not a whole number above 0")
  return number
