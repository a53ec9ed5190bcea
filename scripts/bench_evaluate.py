"""Measures what an evaluation costs besides the model: the share of time outside it, and a rerun.

  FLAN_TUNE_DATA=path/of/clones python scripts/bench_evaluate.py --vocabulary sentencepiece.model

The tiny T5 1.1 shape (random weights, float32) answers all of BIG-Bench Hard, direct; then the same
evaluation is asked for again.  Prints seconds and the share outside the model.
"""

import argparse
import pathlib
import tempfile
import time

import jax

from flan_tune import evaluation, model, vocab
from flan_tune.models import t5


def tiny(vocabulary: vocab.Vocabulary) -> model.Model:
  """The shape of T5X's tiny T5 1.1 (T5X: t5x/examples/t5/t5_1_1/tiny.gin), random weights."""
  config = t5.T5Config(
    vocab_size=-(-vocabulary.size // 128) * 128,
    emb_dim=8,
    num_heads=4,
    head_dim=3,
    mlp_dim=16,
    num_encoder_layers=2,
    num_decoder_layers=2,
  )
  network = t5.T5(config)
  return model.Model(network, jax.jit(network.init)(jax.random.key(0)), vocabulary)


def main() -> None:
  """Prints a line for each of the two evaluations."""
  parser = argparse.ArgumentParser(description="The share of an evaluation outside the model.")
  parser.add_argument("--vocabulary", required=True, help="a SentencePiece model")
  parser.add_argument("--suite", default="bbh_direct")
  parser.add_argument("--limit", type=int, default=150, help="questions per task")
  parser.add_argument("--batch_size", type=int, default=32)
  asked = parser.parse_args()
  ready = tiny(vocab.Vocabulary(asked.vocabulary))
  with tempfile.TemporaryDirectory() as folder:
    for name in ("first", "again"):
      start = time.perf_counter()
      found = evaluation.evaluate(
        ready,
        asked.suite,
        output=pathlib.Path(folder) / "evaluation",
        limit=asked.limit,
        batch_size=asked.batch_size,
        max_input_tokens=2048,
      )
      total = time.perf_counter() - start
      spent = found.document["seconds"]["model"]
      questions = sum(row["n"] for row in found.rows)
      line = f"{name}: {questions:,} questions, {total:.1f} s, report included"
      if name == "first":
        line += f"; {spent:.1f} s in the model, {100 * (1 - spent / total):.1f} % outside it"
      print(line, flush=True)


if __name__ == "__main__":
  main()
