"""Our logits against Hugging Face's `T5ForConditionalGeneration`, whose names are mapped here."""

import json
import re

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from flan_tune.models import t5

FOLDERS = ["gated_gelu_untied", "relu_tied", "t5_1_1_from_t5x", "t5_1_0_from_t5x"]

# (pattern of their name, ours); linear weights and the bias table are theirs transposed.
BLOCK = r"(encoder|decoder)\.block\.(\d+)\.layer"
NAMES = [
  (r"shared\.weight", r"token_embedder/embedding"),
  (r"lm_head\.weight", r"decoder/logits_dense/kernel"),
  (r"(encoder|decoder)\.final_layer_norm\.weight", r"\1/\1_norm/scale"),
  (
    r"(encoder|decoder)\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias\.weight",
    r"\1/relpos_bias/rel_embedding",
  ),
  (BLOCK + r"\.\d\.DenseReluDense\.(\w+)\.weight", r"\1/layers_\2/mlp/\3/kernel"),
  (
    r"decoder\.block\.(\d+)\.layer\.1\.EncDecAttention\.(\w)\.weight",
    r"decoder/layers_\1/encoder_decoder_attention/\2/kernel",
  ),
  (
    r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.(\w)\.weight",
    r"encoder/layers_\1/attention/\2/kernel",
  ),
  (
    r"decoder\.block\.(\d+)\.layer\.0\.SelfAttention\.(\w)\.weight",
    r"decoder/layers_\1/self_attention/\2/kernel",
  ),
  (r"encoder\.block\.(\d+)\.layer\.0\.layer_norm\.weight", r"encoder/layers_\1/pre_attention_"),
  (r"encoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight", r"encoder/layers_\1/pre_mlp_"),
  (
    r"decoder\.block\.(\d+)\.layer\.0\.layer_norm\.weight",
    r"decoder/layers_\1/pre_self_attention_",
  ),
  (
    r"decoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight",
    r"decoder/layers_\1/pre_cross_attention_",
  ),
  (r"decoder\.block\.(\d+)\.layer\.2\.layer_norm\.weight", r"decoder/layers_\1/pre_mlp_"),
]
PROJECTIONS = {"q": "query", "k": "key", "v": "value", "o": "out"}


def our_name(name):
  for pattern, ours in NAMES:
    match = re.fullmatch(pattern, name)
    if match:
      path = match.expand(ours)
      path = re.sub(r"attention/([qkvo])/", lambda m: f"attention/{PROJECTIONS[m[1]]}/", path)
      return path + "layer_norm/scale" if path.endswith("_") else path
  raise KeyError(name)


def our_params(state, tied):
  flat = {}
  for name, array in state.items():
    if name.endswith("embed_tokens.weight") or (tied and name == "lm_head.weight"):
      continue
    path = our_name(name)
    flat[path] = array if path.endswith(("embedding", "scale")) and "rel_" not in path else array.T
  return flat


def our_config(theirs):
  gated = theirs["feed_forward_proj"].startswith("gated-")
  return t5.T5Config(
    vocab_size=theirs["vocab_size"],
    emb_dim=theirs["d_model"],
    num_heads=theirs["num_heads"],
    head_dim=theirs["d_kv"],
    mlp_dim=theirs["d_ff"],
    num_encoder_layers=theirs["num_layers"],
    num_decoder_layers=theirs["num_decoder_layers"],
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding=theirs.get("tie_word_embeddings", True),
  )


@pytest.mark.parametrize("name", FOLDERS)
def test_logits_equal_hugging_face(golden_dir, name, tree):
  nested, flattened = tree
  folder = golden_dir / "hf_t5" / name
  config = our_config(json.loads((folder / "save_pretrained" / "config.json").read_text()))
  state = safetensors.load_file(folder / "state_dict_full.safetensors")
  flat = our_params(state, config.logits_via_embedding)
  network = t5.T5(config)
  shapes = flattened(jax.eval_shape(network.init, jax.random.key(0)))
  assert {path: x.shape for path, x in flat.items()} == {
    path: x.shape for path, x in shapes.items()
  }
  with np.load(folder / "outputs.npz") as file:
    theirs = dict(file)
  labels = theirs["labels"].astype(np.int32)
  batch = {
    "encoder_input_tokens": theirs["input_ids"].astype(np.int32) * theirs["attention_mask"],
    "decoder_input_tokens": theirs["decoder_input_ids"].astype(np.int32),
    "decoder_target_tokens": np.where(labels == -100, 0, labels),
  }
  logits = np.asarray(jax.jit(network.logits)(nested(flat), batch))
  real = labels != -100  # they let padding attend to what comes before it; we need not
  error = np.max(np.abs(logits[real] - theirs["logits"][real]))
  assert error < 1e-4 * np.max(np.abs(theirs["logits"]))
