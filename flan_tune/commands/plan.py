"""`flan-tune plan`: what a run will read, need and take, before any of it is spent."""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from flan_tune import errors

# Values that a run needs and a plan can do without.
_SPARED = {"MODEL_DIR": "planned", "INITIAL_CHECKPOINT_PATH": None, "VOCABULARY": ""}
_MOST_SECONDS = 30.0  # for the sample


def add(commands: argparse._SubParsersAction) -> None:
  """Adds the command to a parser."""
  plan = commands.add_parser(
    "plan", help="what a run will read, need and take, without its hardware"
  )
  plan.add_argument(
    "--gin_file", action="append", default=[], help="as for train; --gin.NAME=value overrides"
  )
  plan.add_argument("--chips", type=int, help="how many; the devices that are here without")
  plan.add_argument("--chip", help="which, as in tpu_v4; the kind that is here without")
  plan.add_argument(
    "--mesh", action="append", help="plan for this MESH only; repeatable; without it all are tried"
  )
  plan.add_argument(
    "--utilisation", type=float, default=0.4, help="share of the peak that compute reaches"
  )
  plan.add_argument("--sample", type=int, default=2000, help="examples to look at")
  plan.add_argument(
    "--most_lost",
    type=float,
    default=0.01,
    help="share of the examples that proposed lengths may leave out",
  )
  plan.add_argument("--json", type=pathlib.Path, help="a file for everything, in full")
  plan.add_argument(
    "--table2", action="store_true", help="the paper's ten models: FLOPs, ours beside theirs"
  )
  plan.set_defaults(act=_act)


def _act(parsed: argparse.Namespace, bindings: list[str]) -> int:
  _check(parsed)
  document: dict[str, Any] = {}
  if parsed.table2:
    document["table2"] = _table2()
  if parsed.gin_file or bindings or not parsed.table2:
    document |= _plan(parsed, bindings)
  if parsed.json:
    _write(parsed.json, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
  return 0


def _write(path: pathlib.Path, text: str) -> None:
  try:
    path.write_text(text, encoding="utf-8", errors="replace")
  except OSError as error:
    raise errors.UserError(f"--json={path}: cannot be written: {error.strerror}") from None


def _check(parsed: argparse.Namespace) -> None:
  """What can be told wrong before anything is read."""
  for name in ("chips", "sample"):
    value = getattr(parsed, name)
    if value is not None and value < 1:
      raise errors.UserError(f"--{name}={value}: expected a whole number, 1 or more")
  if not 0 < parsed.utilisation <= 1:
    raise errors.UserError(f"--utilisation={parsed.utilisation}: expected more than 0, at most 1")
  if not 0 <= parsed.most_lost < 1:
    raise errors.UserError(f"--most_lost={parsed.most_lost}: expected a share from 0 to below 1")
  if parsed.json and (parsed.json.is_dir() or not parsed.json.parent.is_dir()):
    raise errors.UserError(f"--json={parsed.json}: name a file in a folder that exists")


def _table2() -> list[dict[str, Any]]:
  from flan_tune.plan import mixture, printout, table2

  rows = list(table2.rows())
  printout.table2(rows)
  return mixture.as_json(rows)


def _plan(parsed: argparse.Namespace, bindings: list[str]) -> dict[str, Any]:
  from flan_tune import flops
  from flan_tune.plan import compute, hardware, mixture, printout, screen

  run, spared = _configured(parsed.gin_file, bindings)
  on = hardware.chosen(parsed.chip, parsed.chips, peak_flops=run.train.peak_flops)
  data = mixture.examine(
    run, count=parsed.sample, seconds=_MOST_SECONDS, most_lost=parsed.most_lost
  )
  printout.data(data, run)
  found = compute.of_run(
    run, chips=on.count, chip=on.chip, utilisation=parsed.utilisation, meshes=parsed.mesh
  )
  share = found.trained_parameters / found.parameters
  useful = data.flow and flops.training(run.model, data.flow.work, trained_share=share)
  printout.computation(found, on, flow=data.flow, useful_flops=useful)
  if spared:
    screen.say(f"Note: planned without {', '.join(sorted(spared))}, which the run needs.")
  return {
    "data": mixture.as_json(data),
    "computation": {**found.as_json(), "useful_flops": useful},
  }


def _configured(files: Sequence[str], given: Sequence[str]) -> tuple[Any, list[str]]:
  """A run, and the names of required values that were not given and are not needed here."""
  from flan_tune import bindings, config, gin_files

  spared: list[str] = []
  while True:
    try:
      own = [f"{name}={_SPARED[name]!r}" for name in spared]
      return gin_files.resolve(config.Run, files, [*own, *given])[0], spared
    except bindings.Unset as unset:
      if unset.name not in _SPARED or unset.name in spared:
        raise
      spared.append(unset.name)
