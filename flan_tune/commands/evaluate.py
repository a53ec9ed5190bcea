"""`flan-tune evaluate`: a checkpoint on benchmarks or tasks, and two evaluations compared."""

import argparse
import contextlib
import functools
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from flan_tune import errors, eval_config

_GIN = "runs/eval.gin"


def _step(text: str) -> int | str:
  return int(text) if text.isdecimal() else text


# Flags that `eval_config.Evaluate` has under the same names.
_OPTIONS = {
  "step": (_step, "of several checkpoints: a number or best; the newest without"),
  "vocabulary": (str, "a SentencePiece model, where the checkpoint's folder holds none"),
  "dtype": (str, "of the parameters: float32 or bfloat16; as stored without"),
  "mesh": (str, 'devices, as in "data=4,model=2"; all for data without'),
  "toxicity": (str, "a file of judgements, for benchmarks of toxicity"),
  "output": (str, "a folder; the same one goes on"),
  "limit": (int, "questions per task; by default all of a benchmark and 100 of a training task"),
  "split": (str, "of benchmarks: validation or test, where they have both"),
  "setting": (str, "of training tasks: zs_opt (the default), zs_noopt, fs_opt, fs_noopt"),
  "shots": (int, "exemplars in few-shot prompts, other than each benchmark's own number"),
  "method": (str, "generate an answer or rank the options; each benchmark has its own"),
  "samples": (int, "answers drawn per question, of which the majority counts; see --early_stop"),
  "temperature": (float, "of draws; 0.7 by default when there are several"),
  "top_k": (int, "draw from so many of the best tokens; 40 by default when there are several"),
  "max_tokens": (int, "most tokens of one answer, other than each benchmark's own number"),
  "max_input_tokens": (int, "longest prompt: exemplars are left out, then its front is cut"),
  "batch_size": (int, "prompts asked together; changes no score"),
  "seed": (int, "chooses what is drawn, and templates and exemplars of training tasks"),
}


def add(commands: argparse._SubParsersAction) -> None:
  """Adds the command to a parser."""
  command = commands.add_parser("evaluate", help="score a checkpoint, or compare two evaluations")
  command.add_argument(
    "--gin_file",
    action="append",
    default=[],
    help=f"such as {_GIN}, with --gin.NAME=value; flags go before it",
  )
  command.add_argument("--checkpoint", help="a run, a T5X or a Hugging Face folder")
  command.add_argument(
    "--suite",
    action="append",
    default=[],
    help="benchmarks, separated by commas: flan_eval, mmlu, bbh_cot, bbh_snarks, ...; --list",
  )
  command.add_argument(
    "--tasks", action="append", default=[], help="training tasks and mixtures, or benchmarks"
  )
  for name, (kind, told) in _OPTIONS.items():
    command.add_argument(f"--{name}", type=kind, help=told)
  command.add_argument(
    "--early_stop", action="store_true", help="draw no more once the majority cannot change"
  )
  command.add_argument("--strict", action="store_true", help="stop when a benchmark is missing")
  command.add_argument("--processes", type=int, default=1, help="on this machine, sharing the work")
  command.add_argument("--shard", help="K/N: this process asks part K, from 0, of N")
  command.add_argument("--by_task", action="store_true", help="print every task's scores, too")
  command.add_argument(
    "--list", action="store_true", help="list the benchmarks and what is on disk"
  )
  command.add_argument(
    "--compare", nargs=2, type=pathlib.Path, metavar=("A", "B"), help="two folders of evaluations"
  )
  command.add_argument("--flips", type=int, default=5, help="changed answers that --compare shows")
  command.set_defaults(act=_act)


def _act(parsed: argparse.Namespace, bindings: list[str]) -> int:
  if parsed.list:
    return _list()
  if parsed.flips < 0:
    raise errors.UserError(f"--flips={parsed.flips}: expected 0 or more")
  if parsed.compare:
    return _compare(*parsed.compare, flips=parsed.flips)
  return _evaluate(parsed, _configured(parsed, bindings))


