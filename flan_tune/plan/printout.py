"""What `flan-tune plan` prints: the mixture, its packing, the computation, and Table 2."""

import re
from collections.abc import Iterable, Iterator, Sequence

from flan_tune import config as config_lib
from flan_tune.data import mixing
from flan_tune.plan import computation as computation_lib
from flan_tune.plan import filling, hardware, lengths, mixture, parts, screen
from flan_tune.plan import table2 as table2_lib

_TASKS, _MESHES = 12, 8  # lines; JSON has the rest


def data(found: mixture.Mixture, run: config_lib.Run) -> None:
  """Prints the data half of a plan: mixture, packing and lengths."""
  present = sum(part.present for part in found.groups)
  all_tasks = sum(part.tasks for part in found.groups)
  screen.title(f"Mixture {found.name}: {present:,} of {all_tasks:,} tasks have data")
  if found.stops:
    screen.say(f"This run would stop before its first step: {found.stops}")
  _shares("group", found.groups)
  if present and len(found.tasks) > 1:
    _shares("task", found.tasks[:_TASKS])
    screen.rest(len(found.tasks) - _TASKS, "tasks")
  if found.missing and not found.stops:
    one = found.missing[0]
    screen.say(
      f"Missing: {len(found.missing):,} tasks, whose share the others have, as in {one.task}:"
      f" {mixing.by_variable(one.how)}; flan-tune data status {found.name} lists them"
    )
  if found.stand_ins:
    task, told = next(iter(found.stand_ins.items()))
    screen.say(
      f"Stand-ins: {len(found.stand_ins):,} tasks have no training split on disk and are read from"
      f" another, as in {task}: {mixing.by_variable(told)}"
    )
  _packing(found, run)
  if found.proposed:
    _lengths(found.proposed, run)


def _shares(what: str, listed: Iterable[parts.Part]) -> None:
  """What the examples are drawn from."""
  groups = what == "group"
  columns = ("share", "if\ncomplete", "rows\ncounted", "rows", "passes")
  table = screen.table(what, *["tasks"] * groups, *columns)
  for part in listed:
    many = [f"{part.present:,} of {part.tasks:,}"] * groups
    shares = (screen.share(part.rate, 2), screen.share(part.nominal, 2))
    passes = "" if part.passes is None else f"{part.passes:,.2f}"
    table.add_row(part.name, *many, *shares, f"{part.counted:,}", f"{part.rows:,}", passes)
  screen.show(table)


def _sizes(what: str, listed: Iterable[parts.Part]) -> None:
  """What they are like; what befalls none of them has no column."""
  rare = {
    "too\nlong": lambda part: sum(part.too_long.values()),
    "left\nout": lambda part: sum(part.faults.values()),
    "no ex-\nemplar\nfits": lambda part: part.bare,
  }
  listed = tuple(listed)
  rare = {title: count for title, count in rare.items() if any(map(count, listed))}
  sides = [
    title for side in ("inputs", "targets") for title in (f"{side}\nmean", "\n95 %", "\nmost")
  ]
  table = screen.table(what, "sampled", *sides, *rare)
  for part in listed:
    sizes = [
      cell
      for side in (part.inputs, part.targets)
      for cell in ((f"{side.mean:,.0f}", f"{side.p95:,}", f"{side.most:,}") if side else ("",) * 3)
    ]
    counts = [count(part) for count in rare.values()]
    shown = (screen.share(count / part.sampled) if count else "" for count in counts)
    table.add_row(part.name, f"{part.sampled:,}", *sizes, *shown)
  screen.show(table)


def _packing(found: mixture.Mixture, run: config_lib.Run) -> None:
  inputs, targets = run.data.lengths["inputs"], run.data.lengths["targets"]
  way = f"packed, looking ahead {run.data.lookahead}" if run.data.pack else "one example a row"
  screen.title(
    f"Rows of {inputs:,} inputs and {targets:,} targets, {run.data.batch_size:,} a step, {way}"
  )
  if found.filled is None or found.flow is None:
    screen.say(f"Nothing is known of the examples: {found.unsampled}.")
    return
  _sizes("group", found.groups)
  if len(found.tasks) > 1:
    _sizes("task", found.tasks[:_TASKS])
    screen.rest(len(found.tasks) - _TASKS, "tasks")
  short = "" if found.sampled == found.wanted else f" of {found.wanted:,}: the time was up"
  long = sum(sum(part.too_long.values()) for part in found.groups)
  rule = "dropped" if run.data.long == "drop" else "cut"
  screen.facts(
    ("sample", f"{found.sampled:,} examples{short}, {found.seconds:.1f} s"),
    ("too long", f"{screen.share(long / found.sampled)} of the examples, {rule}"),
    *_filled(found.filled),
    *_flow(found.flow, run.train.steps),
  )


