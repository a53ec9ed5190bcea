"""Names, shapes, axes and initial numbers of the parameters."""

import json
import math
import pathlib
import re

import jax
import numpy as np
import pytest

from flan_tune import errors
from flan_tune.checkpoint import layout
from flan_tune.models import t5

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "t5_small_params.txt"

# size: (layers, heads, emb, mlp, millions of parameters); Raffel et al. 2020, T5X's gin files.
T5_1_1 = {
  "small": (8, 6, 512, 1024, 77.0),
  "base": (12, 12, 768, 2048, 247.6),
  "large": (24, 16, 1024, 2816, 783.2),
  "xl": (24, 32, 2048, 5120, 2849.8),
  "xxl": (24, 64, 4096, 10240, 11135.3),
}


def millions(network):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(network.shapes)) / 1e6


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("size", T5_1_1)
def test_number_of_parameters_is_the_published_one(size, scan_layers):
  depth, heads, emb, mlp, published = T5_1_1[size]
  config = t5.T5Config(
    emb_dim=emb,
    num_heads=heads,
    mlp_dim=mlp,
    num_encoder_layers=depth,
    num_decoder_layers=depth,
    scan_layers=scan_layers,
  )
  assert round(millions(t5.T5(config)), 1) == published


def test_number_of_parameters_of_t5_1_0_small():
  config = t5.T5Config(
    num_heads=8,
    mlp_dim=2048,
    num_encoder_layers=6,
    num_decoder_layers=6,
    mlp_activations=("relu",),
    logits_via_embedding=True,
  )
  assert round(millions(t5.T5(config)), 1) == 60.5


def test_names_and_shapes_of_t5_1_1_small_are_the_golden_ones(tree):
  _, flattened = tree
  shapes = flattened(t5.T5(t5.T5Config()).shapes)
  lines = [f"{path} {'x'.join(map(str, leaf.shape))}" for path, leaf in sorted(shapes.items())]
  assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def axes_of(path, table):
  return next(axes for pattern, axes in table if re.fullmatch(pattern, path))


@pytest.mark.parametrize("changes", [{}, {"scan_layers": True}, {"mlp_activations": ("relu",)}])
def test_every_parameter_has_one_logical_axis_a_dimension(make_model, tree, changes):
  _, flattened = tree
  network, _ = make_model(**changes)
  for path, leaf in flattened(network.shapes).items():
    axes = axes_of(path, network.axes)
    assert len(axes) == len(leaf.shape), path
    stacked = re.match(r"(encoder/encoder|decoder/decoder)/", path)
    assert ("layers" in axes) == bool(stacked), path


def test_logical_axes_are_t5x_s(golden_dir, make_model):
  network, _ = make_model()
  manifest = json.loads((golden_dir / "t5x" / "manifest.json").read_text())
  for model in ("t5_1_1", "t5_1_0"):
    for path, axes in manifest[model]["param_axes"].items():
      assert axes_of(path, network.axes) == tuple(axes), path


@pytest.fixture(scope="module")
def initial(quick_jit):
  """Initial parameters of a model, looped and scanned."""
  sizes = dict(
    vocab_size=400,
    emb_dim=64,
    num_heads=4,
    head_dim=32,
    mlp_dim=256,
    num_encoder_layers=2,
    num_decoder_layers=1,
  )
  networks = [t5.T5(t5.T5Config(**sizes, scan_layers=scan)) for scan in (False, True)]
  params = quick_jit(lambda key: [network.init(key) for network in networks])(jax.random.key(0))
  for network, own in zip(networks, params, strict=True):
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
    assert shapes(own) == shapes(network.shapes)
  return params


def test_initial_numbers_have_t5x_s_deviations(initial, tree):
  _, flattened = tree
  params = flattened(initial[0])
  deviations = {
    "token_embedder/embedding": 1.0,
    "decoder/logits_dense/kernel": 64**-0.5,
    "encoder/layers_0/attention/query/kernel": (64 * 32) ** -0.5,
    "encoder/layers_1/attention/key/kernel": 64**-0.5,
    "decoder/layers_0/self_attention/value/kernel": 64**-0.5,
    "decoder/layers_0/encoder_decoder_attention/out/kernel": 128**-0.5,
    "encoder/layers_0/mlp/wi_0/kernel": 64**-0.5,
    "encoder/layers_0/mlp/wo/kernel": 256**-0.5,
    "decoder/relpos_bias/rel_embedding": ((4 + 32) / 2) ** -0.5,
  }
  for path, deviation in deviations.items():
    tolerance = 4 / math.sqrt(2 * params[path].size)  # four standard errors
    np.testing.assert_allclose(np.std(params[path]), deviation, rtol=tolerance, err_msg=path)
  assert np.all(params["encoder/encoder_norm/scale"] == 1.0)
  # Truncated at two deviations before scaling, and no two parameters share their numbers.
  assert np.abs(params["encoder/layers_0/mlp/wi_0/kernel"]).max() <= 2 / 0.8796 * 64**-0.5
  firsts = [float(x.ravel()[0]) for path, x in params.items() if "norm" not in path]
  assert len(set(firsts)) == len(firsts)


def test_stacked_and_looped_models_start_from_the_same_numbers(initial):
  jax.tree.map(np.testing.assert_array_equal, layout.stack_layers(initial[0]), initial[1])


def test_init_gives_shapes_without_numbers(make_model):
  network, _ = make_model(scan_layers=True)
  abstract = jax.eval_shape(network.init, jax.random.key(0))
  assert jax.tree.map(lambda x: x.shape, abstract) == jax.tree.map(
    lambda x: x.shape, network.shapes
  )


@pytest.mark.parametrize(
  ("field", "value", "says"),
  [
    ("mlp_activations", ("gelo",), "gelu"),
    ("remat", "dot", "dots"),
    ("dtype", "float16", "bfloat16"),
    ("dropout_rate", 1.0, "below 1"),
  ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field, value, says):
  with pytest.raises(errors.UserError, match=says):
    t5.T5Config(**{field: value})
