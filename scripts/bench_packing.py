"""Measures packing on the chain-of-thought rows: share of slots that hold tokens, and speed.

  FLAN_TUNE_DATA=... python scripts/bench_packing.py --vocabulary .../sentencepiece.model

Samples: `mix` is half zero-shot and half with 1-5 exemplars in front, as many as fit, and without
the examples that do not fit alone; `cut` is the same with all exemplars, everything cut at the
limits; `zs` is zero-shot.  Rules: next-fit is one open row, as in SeqIO; first-fit keeps the last
64 rows open; the others are `flan_tune.packing`.  The factors compare with next-fit in the same
run.  Examples a second are for one core, by processor time, best of `--repeats`; the rules only
count tokens (SeqIO itself, which also builds arrays, packs some 4,000 examples a second).
"""

import argparse
import functools
import itertools
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from flan_tune.draws import Draws
from flan_tune.errors import UserError
from flan_tune.packing import pack
from flan_tune.vocab import Vocabulary

TASKS = ("aqua", "creak", "ecqa", "gsm8k", "qasc", "sensemaking", "strategyqa")
Sizes = list[tuple[int, int]]


class Tokens(NamedTuple):
  """Token counts of one row in its three roles; `target` counts the EOS."""

  task: str
  query: int
  exemplar: int
  target: int


def tokens_of_rows(folder: pathlib.Path, vocabulary: Vocabulary) -> list[Tokens]:
  """Counts of all rows of the TSV files: question, answer, rationale."""
  rows = []
  for task in TASKS:
    path = folder / f"{task}_train.tsv"
    if not path.is_file():
      raise UserError(f"{path} does not exist; FLAN_TUNE_DATA must hold FLAN/flan/v2/cot_data")
    lines = path.read_text(encoding="utf-8").split("\n")
    # The files write a newline as a backslash and an n.
    fields = [line.replace("\\n", "\n").split("\t") for line in lines if line.count("\t") == 2]
    queries = [f"Q: {question}\nA:" for question, _, _ in fields]
    targets = [f"{rationale} The answer is {answer}." for _, answer, rationale in fields]
    whole = [f"{query} {target}\n\n" for query, target in zip(queries, targets, strict=True)]
    counts = [map(len, vocabulary.encode_batch(texts)) for texts in (queries, whole, targets)]
    rows += [Tokens(task, q, e, t + 1) for q, e, t in zip(*counts, strict=True)]
  return rows


def sample(rows: list[Tokens], limits: tuple[int, int], kind: str) -> Sizes:
  """Sizes of all rows as examples, in random order."""
  of_task = {task: [row for row in rows if row.task == task] for task in TASKS}
  sizes = []
  for index, row in enumerate(Draws("bench", 0).shuffled(rows)):
    draws = Draws("bench", 1, index)
    inputs = row.query
    exemplars = 0 if kind == "zs" or draws.below(2) else draws.between(1, 5)
    for exemplar in (draws.choice(of_task[row.task]).exemplar for _ in range(exemplars)):
      if kind == "cut" or inputs + exemplar <= limits[0]:
        inputs += exemplar
    if kind == "cut":
      inputs, row = min(inputs, limits[0]), row._replace(target=min(row.target, limits[1]))
    if inputs <= limits[0] and row.target <= limits[1]:
      sizes.append((inputs, row.target))
  return sizes


def next_fit(sizes: Sizes, limits: tuple[int, int]) -> list[list[int]]:
  """One open row, closed by the first example that does not fit."""
  return first_fit(sizes, limits, open_rows=1)


def first_fit(sizes: Sizes, limits: tuple[int, int], *, open_rows: int = 64) -> list[list[int]]:
  """Each example goes to the oldest open row that has room."""
  closed, opened = [], []
  for key, (inputs, targets) in enumerate(sizes):
    for row in opened:
      if row[0] >= inputs and row[1] >= targets:
        row[0] -= inputs
        row[1] -= targets
        row[2].append(key)
        break
    else:
      if len(opened) == open_rows:
        closed.append(opened.pop(0)[2])
      opened.append([limits[0] - inputs, limits[1] - targets, [key]])
  return closed + [row[2] for row in opened]


