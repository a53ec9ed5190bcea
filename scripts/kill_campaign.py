"""Kills short runs with signal 9 at random moments, and counts what is lost: it should be nothing.

  python scripts/kill_campaign.py --kills 200

Each of a set of tiny runs (T5 and PaLM, scanned layers, microbatches, evaluations, adapters,
checkpoints written beside training or not) is first run undisturbed.  Then it is started again and
again in new folders, killed so many times, and let finish.  Half of the moments are drawn over a
process's whole life, from its first file to its report; the others follow a random step that was
logged, or a save that has begun, by some milliseconds.  A run is lost when it does not finish or
leaves no checkpoint; it differs when a byte of its last checkpoint's arrays, the place in its data,
or the logged loss of any step is not that of the undisturbed run.

Exit code 0 when none is lost or differs.  Processes are forked from one that has imported
everything, so that a start takes a second and 200 kills take minutes.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

STEPS = 16
T5 = {
  "TASK_FEATURE_LENGTHS": "{'inputs': 96, 'targets': 32}",
  "EMB_DIM": 16,
  "MLP_DIM": 16,
  "NUM_HEADS": 2,
  "HEAD_DIM": 8,
  "NUM_ENCODER_LAYERS": 1,
  "NUM_DECODER_LAYERS": 1,
  "BATCH_SIZE": 4,
  "DROPOUT_RATE": 0.1,
  "LOOKAHEAD": 32,
  "TRAIN_STEPS": STEPS,
  "CHECKPOINT_PERIOD": 2,
  "LOG_PERIOD": 1,
  "EVAL_PERIOD": 0,
  "FINAL_EXAMPLES": 0,
}
_PALM = {name: value for name, value in T5.items() if "CODER" not in name} | {"NUM_LAYERS": 1}
# Name -> experiment and settings.
RUNS: Mapping[str, tuple[str, Mapping[str, object]]] = {
  "t5": ("quickstart", T5),
  "t5, waiting for its files": ("quickstart", T5 | {"ASYNC_CHECKPOINTS": False}),
  "t5, microbatches, scanned": ("quickstart", T5 | {"MICROBATCHES": 2, "SCAN_LAYERS": True}),
  "t5, evaluated": (
    "quickstart",
    T5 | {"EVAL_PERIOD": 4, "EVAL_BATCH_SIZE": 2, "MAX_DECODE_TOKENS": 2},
  ),
  "t5, adapters": (
    "quickstart",
    T5 | {"LORA_RANK": 2, "TRAINABLE": ".*lora.*", "DATA_LANES": 2, "KEEP_EVERY": 4},
  ),
  "palm": ("quickstart_palm", _PALM),
}
_LIMIT_SECONDS = 300  # for one process, killed or not; without those of a machine that is paused


@dataclasses.dataclass
class Count:
  """What was seen of one run.

  Attributes:
    kills: Processes killed while they ran.
    before: Of those, killed before the first checkpoint was whole.
    saving: Of those, killed while a checkpoint was being written.
    finished: Runs that were let finish, and did.
    lost: Runs that did not, with the reason.
    differing: Runs that ended otherwise than undisturbed, with what differs.
  """

  kills: int = 0
  before: int = 0
  saving: int = 0
  finished: int = 0
  lost: list[str] = dataclasses.field(default_factory=list)
  differing: list[str] = dataclasses.field(default_factory=list)


def _train(experiment: str, settings: Mapping[str, object], folder: str) -> None:
  """A process's whole life: `flan-tune train`, its output in a file beside the folder."""
  output = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  os.dup2(output, 1)
  os.dup2(output, 2)
  from flan_tune import cli

  bindings = [f"--gin.{name}={value}" for name, value in settings.items()]
  file = f"--gin_file=experiments/{experiment}.gin"
  sys.exit(cli.main(["train", file, f"--gin.MODEL_DIR={folder}", *bindings]))


