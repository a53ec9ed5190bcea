"""Meshes and placement: path pattern -> logical axes -> mesh axes, all of it tables.

The mesh has three axes: `data` (batch), `fsdp` (batch, and parameters cut along it) and `model`
(heads, MLP width, vocabulary; the length between layers, if asked).  One device is the 1x1x1 mesh
and takes the same path.
"""

from flan_tune.partition.checks import Dimension, check, check_batch
from flan_tune.partition.meshes import AXES, make_mesh, sizes_of
from flan_tune.partition.placement import (
  BATCH,
  RULES,
  constrain,
  logical_axes,
  path_of,
  shardings,
  ways,
)
from flan_tune.partition.rows import place, put, rows_of

__all__ = [
  "AXES",
  "BATCH",
  "RULES",
  "Dimension",
  "check",
  "check_batch",
  "constrain",
  "logical_axes",
  "make_mesh",
  "path_of",
  "place",
  "put",
  "rows_of",
  "shardings",
  "sizes_of",
  "ways",
]
