"""Trains the playground's SentencePiece vocabulary on rows of all families in all templates.

    python scripts/train_vocabulary.py [FILE]

The same code with the same release of SentencePiece writes the same bytes.
"""

import argparse
import io
import itertools
import pathlib
from collections.abc import Iterator

import sentencepiece
import yaml

from flan_tune.sources import playground
from flan_tune.text import options

CHECKOUT = pathlib.Path(__file__).parents[1]  # whatever FLAN_TUNE_PATH holds
# Enough for every word of the playground to be one piece.
VOCABULARY_SIZE = 1984
ROWS_PER_FAMILY = 600
# Pieces of their own, so that no merge can cross a line and nothing is normalised away.
SYMBOLS = ("\n", "\t", "{", "}")
# Characters that a user or a list of options may bring though no text of the playground has them.
REQUIRED = "".join(c for c in map(chr, range(33, 127)) if c not in SYMBOLS) + "•"


def templates_of(name: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
  """Zero-shot (inputs, targets) pairs and few-shot ones with prefixes and wrapper written out."""
  path = CHECKOUT / "templates" / f"{name}.yaml"
  document = yaml.safe_load(path.read_text(encoding="utf-8"))
  zero_shot = [(one["inputs"], one["targets"]) for one in document["zero_shot"]]
  few_shot = []
  for one in document["few_shot"]:
    query = one.get("inputs_prefix", "") + one["inputs"] + one.get("x_y_delimiter", "\n\n")
    prompt = query + one.get("targets_prefix", "").rstrip()
    few_shot.append((one.get("wrapper", "{prompt}").replace("{prompt}", prompt), one["targets"]))
  return zero_shot, few_shot


def filled(template: str, row: playground.Row, header: str) -> str:
  """The template with every field of the row put in, choices as bullets under `header`."""
  for key, value in row.items():
    text = value if isinstance(value, str) else "\n- ".join((header, *value))
    template = template.replace("{" + key + "}", text)
  return template.replace("\n{options}", "")


def corpus() -> Iterator[str]:
  """Inputs and targets, every template in turn."""
  cards = yaml.safe_load((CHECKOUT / "tasks" / "playground.yaml").read_text(encoding="utf-8"))
  for task in cards["foreach"]:
    zero_shot, few_shot = templates_of(f"playground_{task['templates']}")
    # Zero-shot prompts are the greater part of the mixture.
    templates = itertools.cycle((*zero_shot, *zero_shot, *few_shot))
    headers = itertools.cycle(options.HEADERS)
    rows = playground.open_source(task["family"], "train", None)
    for index in range(ROWS_PER_FAMILY):
      inputs, targets = next(templates)
      row, header = rows[index], next(headers)
      yield filled(inputs, row, header)
      yield filled(targets, row, header)


def train() -> bytes:
  """The serialised model."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=corpus(),
    model_writer=model,
    # Unigram prunes frequent short words that two pieces spell cheaply; merges keep them whole.
    model_type="bpe",
    vocab_size=VOCABULARY_SIZE,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    user_defined_symbols=list(SYMBOLS),
    required_chars=REQUIRED,
    byte_fallback=True,
    split_digits=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    # A word at the start of a text, an answer above all, is then the piece it is elsewhere.
    add_dummy_prefix=True,
    num_threads=1,  # sums of floats in another order could choose other pieces
    minloglevel=2,
  )
  return model.getvalue()


def main() -> None:
  """Writes the model to the path given, or over the one in the package."""
  parser = argparse.ArgumentParser(description="Trains the vocabulary of the playground.")
  parser.add_argument("file", nargs="?", type=pathlib.Path, default=playground.VOCABULARY)
  arguments = parser.parse_args()
  arguments.file.write_bytes(train())
  print(f"{arguments.file}: {arguments.file.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