class Result(NamedTuple):
  """What a rule made of a sample: filled shares of the slots, and examples a second."""

  inputs: float
  targets: float
  both: float
  rows: int
  speed: float


def measure(
  rule: Callable[..., list[list[int]]], sizes: Sizes, limits: tuple[int, int], repeats: int
) -> Result:
  """Packs the sample `repeats` times; checks that no example is lost and no limit passed."""
  rows: list[list[int]] = []
  seconds = []
  for _ in range(repeats):
    start = time.process_time()
    rows = rule(sizes, limits)
    seconds.append(time.process_time() - start)
  if sorted(key for row in rows for key in row) != list(range(len(sizes))):
    raise AssertionError("the rows do not hold every example once")
  for side, limit in enumerate(limits):
    if max(sum(sizes[key][side] for key in row) for row in rows) > limit:
      raise AssertionError(f"a row is longer than {limit}")
  inputs, targets = (sum(size[side] for size in sizes) / len(rows) for side in (0, 1))
  shares = inputs / limits[0], targets / limits[1], (inputs + targets) / sum(limits)
  return Result(*shares, len(rows), len(sizes) / min(seconds))


def volume_bound(sizes: Sizes, limits: tuple[int, int]) -> float:
  """The share on both sides that the fewest rows by volume would have."""
  totals = [sum(size[side] for size in sizes) for side in (0, 1)]
  fewest = max(-(-total // limit) for total, limit in zip(totals, limits, strict=True))
  return sum(totals) / (fewest * sum(limits))


def rules(settings: list[tuple[int, int]]) -> dict[str, Callable[..., list[list[int]]]]:
  """The rules by the name to print; `settings` are pairs of lookahead and tries."""
  ours = {
    f"ours, lookahead {n}, tries {tries}": functools.partial(pack, lookahead=n, tries=tries)
    for n, tries in settings
  }
  return {"next-fit (SeqIO)": next_fit, "first-fit 64": first_fit} | ours


def pair(text: str) -> tuple[int, int]:
  """Two numbers with a slash between them."""
  first, second = text.split("/")
  return int(first), int(second)


def main() -> None:
  """Prints one table for each pair of limits and kind of sample."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--vocabulary", required=True, help="a SentencePiece model")
  parser.add_argument("--limits", type=pair, nargs="+", default=[(512, 128), (2048, 512)])
  parser.add_argument("--kinds", nargs="+", default=["mix", "cut", "zs"])
  parser.add_argument("--settings", type=pair, nargs="+", default=[(256, 1), (256, 4), (512, 16)])
  parser.add_argument("--repeats", type=int, default=3)
  options = parser.parse_args()
  folder = pathlib.Path(os.environ.get("FLAN_TUNE_DATA", ".")) / "FLAN/flan/v2/cot_data"
  try:
    rows = tokens_of_rows(folder, Vocabulary(options.vocabulary))
  except UserError as error:
    raise SystemExit(f"bench_packing: {error}") from None
  for limits, kind in itertools.product(options.limits, options.kinds):
    sizes = sample(rows, limits, kind)
    means = [statistics.fmean(size[side] for size in sizes) for side in (0, 1)]
    print(f"\n{kind} {limits[0]}/{limits[1]}: {len(sizes)} of {len(rows)} examples,", end=" ")
    print(f"means {means[0]:.0f}/{means[1]:.0f}, {volume_bound(sizes, limits):.3f} by volume")
    base = None
    for name, rule in rules(options.settings).items():
      result = measure(rule, sizes, limits, options.repeats)
      base = base or result
      shares = "/".join(f"{share:.3f}" for share in result[:3])
      ratio = f"fill x{result.both / base.both:.3f}, speed x{result.speed / base.speed:.2f}"
      print(f"  {name:30} {shares} {result.rows:6} rows {result.speed:9,.0f} ex/s  {ratio}")


if __name__ == "__main__":
  main()