def _filled(filled: filling.Filling) -> Iterator[tuple[str, str]]:
  sides = [
    f"{name} {screen.share(side)}, "
    for name, side in (("inputs", filled.inputs), ("targets", filled.targets))
    if side is not None
  ]
  both = f"both {screen.share(filled.both)} ± {100 * filled.error:.1f}"
  yield "slots that hold tokens", f"{''.join(sides)}{both}"
  yield "padding", screen.share(1 - filled.both)
  yield "examples in a row", f"{filled.examples:.2f}"


def _flow(flow: mixture.Flow, steps: int) -> Iterator[tuple[str, str]]:
  yield (
    "step",
    f"{flow.step_examples:,.0f} examples, {flow.step_tokens:,.0f} real tokens in"
    f" {flow.step_slots:,} slots",
  )
  yield (
    "epoch",
    f"{flow.epoch_examples:,} examples drawn, {flow.epoch_tokens:,.0f} real tokens"
    f" ± {screen.share(flow.tokens_error)}, {flow.epoch_steps:,.0f} steps",
  )
  yield (
    f"run of {steps:,} steps",
    f"{flow.epochs:,.2f} epochs, {flow.run_examples:,.0f} examples, {flow.run_tokens:,.0f} real"
    f" tokens in {flow.run_slots:,} slots",
  )


def _lengths(found: lengths.Proposal, run: config_lib.Run) -> None:
  screen.title(
    f"Lengths, by packing {found.examples:,} of the examples; {run.data.batch_size:,} rows a step"
  )
  rows_hold = ("slots\nfilled", "too\nlong", "real tokens\na row", "FLOP a\nreal token")
  table = screen.table("", "inputs", "targets", *rows_hold)
  for pair in found.tried:
    marks = [name for name, one in (("now", found.now), ("best", found.best)) if one == pair]
    table.add_row(
      ", ".join(marks),
      f"{pair.inputs:,}",
      f"{pair.targets:,}",
      screen.share(pair.filling.both),
      screen.share(pair.lost),
      f"{pair.filling.tokens:,.0f}",
      screen.exponent(pair.flops),
    )
  screen.show(table)
  best, now = found.best, found.now
  if best == now:
    screen.say("The run's lengths fill as well as any of these.")
    return
  rows = run.data.batch_size * now.filling.tokens / best.filling.tokens
  instead = f"instead of {screen.share(now.filling.both)}"
  if best.filling.slots < now.filling.slots:
    instead = f"in rows of {best.filling.slots:,}, those of {now.filling.slots:,}"
    instead += f" {screen.share(now.filling.both)}"
  screen.say(
    f'TASK_FEATURE_LENGTHS = {{"inputs": {best.inputs}, "targets": {best.targets}}} fills'
    f" {screen.share(best.filling.both)} {instead}; BATCH_SIZE = {max(1, round(rows))} then has"
    " about as many real tokens a step as now."
  )


def computation(
  found: computation_lib.Computation,
  on: hardware.Hardware,
  *,
  flow: mixture.Flow | None,
  useful_flops: float | None,
) -> None:
  """Prints the other half: the network, the meshes, memory, exchanges and time.

  Args:
    found: The computation.
    on: What it is on.
    flow: The run's tokens, where known.
    useful_flops: Operations of a step's real tokens, where known.
  """
  screen.title(f"Network on {found.chips:,} x {found.chip}")
  learning = "all of which learn"
  if found.trained_parameters != found.parameters:
    learning = f"of which {found.trained_parameters:,} learn"
  total = sum(found.flops_by_part.values()) or 1.0
  by_part = (
    f"{name.replace('_', ' ')} {screen.share(value / total)}"
    for name, value in found.flops_by_part.items()
  )
  real = (
    "" if useful_flops is None else f", {screen.share(useful_flops / found.flops)} for real tokens"
  )
  screen.facts(
    ("parameters", f"{found.parameters:,}, {learning}"),
    ("FLOPs of a step", f"{screen.exponent(found.flops)} for {found.slots:,} slots{real}"),
    ("of which", ", ".join(by_part)),
    ("by the rule of thumb", f"{screen.exponent(found.rule_flops)} a step"),
    ("FLOPs of the run", f"{screen.exponent(found.run_flops)} in {found.steps:,} steps"),
    (
      "a device",
      f"{screen.size(found.chip_memory)}, {found.chip_flops / 1e12:,.4g} TFLOP/s at most in"
      f" {on.chip.dtype} ({on.told}); {screen.share(found.utilisation, 0)} of it assumed",
    ),
  )
  _meshes(found)
  if found.candidates:
    _collectives(found.candidates[0])
  _verdict(found, flow)
  for note in found.notes:
    screen.say(f"Note: {note}")


