"""Operations are counted from sizes: the counts agree with XLA's and with hand counts."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from flan_tune import batch, chips, flops, lm_batch
from flan_tune.models import registry
from flan_tune.models.palm import PaLMConfig
from flan_tune.models.t5 import T5Config

# Matrices wide enough that norms, activations and softmax, which we leave out, are a small share.
SIZES: dict[str, Any] = {
  "vocab_size": 2048,
  "emb_dim": 256,
  "num_heads": 4,
  "head_dim": 64,
  "mlp_dim": 1024,
}
CONFIGS = {
  "t5_1_1": T5Config(**SIZES, num_encoder_layers=2, num_decoder_layers=3),
  "t5_1_0": T5Config(
    **SIZES,
    num_encoder_layers=1,
    num_decoder_layers=2,
    mlp_activations=("relu",),
    logits_via_embedding=True,
  ),
  "palm": PaLMConfig(**SIZES, num_layers=3),
}
LENGTHS = {"inputs": 96, "targets": 32}
PAIRS = [([5] * 3, [6] * 2), ([5] * 7, [6] * 4), ([5] * 2, [6] * 3)]


def arrays_of(features, rows):
  if features == "encoder_decoder":
    return batch.packed_batch(rows, LENGTHS)
  return lm_batch.packed_batch(rows, LENGTHS)


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_agree_with_those_of_xla_within_4_percent(name):
  """XLA counts norms, activations and softmax, too: so it is above us, and not by much."""
  network = registry.build(CONFIGS[name])
  arrays = arrays_of(network.features, [PAIRS] * 4)
  work = flops.slots(network.features, 4, LENGTHS)
  loss = functools.partial(network.loss, z_loss=0.0)
  forward = jax.jit(lambda params: loss(params, arrays)[0])
  both = jax.jit(jax.grad(lambda params: loss(params, arrays)[0]))
  for function, ours in (
    (forward, sum(flops.forward(network.config, work).values())),
    (both, flops.training(network.config, work)),
  ):
    told = function.lower(network.shapes).cost_analysis()
    assert told is not None
    assert 1.0 <= told["flops"] / ours < 1.04


def test_a_step_of_t5_small_is_what_the_baselines_counted_by_hand():
  work = flops.slots("encoder_decoder", 8, {"inputs": 512, "targets": 128})
  assert flops.training(T5Config(), work) == pytest.approx(879e9, rel=1e-3)


@pytest.mark.parametrize("name", ["t5_1_1", "palm"])
def test_what_does_not_learn_costs_two_thirds_of_its_matrices(name):
  """Attention between activations still has both of its gradients."""
  config, work = CONFIGS[name], flops.Work(1.0, 1.0, 1.0, 1.0, 1.0)
  parts = flops.forward(config, work)
  saved = flops.training(config, work) - flops.training(config, work, trained_share=0.0)
  assert saved == sum(parts.values()) - parts["attention_products"]


def test_real_work_has_tokens_that_are_not_padding_and_pairs_of_one_example():
  arrays = batch.packed_batch([PAIRS, PAIRS[:1]], LENGTHS)
  tokens = [(3, 2), (7, 4), (2, 3), (3, 2)]
  assert flops.of_batch(arrays) == flops.Work(
    inputs=15,
    targets=11,
    encoder_pairs=sum(s * s for s, _ in tokens),
    decoder_pairs=sum(t * t for _, t in tokens),
    cross_pairs=sum(s * t for s, t in tokens),
  )


@pytest.mark.parametrize("features", ["encoder_decoder", "decoder_only"])
def test_real_work_of_packed_rows_is_that_of_the_examples_alone(features):
  lib = batch if features == "encoder_decoder" else lm_batch
  packed = flops.of_batch(lib.packed_batch([PAIRS, []], LENGTHS))
  alone = [flops.of_batch(lib.unpacked_batch([pair], LENGTHS)) for pair in PAIRS]
  assert packed == alone[0] + alone[1] + alone[2]
  assert packed.tokens == sum(len(s) + len(t) for s, t in PAIRS)


def test_full_rows_of_one_example_are_all_slots():
  pair = (np.ones(96, np.int32), np.ones(32, np.int32))
  for features, lib in (("encoder_decoder", batch), ("decoder_only", lm_batch)):
    assert flops.of_batch(lib.unpacked_batch([pair] * 2, LENGTHS)) == flops.slots(
      features, 2, LENGTHS
    )


@pytest.mark.parametrize(
  ("kind", "name"),
  [
    ("TPU v4", "tpu_v4"),
    ("TPU v5 lite", "tpu_v5e"),
    ("TPU v5", "tpu_v5p"),
    ("NVIDIA H100 80GB HBM3", "h100"),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ("TPU v4 lite", None),
    ("NVIDIA L40S", None),
    ("cpu", None),
  ],
)
def test_chips_are_known_by_what_jax_calls_them(kind, name):
  chip = chips.of_device(kind)
  assert (chip and chip.name) == name
