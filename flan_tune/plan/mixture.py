"""What a run will read: its mixture as far as data are there, and what a sample of it says."""

import collections
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flan_tune import assembly, errors, flops
from flan_tune import config as config_lib
from flan_tune.data import mixing, tokens
from flan_tune.models import registry
from flan_tune.plan import filling, lengths, parts, sample

# Examples for the comparison of lengths, in which every pair makes some of them again.
_COMPARED = 1000
_SURE = 1.96  # standard errors, as in `filling`


class Flow(NamedTuple):
  """What a step, an epoch and the run read, expected from the sample.

  Attributes:
    used: Share of the stream's examples that are not left out.
    step_examples: In a step.
    step_tokens: Real ones in a step, on both sides.
    step_slots: Tokens computed in a step, padding included.
    tokens_error: The mean example has as many tokens as said, give or take this share of them, in
      95 of 100 samples.
    work: Of the real tokens of a step.
    epoch_examples: Examples drawn for one pass: min(cap, size) of every task with data, added up.
    epoch_tokens: Real tokens that these give.
    epoch_steps: Steps that these last.
    epochs: In TRAIN_STEPS.
    run_examples: Used by the whole run.
    run_tokens: Real ones.
    run_slots: Padding included.
  """

  used: float
  step_examples: float
  step_tokens: float
  step_slots: int
  tokens_error: float
  work: flops.Work
  epoch_examples: int
  epoch_tokens: float
  epoch_steps: float
  epochs: float
  run_examples: float
  run_tokens: float
  run_slots: int


@dataclasses.dataclass(frozen=True)
class Mixture:
  """The data half of a plan.

  Attributes:
    name: Of the mixture.
    stops: With what words the run would stop before its first step; "" if it would not.
    unsampled: Why nothing is known of the examples; "" if something is.
    groups: By group of cards.
    tasks: The same by task, those with the largest share first.
    missing: Tasks without data.
    stand_ins: Task to what is read instead of its training split.
    sampled: Examples looked at.
    wanted: So many were asked for.
    seconds: That they took.
    filled: Packed rows, or with one example a row if PACK is off.
    flow: From there to the run.
    proposed: Which lengths fill best; None where nothing was sampled or packed, or where examples
      are cut to the lengths.
  """

  name: str
  stops: str
  unsampled: str
  groups: tuple[parts.Part, ...]
  tasks: tuple[parts.Part, ...]
  missing: tuple[mixing.Missing, ...]
  stand_ins: Mapping[str, str]
  sampled: int = 0
  wanted: int = 0
  seconds: float = 0.0
  filled: filling.Filling | None = None
  flow: Flow | None = None
  proposed: lengths.Proposal | None = None


def examine(run: config_lib.Run, *, count: int, seconds: float, most_lost: float) -> Mixture:
  """Works out what a run will read.

  What would stop the run, such as data that are missing under STRICT, is told in the result.

  Args:
    run: The configuration.  Without a vocabulary (the empty text) nothing is sampled.
    count: Examples to sample.
    seconds: After which no more are.
    most_lost: Share of examples that proposed lengths may leave out.

  Raises:
    UserError: No such mixture, or no such vocabulary.
  """
  nominal = mixing.nominal(run.data.mixture, without=tuple(run.data.without))
  try:
    plan, stops = assembly.plan(run.data), ""
  except errors.UserError as error:
    plan, stops = mixing.Plan(run.data.mixture, (), ()), str(error)
  shares = parts.Shares(run.data, nominal, plan)
  why = "there is nothing to read" if stops else ""
  if not run.data.vocabulary:
    why = " and ".join(filter(None, [why, "VOCABULARY is not set, so no tokens can be counted"]))
  found = Mixture(plan.mixture, stops, why, *shares.parts(), plan.missing, plan.stand_ins)
  return found if why else _sampled(found, run, plan, shares, count, seconds, most_lost)