def _verdict(found: computation_lib.Computation, flow: mixture.Flow | None) -> None:
  best, seconds, hours = found.best, found.run_seconds, found.chip_hours
  if best is None or seconds is None or hours is None:
    screen.say("No mesh fits.")
    return
  speed = "" if flow is None else f", {flow.step_tokens / best.step_seconds:,.0f} real tokens/s"
  take = " ".join(f"--gin.{name}={value}" for name, value in best.settings.items())
  screen.facts(
    ("take", f"{take}{', as configured' if best.configured else ''}"),
    (
      "a step",
      f"{screen.duration(best.step_seconds)} at {screen.share(found.utilisation, 0)} of the peak"
      f"{speed}",
    ),
    ("the run", f"{screen.duration(seconds)}, {hours:,.1f} chip hours"),
  )


def _meshes(found: computation_lib.Computation) -> None:
  listed = found.candidates[:_MESHES]
  unit, name = screen.unit_of_bytes(max((one.memory.total for one in listed), default=0))
  layout = ("data", "fsdp", "model", "micro", "remat")
  of_memory = ("params", "state", "grads", "activ.", "in all", "free")
  memory = screen.table(*layout, "from", *of_memory)
  second = max((one.step_seconds for one in listed), default=1.0)
  scale, clock = (1000, "ms") if second < 1 else (1, "s")
  times = screen.table(*layout, "compute", "exchange", "memory", "step", "note")
  for one in listed:
    first = (*re.findall(r"=(\d+)", one.mesh), str(one.microbatches), one.remat)
    of = one.memory
    sizes = (of.parameters, of.optimizer, of.gradients, of.activations, of.total, one.left)
    memory.add_row(*first, one.source, *(screen.decimal(size / unit) for size in sizes))
    seconds = (one.compute_seconds, one.communication_seconds, one.memory_seconds, one.step_seconds)
    notes = ["as configured"] * one.configured + ["too large"] * (not one.fits)
    note = "; ".join(filter(None, [*notes, one.note]))
    times.add_row(*first, *(screen.digits(scale * value) for value in seconds), note)
  screen.say(f"Memory of a device in {name}:")
  screen.show(memory)
  screen.say(f"Times of a step in {clock}:")
  screen.show(times)
  screen.rest(len(found.candidates) - _MESHES, "meshes")


def _collectives(one: computation_lib.Candidate) -> None:
  if not one.collectives:
    return
  table = screen.table("kind", "axes", "a step", "sent by a device")
  for each in one.collectives:
    table.add_row(each.kind, each.axes, f"{each.count:,}", screen.size(each.bytes))
  screen.say(f"Exchanges of a step on {one.mesh} ({one.source}):")
  screen.show(table)


def table2(rows: Sequence[table2_lib.Row]) -> None:
  """Prints the models of the paper's Table 2 beside what our configurations give."""
  screen.title("Finetuning FLOPs, Chung et al. 2022, table 2")
  table = screen.table(
    "network", "parameters", "steps", "rows x\nslots", "paper", "by the\nrule", "", "every\nmatrix"
  )
  for row in rows:
    table.add_row(
      row.printed.model,
      f"{row.printed.parameters / 1e6:,.0f} M",
      f"{row.steps:,}",
      f"{row.batch_size} x {row.inputs + row.targets:,}",
      f"{row.printed.finetuning:.1E}",
      f"{row.rule_printed_steps:.1E}",
      "equal" if row.agrees else f"{row.difference:+.1%}",
      f"{row.exact:.1E}",
    )
  screen.show(table)
  for row in rows:
    if row.printed.steps:
      screen.say(
        f"{row.printed.model}: the paper's figure is of {row.printed.steps:,} steps; its"
        f" {row.steps:,} are {row.rule:.1E} by the rule."
      )
  screen.say(
    "By the rule: 6 operations a parameter and token, 3 in an encoder-decoder, with the parameters"
    " as the paper rounds them and every slot a token. Every matrix: products of our own network"
    " counted one by one, attention's among them."
  )
