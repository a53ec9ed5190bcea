"""Memory, exchanges and time of a layout by formula: to choose which ones are worth compiling.

Parameters, optimiser's state and gradients are exact; the rest counts the large arrays that
`models` makes, and was held against compiled steps (tests/plan/test_compute.py says how closely).
Axes: b rows of a device, t positions, d model, h heads, k head width, m MLP width, v vocabulary.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from flan_tune import chips as chips_lib
from flan_tune import config as config_lib
from flan_tune import flops
from flan_tune.plan.computation import Bytes, Collective

_WIDTH = {"bfloat16": 2, "float32": 4}  # bytes of an activation
# How often a layer's weights are gathered in a step: forward, backward, and where it is computed
# again.
_GATHERS = {"none": 2, "dots": 3, "full": 3}


class Times(NamedTuple):
  """Seconds of a step that compute, communication and memory each need alone."""

  compute: float
  communication: float
  memory: float

  @property
  def step(self) -> float:
    """They overlap: the longest."""
    return max(self)


class _Stack(NamedTuple):
  """One stack of layers.

  layers; positions of a row; positions attended to, all attentions of a layer together; weights of
  one layer; how often a layer's sums go over `model` in a forward pass.
  """

  layers: int
  length: int
  seen: int
  weights: int
  sums: int


def memory(
  run: config_lib.Run,
  mesh: Mapping[str, int],
  *,
  parameters: int,
  optimizer: int,
  gradients: int,
  batch: int,
) -> Bytes:
  """Bytes of one device.

  Args:
    run: The configuration.
    mesh: Size of each axis.
    parameters: Exact, like the next three.
    optimizer: State.
    gradients: Of the parameters that learn, float32.
    batch: The device's rows.
  """
  rows = run.data.batch_size / mesh["data"] / mesh["fsdp"]
  part = rows / run.train.microbatches
  stacks, width = _stacks(run), _WIDTH[run.model.dtype]
  kept = sum(one.layers * _kept(run, one, part, mesh) for one in stacks)
  working = max(_working(run, one, part, mesh) for one in stacks)
  gathered = 0
  if mesh["fsdp"] > 1:  # a layer's weights and their gradients, before they are cut
    gathered = 2 * width * max(one.weights for one in stacks) // mesh["model"]
  again = gradients if run.train.microbatches > 1 else 0
  # Stacked layers are turned over, as the scan wants them first and T5X's names second.
  turned = parameters if run.model.scan_layers else 0
  peak = kept + turned + max(working + gathered, _logits(run, part, mesh))
  return Bytes(parameters, optimizer, gradients + again, int(peak), batch)


def _stacks(run: config_lib.Run) -> list[_Stack]:
  config, lengths = run.model, run.data.lengths
  d, width = config.emb_dim, config.num_heads * config.head_dim
  s, t = lengths["inputs"], lengths["targets"]
  if not hasattr(config, "num_encoder_layers"):
    weights = d * (2 * width + 2 * config.head_dim + 3 * config.mlp_dim)
    return [_Stack(config.num_layers, s + t, s + t, weights, 1)]
  mlp = (len(config.mlp_activations) + 1) * d * config.mlp_dim
  return [
    _Stack(config.num_encoder_layers, s, s, 4 * d * width + mlp, 2),
    _Stack(config.num_decoder_layers, t, s + t, 8 * d * width + mlp, 3),
  ]


def _kept(run: config_lib.Run, stack: _Stack, rows: float, mesh: Mapping[str, int]) -> float:
  """Bytes that a layer keeps for its gradient."""
  config, cut = run.model, mesh["model"]
  width = config.num_heads * config.head_dim
  tokens = rows * stack.length * _WIDTH[config.dtype]
  between = tokens * config.emb_dim / (cut if config.shard_length else 1)
  if config.remat == "full":
    return between
  inner = tokens * (4 * width + 2 * config.mlp_dim) / cut + tokens * config.emb_dim * stack.sums
  if config.remat == "dots":
    return between + inner
  # Norms, activations between the products, and every probability.
  more = tokens * (4 * config.emb_dim + 2 * config.mlp_dim / cut)
  probabilities = tokens * stack.seen * config.num_heads / cut
  return between + inner + more + probabilities


def _working(run: config_lib.Run, stack: _Stack, rows: float, mesh: Mapping[str, int]) -> float:
  """Bytes of one layer while its gradient is computed: attention in float32, or the MLP."""
  config, cut = run.model, mesh["model"]
  tokens, width = rows * stack.length, _WIDTH[config.dtype]
  heads = config.num_heads / cut
  # Logits and their gradient in float32; probabilities and theirs, and a copy of each.
  attention = tokens * stack.seen * heads * (8 + 4 * width)
  hidden = tokens * (4 * config.mlp_dim / cut + 4 * config.emb_dim) * width
  # T5's position bias, its gradient and this layer's part of that.
  bias = 3 * heads * stack.length**2 * 4 if hasattr(config, "num_encoder_layers") else 0
  return max(attention, hidden) + bias + 2 * tokens * config.emb_dim * 4


def _logits(run: config_lib.Run, rows: float, mesh: Mapping[str, int]) -> float:
  """Bytes of the logits and their gradient, float32, with the table gathered for them."""
  config, lengths = run.model, run.data.lengths
  decoder_only = not hasattr(config, "num_encoder_layers")
  positions = sum(lengths.values()) if decoder_only else lengths["targets"]
  if run.loss.chunk is not None:  # so many of all rows of a microbatch, on all devices together
    together = run.data.batch_size // run.train.microbatches
    positions = min(positions, max(run.loss.chunk // together, 1))
  table = config.emb_dim * (3 if mesh["fsdp"] > 1 else 1)
  return (2 * rows * positions + table) * config.vocab_size / mesh["model"] * 4


def exchanges(
  run: config_lib.Run, mesh: Mapping[str, int], *, parameters: float, trained: float
) -> tuple[Collective, ...]:
  """What one device sends in a step, by the ring algorithm.

  Args:
    run: The configuration.
    mesh: Size of each axis.
    parameters: How many the network has.
    trained: How many of them learn.
  """
  width, parts = _WIDTH[run.model.dtype], run.train.microbatches
  stacks, ways = _stacks(run), lambda n: (n - 1) / n
  layers = sum(one.layers for one in stacks)
  of_device = width / mesh["model"]
  gathers = _GATHERS[run.model.remat] * parts
  gathered = gathers * parameters * of_device * ways(mesh["fsdp"])
  scattered = parts * trained * of_device * ways(mesh["fsdp"])
  reduced = parts * 2 * trained * of_device / mesh["fsdp"] * ways(mesh["data"])
  rows = run.data.batch_size / mesh["data"] / mesh["fsdp"]
  passes = _GATHERS[run.model.remat]
  sums = sum(one.layers * one.sums * one.length for one in stacks) * passes
  summed = 2 * sums * rows * run.model.emb_dim * width * ways(mesh["model"])
  calls = parts * passes * sum(one.layers * one.sums for one in stacks)
  found = (
    Collective("all-gather", "fsdp", gathers * layers, int(gathered)),
    Collective("reduce-scatter", "fsdp", parts * layers, int(scattered)),
    Collective("all-reduce", "data", parts * layers, int(reduced)),
    Collective("all-reduce", "model", calls, int(summed)),
  )
  return tuple(sorted((one for one in found if one.bytes), key=lambda one: -one.bytes))


def times(
  run: config_lib.Run,
  memory: Bytes,
  collectives: tuple[Collective, ...],
  *,
  devices: int,
  chip: chips_lib.Chip,
  utilisation: float,
  features: str,
  trained_share: float,
) -> Times:
  """How long a step takes.

  Args:
    run: The configuration.
    memory: Of one device.
    collectives: Of a step.
    devices: That share its work.
    chip: What they are.
    utilisation: Share of the peak that compute reaches, what is computed twice counted twice.
    features: Of the network, as `flops.slots` has it.
    trained_share: Share of the parameters that learn.
  """
  work = flops.slots(features, run.data.batch_size, run.data.lengths)
  done = flops.training(run.model, work, trained_share=trained_share) + again(run, work)
  return Times(
    compute=done / devices / (chip.flops * utilisation),
    communication=math.fsum(one.bytes for one in collectives) / chip.interconnect,
    # Parameters are read and written, so are gradients and state; activations likewise.
    memory=2 * memory.total / chip.bandwidth,
  )


def again(run: config_lib.Run, work: Any) -> float:
  """Operations that REMAT has computed a second time."""
  parts = flops.forward(run.model, work)
  parts.pop("logits")
  if run.model.remat == "dots":  # products of attention have a batch dimension and are not kept
    return parts["attention_products"]
  return sum(parts.values()) if run.model.remat == "full" else 0.0
