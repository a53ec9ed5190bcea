# pyright: reportMissingImports=false
"""Measures training: ours, packed and padded, beside Hugging Face's T5, in one run on one text.

  FLAN_TUNE_DATA=... python scripts/bench_train.py [--size small] [--steps 6]

Rows: the chain-of-thought files of FLAN (`--tasks`), half zero-shot and half with up to 5
exemplars, T5's vocabulary, at most 512 input and 128 target tokens; longer examples are left out.
Ours reads, renders, tokenises and packs them while it trains; Hugging Face is given the same
examples as tokens, in the same order, 8 at a time, padded to the longest.  Its output layer is
untied, as T5 1.1's is.  Both: Adafactor, dropout 0.1, batches of 8 rows.  Each has a process of its
own and they take turns; the first steps, which compile, do not count.  A token is useful if it is
no padding.  Operations are those of `flan_tune.flops`: of all slots, and of useful tokens alone.
The matrix product that they are compared with, 2048 x 2048 x 2048 in the same type, is measured by
ours between the turns.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import bench_train_peers
import numpy as np
from bench_train_peers import DROPOUT, INPUTS, LENGTHS, ROWS, SIZES, TARGETS

from flan_tune import flops

ROOT = pathlib.Path(__file__).parents[1]
PARTIES = {
  "packed": bench_train_peers.Ours,
  "padded": bench_train_peers.Ours,
  "huggingface": bench_train_peers.HuggingFace,
}
PEERS = tuple(PARTIES)


class Turn(NamedTuple):
  """What a peer did in one turn; operations in units of one."""

  steps: int
  seconds: float
  useful: float  # tokens that are no padding
  slots: float
  operations: float  # of useful tokens
  computed: float  # of all slots


def main() -> None:
  """Has the peers take turns and prints the table."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--size", choices=SIZES, default="small")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--steps", type=int, default=6, help="of each peer, in turns of 2")
  parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
  parser.add_argument("--chunk", type=int, help="target tokens whose logits exist at a time")
  parser.add_argument("--attention", default="xla", help="ATTENTION_KERNEL")
  parser.add_argument("--vocabulary", help="a SentencePiece model; T5's in FLAN_TUNE_DATA")
  parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
  parser.add_argument("--examples", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.peer:
    serve(arguments)
    return
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "examples.npz"
    if "huggingface" in arguments.peers:
      bench_train_peers.write_examples(
        path, arguments.vocabulary, count=ROWS * (arguments.steps + 4)
      )
    run(arguments, path)


def run(arguments: argparse.Namespace, examples: pathlib.Path) -> None:
  """Starts the peers, has them work in turns, prints."""
  peers = {}
  for name in arguments.peers:
    peers[name] = Peer(name, examples)
    print(f"{name}: ready after {peers[name].ask('start')['seconds']:.0f} s", file=sys.stderr)
  turns: dict[str, list[Turn]] = {name: [] for name in peers}
  products, per_turn = [], min(2, arguments.steps)
  meter = next((peer for name, peer in peers.items() if name != "huggingface"), None)
  measure = lambda: products.append(meter.ask("product")["rate"]) if meter else None
  for _ in range(arguments.steps // per_turn):
    measure()
    for name, peer in peers.items():
      turns[name].append(Turn(**peer.ask(f"run {per_turn}")))
      print(f"{name}: {turns[name][-1].seconds / per_turn:.2f} s a step", file=sys.stderr)
  measure()
  ends = {name: peer.ask("end") for name, peer in peers.items()}
  print(table(arguments, turns, ends, max(products, default=float("nan"))))


class Peer:
  """A child process that answers each line with a line of JSON."""

  def __init__(self, name: str, examples: pathlib.Path):
    command = [sys.executable, __file__, *sys.argv[1:], "--peer", name, "--examples", str(examples)]
    # Both peers of a GPU must find room on it.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    self._process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

  def ask(self, question: str) -> dict[str, Any]:
    """The answer, waited for."""
    stdin, stdout = self._process.stdin, self._process.stdout
    assert stdin is not None and stdout is not None
    stdin.write(question + "\n")
    stdin.flush()
    line = stdout.readline()
    if not line:
      raise SystemExit("bench_train: a peer has ended; its error is above")
    return json.loads(line)


def serve(arguments: argparse.Namespace) -> None:
  """Answers the parent's questions: start, run N, product, end."""
  made: Any = None
  answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print
  for line in sys.stdin:
    question, *counts = line.split()
    began = time.perf_counter()
    if question == "start":
      made = PARTIES[arguments.peer](arguments)
      made.steps(2)
      answer = {"seconds": time.perf_counter() - began}
    elif question == "run":
      answer = turn(made, int(counts[0]))
    elif question == "product":
      answer = {"rate": made.product()}
    else:
      answer = made.about()
    print(json.dumps(answer), file=answers, flush=True)
    if question == "end":
      return


def turn(peer: Any, steps: int) -> dict[str, float]:
  """Times `steps` steps."""
  began = time.perf_counter()
  batches = peer.steps(steps)  # returns when the last has been computed
  seconds = time.perf_counter() - began
  works = [flops.of_batch(arrays) for arrays in batches]
  work = sum(works[1:], works[0])
  full = [slots(arrays) for arrays in batches]
  computed = sum(full[1:], full[0])
  training = lambda one: flops.training(peer.config, one)
  made = Turn(steps, seconds, work.tokens, computed.tokens, training(work), training(computed))
  return {name: float(value) for name, value in made._asdict().items()}


def slots(arrays: dict[str, np.ndarray]) -> flops.Work:
  """What a batch computes with its padding."""
  rows, inputs = arrays[INPUTS].shape
  targets = arrays[TARGETS].shape[1]
  return flops.slots("encoder_decoder", rows, {"inputs": inputs, "targets": targets})


def table(
  arguments: argparse.Namespace, turns: dict[str, list[Turn]], ends: dict[str, Any], product: float
) -> str:
  """The table in Markdown, with what one must know to read it, and the ratios."""
  rate = {}
  names = {
    "packed": "ours, packed",
    "padded": "ours, padded",
    "huggingface": "Hugging Face, padded",
  }
  rows = [
    "| | s a step | useful tokens/s | slots used | GFLOP/s of slots, of the product |"
    " useful GFLOP/s, of the product | peak GB |",
    "|---|---|---|---|---|---|---|",
  ]
  for name, several in turns.items():
    total = Turn(*(sum(column) for column in zip(*several, strict=True)))
    rate[name] = total.useful / total.seconds
    computed, useful = (x / total.seconds / 1e9 for x in (total.computed, total.operations))
    step = statistics.median(one.seconds / one.steps for one in several)
    share = lambda x: f"{x:,.0f}, {1e9 * x / product:.0%}"
    rows.append(
      f"| {names[name]} | {step:.2f} | {rate[name]:,.0f} | {total.useful / total.slots:.0%} |"
      f" {share(computed)} | {share(useful)} | {ends[name]['memory'] / 1e9:.1f} |"
    )
  ratios = [
    f"ours, packed, has {rate['packed'] / rate[other]:.2f} times the useful tokens/s of"
    f" {names[other]}."
    for other in ("huggingface", "padded")
    if "packed" in rate and other in rate
  ]
  about = described(arguments, ends)
  best = f"Matrix product, best of all: {product / 1e9:,.0f} GFLOP/s."
  return "\n".join([about, "", *rows, "", best, *ratios])


def described(arguments: argparse.Namespace, ends: dict[str, Any]) -> str:
  """Settings, machine and software."""
  settings = (
    f"T5 1.1 {arguments.size}, {arguments.dtype}, {ROWS} rows of"
    f" {LENGTHS['inputs']} + {LENGTHS['targets']}, Adafactor, dropout {DROPOUT}, attention"
    f" {arguments.attention}, loss chunk {arguments.chunk}; {arguments.steps} steps in turns of 2"
  )
  software = "; ".join(dict.fromkeys(f"{end['software']}" for end in ends.values()))
  machine = f"{next(iter(ends.values()))['device']}; {processor()}, {os.cpu_count()} cores"
  return (
    f"{settings}.  {machine}.  Python {platform.python_version()}, {software}.  Commit {commit()}."
  )


def processor() -> str:
  """What the machine calls its processor."""
  path = pathlib.Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.exists() else []
  found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  return found[0] if found else platform.processor()


def commit() -> str:
  """The checkout's commit, with a mark if files differ from it."""
  command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  return done.stdout.strip() or "unknown"


if __name__ == "__main__":
  main()
