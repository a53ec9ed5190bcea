"""Every parameter of every family is in one group, and norms are those of the group."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from flan_tune import optim
from flan_tune.models import palm, registry, t5
from flan_tune.train import norms

SIZES: dict[str, Any] = dict(vocab_size=64, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32)
ADAPTED: dict[str, Any] = dict(lora_rank=2, lora_pattern=".*(query|value|wo|logits_dense)")
T5 = t5.T5Config(**SIZES, num_encoder_layers=1, num_decoder_layers=2)
PALM = palm.PaLMConfig(**SIZES, num_layers=2)
BOTH = {
  f"{side}/{part}" for side in ("encoder", "decoder") for part in ("attention", "mlp", "norms")
}
OF_T5 = BOTH | {
  "decoder/cross_attention",
  "decoder/position_bias",
  "embedding",
  "encoder/position_bias",
  "logits",
}
OF_PALM = {"decoder/attention", "decoder/mlp", "decoder/norms", "embedding"}


def paths(config, **changes):
  network = registry.build(dataclasses.replace(config, **changes))
  return [path for path, _ in optim.named_leaves(network.shapes)]


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(("config", "expected"), [(T5, OF_T5), (PALM, OF_PALM)])
def test_every_parameter_has_a_group(config, expected, scan_layers):
  assert {norms.group_of(path) for path in paths(config, scan_layers=scan_layers)} == expected
  adapted = paths(config, scan_layers=scan_layers, **ADAPTED)
  sides = {name.split("/")[0] for name in expected if "/" in name}
  assert {norms.group_of(path) for path in adapted} == expected | {f"{one}/lora" for one in sides}
  assert norms.group_of("decoder/layers_0/attention/query/lora_a") == "decoder/lora"


def test_a_parameter_without_a_group_is_an_error():
  with pytest.raises(ValueError, match="decoder/gate/kernel"):
    norms.group_of("decoder/gate/kernel")


def test_norms_are_those_of_all_numbers_of_a_group_together():
  draw = np.random.default_rng(0)
  trees = [
    {
      "encoder": {"layers_0": {"mlp": {"wi_0": {"kernel": draw.normal(size=(3, 4))}}}},
      "decoder": {"logits_dense": {"kernel": draw.normal(size=(4, 5))}},
    }
    for _ in range(3)
  ]
  for tree in trees:
    tree["encoder"]["layers_1"] = {"mlp": {"wo": {"kernel": draw.normal(size=(4, 3))}}}
  measured = {name: float(value) for name, (value, _) in norms.measure(*trees).items()}
  joined = [
    np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree["encoder"])]) for tree in trees
  ]
  grad, update, param = joined
  assert measured["grad_norm/encoder/mlp"] == pytest.approx(np.linalg.norm(grad))
  assert measured["update_norm/encoder/mlp"] == pytest.approx(np.linalg.norm(update))
  assert measured["update_rms/encoder/mlp"] == pytest.approx(np.sqrt(np.mean(update**2)))
  assert measured["param_rms/encoder/mlp"] == pytest.approx(np.sqrt(np.mean(param**2)))
  assert len(measured) == 2 * len(norms.PREFIXES)
