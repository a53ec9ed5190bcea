import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune.checkpoint import layout


@pytest.fixture
def params():
  layer = lambda i: {
    "mlp": {"wo": {"kernel": np.full((2, 3), i)}},
    "norm": {"scale": np.full(4, i)},
  }
  stack = lambda name: {
    "layers_0": layer(0),
    "layers_1": layer(1),
    f"{name}_norm": {"scale": np.ones(4)},
  }
  return {
    "encoder": stack("encoder"),
    "decoder": stack("decoder"),
    "token_embedder": {"embedding": np.ones((5, 4))},
  }


def equal(a, b):
  if isinstance(a, dict):
    return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
  return type(a) is type(b) and np.array_equal(a, b)


def test_layers_stack_at_axis_one_under_the_stack_s_name(params):
  stacked = layout.stack_layers(params)
  kernel = stacked["encoder"]["encoder"]["mlp"]["wo"]["kernel"]
  assert kernel.shape == (2, 2, 3)
  assert kernel[:, 1].tolist() == [[1, 1, 1], [1, 1, 1]]
  assert stacked["decoder"]["decoder"]["norm"]["scale"].shape == (4, 2)
  assert stacked["token_embedder"] is params["token_embedder"]
  assert stacked["encoder"]["encoder_norm"] is params["encoder"]["encoder_norm"]


def test_unstacking_undoes_stacking(params):
  assert equal(layout.unstack_layers(layout.stack_layers(params)), params)
  assert layout.is_stacked(layout.stack_layers(params))
  assert not layout.is_stacked(params)


def test_eleven_layers_keep_their_order(params):
  params["encoder"] = {f"layers_{i}": {"scale": jnp.full(2, i)} for i in range(11)}
  stacked = layout.stack_layers(params)["encoder"]["encoder"]["scale"]
  assert stacked[0].tolist() == list(range(11))


def test_the_wrong_form_is_refused(params):
  with pytest.raises(ValueError, match="encoder"):
    layout.unstack_layers(params)
  with pytest.raises(ValueError, match="encoder"):
    layout.stack_layers(layout.stack_layers(params))