def as_json(value: Any) -> Any:
  """A result as JSON's types: named values become objects."""
  if dataclasses.is_dataclass(value):
    return {one.name: as_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
  if fields := getattr(value, "_fields", None):
    return {name: as_json(getattr(value, name)) for name in fields}
  if isinstance(value, Mapping):
    return {key: as_json(one) for key, one in value.items()}
  return [as_json(one) for one in value] if isinstance(value, tuple | list) else value


def _sampled(
  found: Mixture,
  run: config_lib.Run,
  plan: mixing.Plan,
  shares: parts.Shares,
  count: int,
  seconds: float,
  most_lost: float,
) -> Mixture:
  """What only a sample can say, added to what is known."""
  features = registry.ARCHITECTURES[registry.name_of(run.model)].network.features
  vocabulary = assembly.open_vocabulary(run, plan)
  recipe = assembly.recipe(run.data, plan, vocabulary, features)
  taken = sample.take(recipe, features=features, count=count, seconds=seconds)
  found = dataclasses.replace(
    found, sampled=len(taken.examples), wanted=count, seconds=taken.seconds
  )
  sizes = taken.sizes(taken.examples)
  if not sizes:
    groups, tasks = shares.parts(taken)
    return dataclasses.replace(found, unsampled=_useless(taken), groups=groups, tasks=tasks)
  filled = filling.measure(
    sizes,
    features=features,
    lengths=taken.named,
    lookahead=run.data.lookahead if run.data.pack else None,
  )
  flow = _flow(run, shares.counted, taken, sizes, filled)
  groups, tasks = shares.parts(taken, drawn=flow.run_examples / flow.used)
  return dataclasses.replace(
    found,
    groups=groups,
    tasks=tasks,
    filled=filled,
    flow=flow,
    proposed=_proposal(run, taken, most_lost),
  )


def _useless(taken: sample.Sampled) -> str:
  faults = (one.fault or one.too_long(taken.lengths) for one in taken.examples)
  counts = collections.Counter(faults).most_common(5)
  reasons = ", ".join(f"{count:,} {why}" for why, count in counts)
  return f"none of the first {len(taken.examples):,} examples can be used ({reasons})"


def _proposal(
  run: config_lib.Run, taken: sample.Sampled, most_lost: float
) -> lengths.Proposal | None:
  if not run.data.pack or run.data.objective != tokens.INSTRUCTIONS:
    return None
  few = taken.start(_COMPARED)
  return lengths.propose(few, model=run.model, lookahead=run.data.lookahead, most_lost=most_lost)


def _flow(
  run: config_lib.Run,
  counted: int,
  taken: sample.Sampled,
  sizes: Sequence[tuple[int, int]],
  filled: filling.Filling,
) -> Flow:
  rows, steps = run.data.batch_size, run.train.steps
  used = len(sizes) / len(taken.examples)
  totals = [sum(pair) for pair in sizes]
  mean = statistics.fmean(totals)
  spread = statistics.stdev(totals) if len(totals) > 1 else 0.0
  in_step = rows * filled.examples
  return Flow(
    used=used,
    step_examples=in_step,
    step_tokens=rows * filled.tokens,
    step_slots=rows * filled.slots,
    tokens_error=_SURE * spread / math.sqrt(len(totals)) / mean,
    work=_work(taken.features, sizes, rows * filled.tokens / mean),
    epoch_examples=counted,
    epoch_tokens=counted * used * mean,
    epoch_steps=counted * used / in_step,
    epochs=steps * in_step / (counted * used),
    run_examples=steps * in_step,
    run_tokens=steps * rows * filled.tokens,
    run_slots=steps * rows * filled.slots,
  )


def _work(features: str, sizes: Sequence[tuple[int, int]], examples: float) -> flops.Work:
  """Of so many examples, without padding; on average."""
  inputs, targets = (statistics.fmean(pair[side] for pair in sizes) for side in (0, 1))
  if features == "decoder_only":
    pairs = statistics.fmean(sum(pair) ** 2 for pair in sizes)
    mean = flops.Work(targets=inputs + targets, decoder_pairs=pairs)
  else:
    mean = flops.Work(
      inputs,
      targets,
      encoder_pairs=statistics.fmean(pair[0] ** 2 for pair in sizes),
      decoder_pairs=statistics.fmean(pair[1] ** 2 for pair in sizes),
      cross_pairs=statistics.fmean(pair[0] * pair[1] for pair in sizes),
    )
  return flops.Work(*(examples * one for one in mean))