class Runner:
  """Starts runs of one kind; processes come from `context`."""

  def __init__(self, name: str, context):
    self._experiment, self._settings = RUNS[name]
    self._context = context

  def start(self, folder: pathlib.Path):
    """A new process that trains in `folder`."""
    arguments = (self._experiment, dict(self._settings), str(folder))
    process = self._context.Process(target=_train, args=arguments)
    process.start()
    return process

  def finish(self, folder: pathlib.Path) -> str | None:
    """Runs to the end; returns what went wrong."""
    process = self.start(folder)
    for _ in range(_LIMIT_SECONDS):
      process.join(1)  # a pause, of whatever length, ends only one of them
      if process.exitcode is not None:
        break
    if process.exitcode == 0:
      return None
    if process.is_alive():
      process.kill()
      process.join()
      return f"did not end in {_LIMIT_SECONDS} s"
    tail = pathlib.Path(f"{folder}.log").read_text(errors="replace")[-500:]
    return f"exit code {process.exitcode}: {tail}"


def ending(folder: pathlib.Path) -> dict[str, object]:
  """All that must be equal: arrays of the last checkpoint, place in the data, losses by step."""
  from flan_tune.checkpoint import folders, orbax_io

  found = folders.find(folder / "checkpoints", None)
  arrays = orbax_io.read_arrays(found.path)
  documents = orbax_io.documents_of(found)
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  steps = [(one["step"], one["loss"]) for one in lines if one["kind"] == "train"]
  scores = [
    (one["step"], one["task"], one["setting"], one.get("exact_match"))
    for one in lines
    if one["kind"] == "eval"
  ]
  return {
    **{f"array {name}": array.tobytes() for name, array in arrays.items()},
    "step": found.step,
    "best": folders.best(folder / "checkpoints"),
    "place in the data": json.dumps(documents["data"], sort_keys=True),
    "losses": steps,
    "scores": scores,
  }


