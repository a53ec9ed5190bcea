"""Activations on a mesh: decoding in the middle of a training, and rows that do not divide."""

import jax
import numpy as np
import pytest

from flan_tune import partition
from flan_tune.models import decode, layout


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "palm"])
def test_answers_do_not_depend_on_the_mesh(family, make_model, make_palm, quick_jit):
  """Three prompts and heads and lengths that no axis divides; parameters on the mesh or not."""
  make = make_model if family == "t5" else make_palm
  network, params = make(num_heads=4, scan_layers=family == "palm", shard_length=True)
  prompts = np.array([[5, 6, 7, 1, 0], [8, 9, 1, 0, 0], [4, 1, 0, 0, 0]], np.int32)
  answer = lambda params: network.generate(params, prompts, decode.Decoding(6))
  expected = quick_jit(answer)(params)
  mesh = partition.make_mesh("data=2,fsdp=2,model=2")
  placed = jax.device_put(params, partition.shardings(params, network.axes, mesh))
  with jax.set_mesh(mesh):
    ours = quick_jit(lambda params: answer(params))(placed)
  np.testing.assert_array_equal(ours.tokens, expected.tokens)
  np.testing.assert_allclose(ours.log_probs, expected.log_probs, rtol=1e-4, atol=1e-4)


def test_what_a_mesh_must_divide_is_listed(make_palm):
  lengths = {"row": 12}
  sizes = lambda **choices: {
    (one.name, one.size) for one in layout.dimensions(make_palm(**choices)[0].config, lengths)
  }
  assert sizes() == {("act_heads", 3)}
  assert sizes(shard_length=True) == {("act_heads", 3), ("cut_length", 12)}