def _configured(parsed: argparse.Namespace, bindings: list[str]) -> eval_config.Evaluate:
  """What gin files say, and flags before them."""
  configured = eval_config.Evaluate()
  if parsed.gin_file or bindings:
    from flan_tune import gin_files

    files = parsed.gin_file or [_GIN]
    configured, _ = gin_files.resolve(eval_config.Evaluate, files, bindings)
  flags = {name: getattr(parsed, name) for name in ("checkpoint", *_OPTIONS)}
  flags |= {name: getattr(parsed, name) or None for name in ("early_stop", "strict")}
  return configured.with_flags(flags | {"names": ",".join((*parsed.suite, *parsed.tasks)) or None})


def _evaluate(parsed: argparse.Namespace, configured: eval_config.Evaluate) -> int:
  from flan_tune import compilation, evaluation, printout
  from flan_tune.evaluate import toxicity

  if parsed.processes < 1:
    raise errors.UserError(f"--processes={parsed.processes}: expected 1 or more")
  if parsed.processes > 1 and parsed.shard:
    raise errors.UserError("--processes: --shard says that others share the work; leave one out")
  number, count = _shard(parsed.shard)
  ask = functools.partial(
    evaluation.of_checkpoint,
    configured.checkpoint,
    configured.listed(),
    toxic=toxicity.read(configured.toxicity) if configured.toxicity else None,
    **configured.options(),
  )
  compilation.keep(compilation.of_user(), say=lambda told: print(told, file=sys.stderr))
  with _others(parsed.processes):
    found = ask(shard=(number, max(count, parsed.processes)), progress=True)
  if parsed.processes > 1:
    found = ask()  # what all have answered
  printout.evaluation(found.document, by_task=parsed.by_task)
  if found.remaining:
    print(f"{found.remaining:,} questions are left to other shards; results come with the last.")
  print(f"Folder: {found.folder}")
  return 0


@contextlib.contextmanager
def _others(count: int) -> Iterator[None]:
  """The same command in further processes, each with a part of the questions."""
  # Of a flag given twice the last counts.
  own = [sys.executable, "-m", "flan_tune.cli", *sys.argv[1:], "--processes=1"]
  with contextlib.ExitStack() as stack:
    # A mistake that all of them find is told once, by this one.
    said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
    started = [
      subprocess.Popen([*own, f"--shard={number}/{count}"], stdout=subprocess.DEVNULL, stderr=file)
      for number, file in enumerate(said, start=1)
    ]
    try:
      with _terminable(on=bool(started)):
        yield
    except BaseException:
      for one in started:
        one.terminate()
      raise
    finally:
      codes = [one.wait() for one in started]
    for number, (code, file) in enumerate(zip(codes, said, strict=True), start=1):
      if code:
        file.seek(0)
        last = file.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise errors.UserError(
          f"--processes: process {number} ended with code {code}"
          f" ({last.removeprefix('flan-tune: ') or 'it said nothing'}); what was answered is kept,"
          " the same command goes on"
        )


@contextlib.contextmanager
def _terminable(*, on: bool) -> Iterator[None]:
  """Lets SIGTERM end this process as an exception does, so that no other one outlives it."""
  if not on:
    yield
    return
  former = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, former)


def _shard(text: str | None) -> tuple[int, int]:
  if text is None:
    return 0, 1
  number, _, count = text.partition("/")
  if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
    raise errors.UserError(f"--shard={text}: expected K/N with K from 0 to N - 1, such as 0/2")
  return int(number), int(count)


def _compare(first: pathlib.Path, second: pathlib.Path, *, flips: int) -> int:
  from flan_tune import printout
  from flan_tune.evaluate import compare_runs

  printout.comparison(compare_runs.compare(first, second), flips=flips)
  return 0


def _list() -> int:
  from flan_tune import evaluation, printout

  printout.benchmarks(evaluation.listing())
  return 0
