"""Instruction tuning for text-to-text models, the Flan way.

import flan_tune as ft

ft.tasks("flan_cot")                                  # cards, and what is on disk
for example in ft.examples("flan_cot", limit=5):      # rendered text, no model needed
print(example.inputs, example.targets)
model = ft.load("runs/quickstart")
model.generate(["Sort these: pear, fig, apple"])
ft.evaluate(model, ["mmlu_direct", "bbh_cot"], limit=40).rows
ft.aggregate(rows).normalized_average                 # of anybody's table of results
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from flan_tune.browse import batches, examples
  from flan_tune.errors import UserError
  from flan_tune.evaluate.aggregate import aggregate
  from flan_tune.evaluation import evaluate
  from flan_tune.listing import tasks
  from flan_tune.model import Model
  from flan_tune.pretrained import load

__all__ = [
  "Model",
  "UserError",
  "aggregate",
  "batches",
  "evaluate",
  "examples",
  "load",
  "tasks",
]

# Loaded when first used: `import flan_tune` must not cost JAX's start.
_HOMES = {
  "aggregate": "evaluate.aggregate",
  "evaluate": "evaluation",
  "batches": "browse",
  "examples": "browse",
  "tasks": "listing",
  "load": "pretrained",
  "Model": "model",
  "UserError": "errors",
}


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module 'flan_tune' has no attribute {name!r}")
  return getattr(importlib.import_module(f"flan_tune.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *_HOMES])
