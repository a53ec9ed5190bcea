"""Floating point operations of a network, counted from its sizes.

A multiplication and its addition are two operations.  Counted are matrix products, those of
attention among them, as PaLM's utilisation counts them (Chowdhery et al. 2022, appendix B): nothing
for norms, softmax and looking embeddings up, nothing for what is computed again for the gradient,
and all pairs of a causal attention, though half of them are masked.

`config` is a `T5Config` or a `PaLMConfig` everywhere: it is read by its fields.  Adapters (LoRA)
are not counted: at rank r, an adapted matrix of a by b costs the share r (a + b) / (a b) more.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Work(NamedTuple):
  """What a network is given to compute.  Works add up.

  Attributes:
    inputs: Tokens on the encoder's side; none in a decoder-only network.
    targets: Tokens on the decoder's side.
    encoder_pairs: Pairs of query and key in an encoder layer's attention.
    decoder_pairs: The same in a decoder layer's attention to itself.
    cross_pairs: The same in its attention to the encoder's output.
  """

  inputs: float = 0.0
  targets: float = 0.0
  encoder_pairs: float = 0.0
  decoder_pairs: float = 0.0
  cross_pairs: float = 0.0

  def __add__(self, other: "Work") -> "Work":  # type: ignore[override]  # not a tuple's sum
    return Work(*(a + b for a, b in zip(self, other, strict=True)))

  @property
  def tokens(self) -> float:
    """Tokens of both sides."""
    return self.inputs + self.targets


def slots(features: str, rows: int, lengths: Mapping[str, int]) -> Work:
  """All that a step computes, padding included.

  Args:
    features: Of the network: "encoder_decoder" or "decoder_only".
    rows: Of the batch.
    lengths: Slots of a row under `inputs` and `targets`; a decoder-only row holds their sum.
  """
  s, t = lengths["inputs"], lengths["targets"]
  if features == "decoder_only":
    return Work(targets=rows * (s + t), decoder_pairs=rows * (s + t) ** 2)
  return Work(rows * s, rows * t, rows * s * s, rows * t * t, rows * s * t)


def of_batch(arrays: Mapping[str, np.ndarray]) -> Work:
  """The part of a batch that is not padding: tokens, and pairs of tokens of one example.

  Args:
    arrays: [batch, length] of `flan_tune.batch` or `flan_tune.lm_batch`, packed or not.
  """
  targets = _counts(arrays, "decoder_target_tokens", "decoder_segment_ids")
  decoder = Work(targets=float(targets.sum()), decoder_pairs=float(np.square(targets).sum()))
  if "encoder_input_tokens" not in arrays:
    return decoder
  inputs = _counts(arrays, "encoder_input_tokens", "encoder_segment_ids")
  both = min(inputs.shape[1], targets.shape[1])  # an example without targets is on one side alone
  return decoder + Work(
    inputs=float(inputs.sum()),
    encoder_pairs=float(np.square(inputs).sum()),
    cross_pairs=float((inputs[:, :both] * targets[:, :both]).sum()),
  )


def _counts(arrays: Mapping[str, np.ndarray], tokens: str, segments: str) -> np.ndarray:
  """Tokens of each segment 1, 2, ... of each row, [batch, segments]."""
  real = arrays[tokens] > 0
  ids = np.where(real, arrays.get(segments, 1), 0)
  rows, num = len(ids), int(ids.max(initial=0)) + 1
  places = ids + num * np.arange(rows)[:, None]
  return np.bincount(places.ravel(), minlength=rows * num).reshape(rows, num)[:, 1:]


def forward(config: Any, work: Work) -> dict[str, float]:
  """Operations of one pass without gradients, by part."""
  width = config.num_heads * config.head_dim
  # A query's products with the keys, and the probabilities' with the values.
  pair = 2 * 2 * width
  if not hasattr(config, "num_encoder_layers"):
    layers, tokens = config.num_layers, work.targets
    # Query and out have all heads, key and value have one.
    projections = 2 * config.emb_dim * (2 * width + 2 * config.head_dim)
    return {
      "attention_products": layers * pair * work.decoder_pairs,
      "attention_projections": layers * projections * tokens,
      "mlp": layers * _mlp(config, matrices=3) * tokens,
      "logits": 2.0 * config.emb_dim * config.vocab_size * tokens,
    }
  encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
  matrix = 2 * config.emb_dim * width
  mlp = _mlp(config, matrices=len(config.mlp_activations) + 1)
  pairs = encoder * work.encoder_pairs + decoder * (work.decoder_pairs + work.cross_pairs)
  # The decoder's layers each project the encoder's output to keys and values of their own.
  matrices = (4 * encoder + 2 * decoder) * work.inputs + 6 * decoder * work.targets
  return {
    "attention_products": pair * pairs,
    "attention_projections": matrix * matrices,
    "mlp": mlp * (encoder * work.inputs + decoder * work.targets),
    "logits": 2.0 * config.emb_dim * config.vocab_size * work.targets,
  }


def _mlp(config: Any, *, matrices: int) -> int:
  return 2 * config.emb_dim * config.mlp_dim * matrices


def training(config: Any, work: Work, *, trained_share: float = 1.0) -> float:
  """Operations of a forward and a backward pass: three times the first, where all learns.

  Args:
    config: Sizes.
    work: Of the step.
    trained_share: Share of the parameters that learn.  Those that do not need no gradient of their
      own, a third of their operations; with few that learn it is an estimate, as gradients also
      stop where nothing before them learns.
  """
  parts = forward(config, work)
  products = parts.pop("attention_products")
  return 3.0 * products + (2.0 + trained_share) * sum(parts.values())


def rule_of_thumb(parameters: float, tokens: float, *, encoder_decoder: bool) -> float:
  """Operations of training by the rule: 6 a parameter and token.

  A token of an encoder-decoder meets about half of the parameters, so 3.  It reproduces the
  finetuning column of Chung et al. 2022, table 2, with all slots of a batch as tokens.
  """
  return (3.0 if encoder_decoder else 6.0) * parameters * tokens