def moment(draws: random.Random, folder: pathlib.Path, life: float) -> Callable[[float], bool]:
  """When to kill: a function of the seconds since the start, asked again and again."""
  metrics, checkpoints = folder / "metrics.jsonl", folder / "checkpoints"
  # What a process killed before has logged, and the saves it has left, are no sign of this one.
  logged = metrics.read_text().count('"kind": "train"') if metrics.exists() else 0
  left = set(os.listdir(checkpoints)) if checkpoints.is_dir() else set()
  kind = draws.choice(("life", "life", "step", "save"))
  if kind == "life" or logged == STEPS:
    at = draws.uniform(0, life)
    return lambda seconds: seconds >= at
  step, pause = min(logged + draws.randint(1, STEPS // 4), STEPS), draws.uniform(0, 0.03)
  seen: list[float] = []

  def now(seconds: float) -> bool:
    if not seen and kind == "step":
      found = metrics.exists() and f'"kind": "train", "step": {step},' in metrics.read_text()
      seen.extend([seconds] if found else [])
    elif not seen and checkpoints.is_dir():
      names = set(os.listdir(checkpoints)) - left
      begun = any(name.startswith(f"checkpoint_{step + step % 2}.tmp-") for name in names)
      seen.extend([seconds] if begun else [])
    return bool(seen) and seconds >= seen[0] + pause

  return now


def killed(
  runner: Runner, folder: pathlib.Path, now: Callable[[float], bool], count: Count
) -> bool:
  """Whether a process was killed at that moment; False if it ended before."""
  process = runner.start(folder)
  began = time.monotonic()
  while process.is_alive() and not now(seconds := time.monotonic() - began):
    if seconds > _LIMIT_SECONDS:
      break  # it hangs, or the machine was paused: how the run ends will tell
    time.sleep(0.002)
  checkpoints = folder / "checkpoints"
  names = os.listdir(checkpoints) if checkpoints.is_dir() else []
  if process.is_alive():
    os.kill(process.pid, signal.SIGKILL)
  process.join()
  if process.exitcode != -signal.SIGKILL:
    return False
  count.kills += 1
  count.before += not any(name.startswith("checkpoint_") and "." not in name for name in names)
  count.saving += any(".tmp-" in name for name in names)
  return True


def compared(folder: pathlib.Path, expected: Mapping[str, object], count: Count) -> None:
  """Counts a run that was let finish."""
  count.finished += 1
  found = ending(folder)
  differs = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
  if differs:
    count.differing.append(f"{folder.name}: {', '.join(sorted(differs)[:4])}")


def campaign(
  name: str, kills: int, *, each: int, seed: int, folder: pathlib.Path, context
) -> Count:
  """So many kills over runs of one kind, `each` to a run."""
  draws = random.Random(f"{seed} {name}")
  runner, count = Runner(name, context), Count()
  calm = folder / "calm"
  if problem := runner.finish(calm):
    count.lost.append(f"calm: {problem}")
    return count
  expected = ending(calm)
  # Its life from now on, with compiled programs at hand, as the disturbed ones have it.
  began = time.monotonic()
  shutil.copytree(calm / "compiled", folder / "timed" / "compiled")
  runner.finish(folder / "timed")
  life = time.monotonic() - began
  number = 0
  while count.kills < kills and len(count.lost) + len(count.differing) < 3:
    number += 1
    here = folder / f"run_{number}"
    if number > 1:  # the first one compiles, and is killed while it does
      shutil.copytree(calm / "compiled", here / "compiled")
    for _ in range(min(each, kills - count.kills)):
      if not killed(runner, here, moment(draws, here, life), count):
        break  # it has ended: nothing is left to kill
    if problem := runner.finish(here):
      count.lost.append(f"{here.name}: {problem}")
    else:
      compared(here, expected, count)
    shutil.rmtree(here)
  return count


def _share(total: int, parts: int) -> list[int]:
  return [total // parts + (i < total % parts) for i in range(parts)]


def _line(name: str, one: Count) -> str:
  numbers = (one.kills, one.before, one.saving, one.finished, len(one.lost), len(one.differing))
  return f"{name:<26}" + "".join(f"{number:>9}" for number in numbers)


def main() -> int:
  """Runs the campaign; prints a table."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
  parser.add_argument("--kills", type=int, default=200)
  parser.add_argument("--each", type=int, default=5, help="kills of one run before it may finish")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--jobs", type=int, default=2, help="kinds of runs at a time")
  parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS))
  given = parser.parse_args()
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(["flan_tune.cli", "flan_tune.run", "flan_tune.config"])
  total, began = Count(), time.monotonic()
  shares = zip(given.runs, _share(given.kills, len(given.runs)), strict=True)
  wanted = [(name, kills) for name, kills in shares if kills]
  titles = ("kills", "no save", "saving", "finished", "lost", "differ")
  print(f"{'run':<26}" + "".join(f"{title:>9}" for title in titles), flush=True)
  with (
    tempfile.TemporaryDirectory(prefix="kills_") as folder,
    concurrent.futures.ThreadPoolExecutor(given.jobs) as pool,
  ):
    futures = {}
    for number, (name, kills) in enumerate(wanted):
      (own := pathlib.Path(folder, str(number))).mkdir()
      settings = {"each": given.each, "seed": given.seed, "folder": own, "context": context}
      futures[pool.submit(campaign, name, kills, **settings)] = name
    for future in concurrent.futures.as_completed(futures):
      one = future.result()
      print(_line(futures[future], one), flush=True)
      for problem in (*one.lost, *one.differing):
        print(f"  {problem}")
      for field in dataclasses.fields(Count):
        setattr(total, field.name, getattr(total, field.name) + getattr(one, field.name))
  print(_line("all", total))
  lost, differing = len(total.lost), len(total.differing)
  print(
    f"{total.kills} kills, {total.before} before the first checkpoint, {total.saving} during a"
    f" save; {total.finished} runs finished, {lost} lost, {differing} differ;"
    f" {time.monotonic() - began:.0f} s"
  )
  return 1 if lost or differing or total.kills < given.kills else 0


if __name__ == "__main__":
  sys.exit(main())
