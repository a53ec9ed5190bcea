"""What a plan says of the computation: plain numbers, which `as_json` turns into JSON."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bytes:
  """Memory of one device during a step.

  Attributes:
    parameters: All of them, learning or not.
    optimizer: The optimiser's state.
    gradients: Of the parameters that learn, float32; with microbatches their sum and those of one.
    activations: What the step computes besides: activations kept for the gradient, weights gathered
      from other devices, logits.
    batch: The rows of the batch that the device holds.
  """

  parameters: int
  optimizer: int
  gradients: int
  activations: int
  batch: int

  @property
  def total(self) -> int:
    """All together."""
    return self.parameters + self.optimizer + self.gradients + self.activations + self.batch


@dataclasses.dataclass(frozen=True)
class Collective:
  """All exchanges of one kind along the same axes, in one step.

  Attributes:
    kind: "all-gather", "all-reduce", "reduce-scatter", "all-to-all" or "collective-permute".
    axes: Mesh axes that exchange, as in "fsdp" or "data+fsdp"; "?" where they are not told.
    count: How often in a step, turns of loops counted.
    bytes: What one device sends in all of them, by the ring algorithm.
  """

  kind: str
  axes: str
  count: int
  bytes: int


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One way to lay the run over the devices.

  Attributes:
    mesh: As MESH takes it; "data=1,fsdp=32,model=16".
    microbatches: As MICROBATCHES takes it.
    remat: As REMAT takes it.
    configured: Whether it is what the configuration asks for, in all three.
    source: "compiled" (memory and collectives of the real step, compiled for virtual devices) or
      "estimate" (by formula).
    memory: Of each device.
    fits: Whether that is within the chip's memory but for 3 % of it, left to its runtime.
    left: Bytes of that memory still free; negative where it does not fit.
    collectives: The largest first.
    compute_seconds: FLOPs with what REMAT computes again, at the stated utilisation of the peak.
    communication_seconds: Bytes of collectives over all links of the interconnect: a lower bound
      of what they take where nothing overlaps.
    memory_seconds: Bytes of parameters, gradients, state and activations over the chip's memory
      bandwidth, each read and written once: a lower bound.
    step_seconds: The longest of the three: communication hides behind compute where it can.
    note: What to know about this row; may be empty.
  """

  mesh: str
  microbatches: int
  remat: str
  configured: bool
  source: str
  memory: Bytes
  fits: bool
  left: int
  collectives: tuple[Collective, ...]
  compute_seconds: float
  communication_seconds: float
  memory_seconds: float
  step_seconds: float
  note: str = ""

  @property
  def settings(self) -> dict[str, Any]:
    """The gin macros that ask for it."""
    return {"MESH": self.mesh, "MICROBATCHES": self.microbatches, "REMAT": self.remat}


@dataclasses.dataclass(frozen=True)
class Computation:
  """Size, work and time of a run on given chips.

  Attributes:
    chip: Name, as in `flan_tune.chips`.
    chips: How many.
    devices: As JAX counts them: two a chip on TPU v2 and v3.
    chip_memory: Bytes of each device.
    chip_flops: FLOP/s of each device, at most.
    utilisation: Share of that assumed.
    parameters: Of the network, exactly.
    trained_parameters: Those that learn.
    slots: Token slots of a step on all sides, padding included.
    flops_by_part: Of a forward pass over all slots, by part.
    flops: Of a training step over all slots (`flops.training`), without what REMAT computes again.
    rule_flops: The same by the rule of thumb of Table 2 (`flops.rule_of_thumb`).
    steps: Of the run.
    run_flops: `flops` times `steps`.
    candidates: Best first: those that fit before those that do not, then by step time.
    notes: Sentences on how the numbers came about and what to change where nothing fits.
    seconds: What planning took.
  """

  chip: str
  chips: int
  devices: int
  chip_memory: int
  chip_flops: float
  utilisation: float
  parameters: int
  trained_parameters: int
  slots: int
  flops_by_part: dict[str, float]
  flops: float
  rule_flops: float
  steps: int
  run_flops: float
  candidates: tuple[Candidate, ...]
  notes: tuple[str, ...]
  seconds: float

  @property
  def best(self) -> Candidate | None:
    """The first candidate, if it fits."""
    return next((one for one in self.candidates[:1] if one.fits), None)

  @property
  def run_seconds(self) -> float | None:
    """Of all steps."""
    return self.best.step_seconds * self.steps if self.best else None

  @property
  def chip_hours(self) -> float | None:
    """Of all steps on all chips."""
    return None if self.run_seconds is None else self.run_seconds * self.chips / 3600

  def as_json(self) -> dict[str, Any]:
    """Dicts, lists, strings and numbers; with the totals that are computed above."""
    told = dataclasses.asdict(self)
    for one, row in zip(self.candidates, told["candidates"], strict=True):
      row["memory"]["total"] = one.memory.total
    return {**told, "run_seconds": self.run_seconds, "chip_hours": self.chip_hours}
