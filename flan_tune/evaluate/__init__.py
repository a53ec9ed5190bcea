"""Scoring a model on tasks: prompts in, extracted answers judged, scores and what they rest on.

The package is callable: `ft.evaluate(model, ["mmlu_direct"])` is `flan_tune.evaluation.evaluate`,
since function and package have one name.
"""

import importlib
import sys
import types
from typing import Any


class _Evaluate(types.ModuleType):
  def __call__(self, *args: Any, **options: Any) -> Any:
    """See `flan_tune.evaluation.evaluate`."""
    return importlib.import_module("flan_tune.evaluation").evaluate(*args, **options)


sys.modules[__name__].__class__ = _Evaluate
