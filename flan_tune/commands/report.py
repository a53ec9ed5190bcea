"""`flan-tune report`: one page about a run or an evaluation, or one that compares several."""

import argparse
import pathlib


def add(commands: argparse._SubParsersAction) -> None:
  """Adds the command to a parser."""
  command = commands.add_parser("report", help="write a page about a run, or compare several")
  command.add_argument(
    "runs",
    nargs="+",
    metavar="RUN",
    type=pathlib.Path,
    help="folders of runs or evaluations; the others are compared with the first",
  )
  command.add_argument(
    "--output",
    type=pathlib.Path,
    help="the page; without it report.html, of one folder inside it, of several right here",
  )
  command.add_argument(
    "--sizes",
    help="published models to compare with: sizes (XL,8B), names (Flan-T5-XL) or none; "
    "without it those nearest in size",
  )
  command.set_defaults(act=_act)


def _act(parsed: argparse.Namespace, bindings: list[str]) -> int:
  from flan_tune import report

  if len(parsed.runs) == 1:
    path = report.write(parsed.runs[0], models=parsed.sizes, output=parsed.output)
  else:
    output = parsed.output or pathlib.Path(report.PAGE)
    path = report.write_many(parsed.runs, output, models=parsed.sizes)
  print(path)
  return 0
