"""`flan-tune train | evaluate | generate | tasks | data | convert | plan | report | lm-eval`.

Imports stand inside the commands, so that listing tasks does not start JAX.  A user's mistake
ends with one sentence and exit code 2.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence

from flan_tune import errors
from flan_tune.commands import convert, data, evaluate, generate, lm_eval, plan, report, tasks

USER_ERROR = 2
# A run that was asked to stop and saved its state; sysexits' EX_TEMPFAIL: try again later.
STOPPED = 75
# A shell's code for a program that Ctrl-C ended.
INTERRUPTED = 130
# A shell's code for a program that still wrote when the reader of its output had gone.
UNREAD = 141


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code."""
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a terminal may lack what rows are written in
      stream.reconfigure(errors="replace")
  bindings = [one.removeprefix("--gin.") for one in arguments if one.startswith("--gin.")]
  rest = [one for one in arguments if not one.startswith("--gin.")]
  parsed = _parser().parse_args(rest)
  if bindings and parsed.command not in ("train", "evaluate", "plan"):
    print(f"flan-tune {parsed.command}: takes no --gin bindings", file=sys.stderr)
    return USER_ERROR
  try:
    return parsed.act(parsed, bindings)
  except errors.UserError as error:
    print(f"flan-tune: {error}", file=sys.stderr)
    return USER_ERROR
  except KeyboardInterrupt:
    print("flan-tune: interrupted", file=sys.stderr)
    return INTERRUPTED
  except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
    if parsed.command == "train":
      told = "nobody reads the output any more, so training stops; the same command goes on"
      with contextlib.suppress(OSError):
        print(f"flan-tune: {told} from the last checkpoint", file=sys.stderr, flush=True)
    sys.stderr.close()  # or Python would tell of it once more
    return UNREAD


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="flan-tune", description="Instruction tuning, the Flan way."
  )
  commands = parser.add_subparsers(dest="command", required=True)

  train = commands.add_parser("train", help="train, score and report, as gin files say")
  train.add_argument(
    "--gin_file",
    action="append",
    default=[],
    help="a file of configs/ or your own; several are read in order; --gin.NAME=value overrides",
  )
  train.add_argument("--mixture", help="what to train on; the same as --gin.MIXTURE_OR_TASK_NAME")
  train.add_argument(
    "--without", action="append", default=[], help="task, mixture or group; as --gin.WITHOUT"
  )
  train.add_argument(
    "--profile", metavar="FIRST:LAST", help="trace these steps into MODEL_DIR/profile"
  )
  train.add_argument(
    "--precompile", action="store_true", help="compile the step into MODEL_DIR/compiled, and end"
  )
  several = train.add_argument_group(
    "several hosts", "not needed where SLURM, Open MPI, GKE or a TPU pod says it"
  )
  several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
  several.add_argument("--processes", type=int, help="how many take part")
  several.add_argument("--process", type=int, help="which one this is, from 0")
  train.set_defaults(act=_train)

  evaluate.add(commands)
  generate.add(commands)
  tasks.add(commands)
  data.add(commands)
  convert.add(commands)
  plan.add(commands)
  report.add(commands)
  lm_eval.add(commands)
  return parser


def _train(parsed: argparse.Namespace, bindings: list[str]) -> int:
  from flan_tune import config, determinism, gin_files, hosts, run
  from flan_tune.train import allocator, stopping

  given = [one for one in ("MIXTURE_OR_TASK_NAME", "WITHOUT") if _is_bound(one, bindings)]
  for name, flag in (("MIXTURE_OR_TASK_NAME", parsed.mixture), ("WITHOUT", parsed.without)):
    if flag and name in given:
      raise errors.UserError(f"--gin.{name}: is given by a flag, too; leave one of them out")
  if parsed.mixture:
    bindings = [*bindings, f"MIXTURE_OR_TASK_NAME={parsed.mixture!r}"]
  if parsed.without:
    bindings = [*bindings, f"WITHOUT={tuple(tasks.without(parsed))!r}"]
  configured, text = gin_files.resolve(config.Run, parsed.gin_file, bindings)
  if configured.train.deterministic:
    determinism.require()  # before JAX looks for devices, as joining other processes makes it do
  allocator.keep_pages()
  with hosts.joined(parsed.coordinator, parsed.processes, parsed.process):
    try:
      run.train(configured, text, profile=parsed.profile, precompile=parsed.precompile)
    except stopping.Stopped as stopped:
      print(f"flan-tune: {stopped}; its state is saved, the same command goes on", file=sys.stderr)
      return STOPPED
  return 0


def _is_bound(name: str, bindings: Sequence[str]) -> bool:
  return any(one.partition("=")[0].strip() == name for one in bindings)


if __name__ == "__main__":
  sys.exit(main())
