"""What a run costs on given chips: FLOPs, memory, exchanges, time and the mesh to take.

Nothing of it needs the chips: all meshes are weighed by formula (`plan.estimate`), and the step is
compiled for the best of them (`plan.step`).
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax

from flan_tune import chips as chips_lib
from flan_tune import config as config_lib
from flan_tune import errors, flops
from flan_tune.plan import estimate, layouts, step, virtual
from flan_tune.plan.computation import Bytes, Candidate, Collective, Computation

__all__ = ["Bytes", "Candidate", "Collective", "Computation", "of_run"]

# Of a device's memory; the rest is for its runtime and for what does not pack (an assumption).
_USABLE = 0.97
_COMPILED = 2  # candidates that fit and are compiled
_AT_ONCE = 2  # compilers, of .7 GiB each for 540B on 512 devices
_SECONDS = 45.0  # for compiling: no more is begun after them
_OF_A_GPU = 0.75  # share of its memory that JAX takes unless it is told otherwise
_IN_A_MACHINE = 8  # GPUs that NVLink joins, at most
_SHORT = 0.01  # seconds of a step below which what is not counted may take longer


class _Study(NamedTuple):
  """What all candidates of a plan have in common."""

  subject: layouts.Subject
  chip: chips_lib.Chip
  utilisation: float
  asked: layouts.Layout | None  # what the configuration asks for, if it is possible
  parameters: int
  trained: int


def of_run(
  run: config_lib.Run,
  *,
  chips: int,
  chip: chips_lib.Chip,
  utilisation: float = 0.4,
  meshes: Sequence[str] | None = None,
) -> Computation:
  """Plans a run.

  Args:
    run: Its MESH, MICROBATCHES and REMAT are one of the candidates, if they are possible at all.
    chips: How many.
    chip: Which.
    utilisation: Share of the chip's peak that compute reaches.
    meshes: Only these, as MESH takes them; None: all that divide, of which the best are compiled.

  Raises:
    UserError: A number out of range, or no mesh fits the devices, the batch and the dimensions.
  """
  began = time.monotonic()
  _check(chips, utilisation)
  subject = layouts.subject(run, chips * chip.per_chip)
  asked, notes = _asked(run, subject)
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  state = subject.parts.state
  trained = count(state.params)
  study = _Study(subject, chip, utilisation, asked, trained + count(state.frozen), trained)
  rated = sorted((_fitting(study, one) for one in _layouts(subject, meshes)), key=_order)
  rated = _compile_best(study, rated, everything=meshes is not None)
  return Computation(
    chip=chip.name,
    chips=chips,
    devices=subject.devices,
    chip_memory=chip.memory,
    chip_flops=chip.flops,
    utilisation=utilisation,
    parameters=study.parameters,
    trained_parameters=trained,
    steps=run.train.steps,
    candidates=tuple(rated),
    notes=(*notes, *_notes(run, rated), *_notes_on_chips(run, chip, chips, rated[0])),
    seconds=time.monotonic() - began,
    **_work(study),
  )


def _check(chips: int, utilisation: float) -> None:
  if not 0 < utilisation <= 1:
    raise errors.UserError(f"--utilisation={utilisation}: expected a share above 0, at most 1")
  if chips < 1:
    raise errors.UserError(f"--chips={chips}: expected a whole number, 1 or more")


def _work(study: _Study) -> dict[str, Any]:
  run, features = study.subject.run, study.subject.parts.network.features
  work = flops.slots(features, run.data.batch_size, run.data.lengths)
  step_flops = flops.training(run.model, work, trained_share=study.trained / study.parameters)
  is_pair = features == "encoder_decoder"
  return {
    "slots": int(work.tokens),
    "flops_by_part": flops.forward(run.model, work),
    "flops": step_flops,
    "rule_flops": flops.rule_of_thumb(study.parameters, work.tokens, encoder_decoder=is_pair),
    "run_flops": step_flops * run.train.steps,
  }


def _asked(run: config_lib.Run, subject: layouts.Subject) -> tuple[layouts.Layout | None, list]:
  try:
    return layouts.configured(subject, run.train.dcn_mesh), []
  except errors.UserError as error:
    return None, [f"The configuration's own mesh does not do: {error}."]


def _layouts(subject: layouts.Subject, meshes: Sequence[str] | None) -> list[layouts.Layout]:
  if meshes is not None:
    return [layouts.given(subject, mesh) for mesh in meshes]
  found, run = list(layouts.all_of(subject)), subject.run
  if not found:
    raise errors.UserError(
      f"--chips: no data x fsdp x model of {subject.devices} devices divides BATCH_SIZE ="
      f" {run.data.batch_size}, MICROBATCHES = {run.train.microbatches} and the model's dimensions;"
      " powers of two do, where the batch has enough rows"
    )
  return found


def _fitting(study: _Study, layout: layouts.Layout) -> Candidate:
  """The layout by formula; where it does not fit, the first smaller one that does."""
  first = _estimated(study, layout)
  if first.fits:
    return first
  tried = (_estimated(study, one) for one in layouts.smaller(study.subject, layout))
  return next((one for one in tried if one.fits), first)


def _estimated(study: _Study, layout: layouts.Layout) -> Candidate:
  run, sizes = layout.of(study.subject.run), layout.sizes(study.subject.devices)
  parts = study.subject.parts
  exact = step.bytes_of_device(run, parts, study.subject.mesh(layout))
  memory = estimate.memory(run, sizes, **exact)
  sent = estimate.exchanges(run, sizes, parameters=study.parameters, trained=study.trained)
  return _candidate(study, layout, memory, sent, source="estimate")


def _compiled(study: _Study, layout: layouts.Layout, seconds: float) -> Candidate:
  """Raises virtual.Failed."""
  run = layout.of(study.subject.run)
  told = virtual.measured(run, devices=study.subject.devices, seconds=seconds)
  gradients = told["gradients"] * (2 if layout.microbatches > 1 else 1)
  memory = Bytes(
    told["parameters"],
    told["optimizer"],
    gradients,
    max(told["temporary"] + told["new"] - gradients, 0),
    told["batch"],
  )
  sent = tuple(Collective(**one) for one in told["collectives"])
  return _candidate(study, layout, memory, sent, source="compiled")


def _candidate(study: _Study, layout, memory: Bytes, sent, *, source: str) -> Candidate:
  times = estimate.times(
    layout.of(study.subject.run),
    memory,
    sent,
    devices=study.subject.devices,
    chip=study.chip,
    utilisation=study.utilisation,
    features=study.subject.parts.network.features,
    trained_share=study.trained / study.parameters,
  )
  return Candidate(
    **layout._asdict(),
    configured=layout == study.asked,
    source=source,
    memory=memory,
    fits=memory.total <= _USABLE * study.chip.memory,
    left=study.chip.memory - memory.total,
    collectives=sent,
    compute_seconds=times.compute,
    communication_seconds=times.communication,
    memory_seconds=times.memory,
    step_seconds=times.step,
  )


def _order(one: Candidate) -> tuple:
  """Best first; what is known from the compiler before what is estimated."""
  return (
    not one.fits,
    one.source != "compiled",
    one.step_seconds if one.fits else one.memory.total,
    one.communication_seconds,
  )


def _compile_best(study: _Study, rated: list[Candidate], *, everything: bool) -> list[Candidate]:
  """Replaces estimates by what the compiler says, from the best on while there is time."""
  end = time.monotonic() + _SECONDS
  # A layout that is too large by formula need not be compiled to be told so, but for the nearest.
  waiting = [one for one in rated if everything or one.fits or one is rated[0]]
  # The best one alone, so that it has been told at least when a busy machine's time is up; then
  # the configuration's own, wherever it ranks.
  waiting[1:] = sorted(waiting[1:], key=lambda one: not one.configured)
  count = _AT_ONCE if everything else 1
  done: list[Candidate] = []
  with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
    while waiting and (left := end - time.monotonic()) > 1:
      if not everything and sum(one.fits for one in done) >= _COMPILED:
        break
      now, waiting, count = waiting[:count], waiting[count:], _AT_ONCE
      done += pool.map(functools.partial(_replaced, study, seconds=left), now)
  told = {one.mesh: one for one in done}
  return sorted((told.get(one.mesh, one) for one in rated), key=_order)


def _replaced(study: _Study, one: Candidate, *, seconds: float) -> Candidate:
  try:
    return _compiled(study, layouts.Layout(one.mesh, one.microbatches, one.remat), seconds)
  except virtual.Failed as error:
    return dataclasses.replace(one, note=f"{error}; an estimate")


def _notes(run: config_lib.Run, rated: Sequence[Candidate]) -> list[str]:
  notes = []
  if run.train.dcn_mesh is not None:
    notes.append(
      "Meshes here are of all slices together: divide by"
      f" DCN_MESH = {run.train.dcn_mesh!r} for MESH; exchanges between slices count as if they were"
      " within one."
    )
  if run.model.attention_kernel != "xla":
    notes.append(
      f"Planned with ATTENTION_KERNEL = 'xla', which takes more memory than"
      f" {run.model.attention_kernel!r}."
    )
  if any(one.source == "compiled" for one in rated):
    notes.append(
      "Compiled rows are of the real training step, laid out over virtual devices by XLA's compiler"
      " for CPUs; an accelerator's keeps fewer temporary arrays."
    )
    if not run.model.scan_layers:
      notes.append("They have their layers scanned, which SCAN_LAYERS = False does not.")
  if not rated[0].fits:
    need = min(one.memory.total for one in rated) / 2**30
    notes.append(
      f"Nothing fits: the smallest takes {need:.1f} GiB of each device; use more chips or chips"
      " with more memory, shorter lengths, LOSS_CHUNK, SHARD_LENGTH or LORA_RANK."
    )
  return notes


def _notes_on_chips(
  run: config_lib.Run, chip: chips_lib.Chip, count: int, best: Candidate
) -> Iterator[str]:
  """What these chips do to a run, and the figures do not tell."""
  is_gpu = bool(chip.kinds) and not chip.name.startswith("tpu")
  if is_gpu and run.model.dtype != chip.dtype:  # a TPU multiplies float32 as bfloat16
    yield (
      f"{chip.name} reaches its peak in {chip.dtype}, and this run has ACTIVATION_DTYPE ="
      f" {run.model.dtype!r}: state a lower --utilisation, or change the type."
    )
  if is_gpu and best.fits and best.memory.total > _OF_A_GPU * chip.memory:
    yield (
      f"JAX takes {_OF_A_GPU:.0%} of a GPU's memory, which is too little here: set"
      " XLA_CLIENT_MEM_FRACTION=.95 in the run's environment."
    )
  if is_gpu and count > _IN_A_MACHINE:
    yield (
      f"Exchanges count as if all {count:,} GPUs were in one machine; between machines they take"
      " longer."
    )
  if chip.kinds and best.step_seconds < _SHORT:
    yield "So short a step takes longer: launching its kernels and feeding it are not counted."
