"""A run as JSON, for the process that compiles its step: plain values, no gin and no files."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flan_tune import config as config_lib
from flan_tune.models import registry

_PARTS = {
  "data": config_lib.Data,
  "optimizer": config_lib.Optimizer,
  "loss": config_lib.Loss,
  "evaluation": config_lib.Evaluation,
  "train": config_lib.Train,
}


def to_json(run: config_lib.Run) -> dict[str, Any]:
  """Everything of a run."""
  told = {name: dataclasses.asdict(getattr(run, name)) for name in _PARTS}
  told["model"] = dataclasses.asdict(run.model)
  return {**told, "architecture": registry.name_of(run.model)}


def from_json(told: Mapping[str, Any]) -> config_lib.Run:
  """The run again."""
  model = registry.configuration(told["architecture"], told["model"], where="plan")
  return config_lib.Run(model, **{name: made(**told[name]) for name, made in _PARTS.items()})


def with_settings(
  run: config_lib.Run, *, mesh: str, microbatches: int, remat: str
) -> config_lib.Run:
  """The run laid out in another way; its layers scanned, as a plan compiles them.

  A scanned stack takes as much memory a layer as one written out, and compiles in seconds.  Kernels
  for GPUs are none for the compiler of CPUs, so attention is XLA's, which takes more memory.
  """
  train = dataclasses.replace(run.train, mesh=mesh, dcn_mesh=None, microbatches=microbatches)
  model = dataclasses.replace(run.model, remat=remat, scan_layers=True, attention_kernel="xla")
  return dataclasses.replace(run, train=train, model=model)
