"""The loss of groups and of kinds is a mean over their tokens."""

import numpy as np
import pytest

from flan_tune.train import breakdown

GROUPS = (("muffin", "zs_opt"), ("muffin", "fs_opt"), ("cot", "zs_opt"), ("niv2", "fs_opt"))


def test_groups_and_kinds_are_means_over_tokens_and_empty_ones_are_left_out():
  vectors = np.array([10.0, 90.0, 4.0, 0.0]), np.array([10.0, 30.0, 2.0, 0.0])
  assert breakdown.of_loss(vectors, GROUPS) == {
    "loss/muffin": 2.5,
    "loss/cot": 2.0,
    "loss/kind/zs_opt": 14 / 12,
    "loss/kind/fs_opt": 3.0,
    "tokens/muffin": 40.0,
    "tokens/cot": 2.0,
    "tokens/kind/zs_opt": 12.0,
    "tokens/kind/fs_opt": 30.0,
  }


def test_vectors_of_other_groups_are_an_error():
  with pytest.raises(ValueError):
    breakdown.of_loss((np.zeros(3), np.zeros(3)), GROUPS)
