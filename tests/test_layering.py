"""Who may import whom.  The table below is the order in which the package is built up."""

import ast
import pathlib
import sys
from typing import NamedTuple

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "flan_tune"


class Row(NamedTuple):
  """What a module may import besides the rows above it and the standard library."""

  third_parties: frozenset[str] = frozenset()
  own_row: bool = False  # files of one package may import each other
  not_from: frozenset[str] = frozenset()  # rows above that are closed to it all the same


def row(third_parties: str = "", *, own_row: bool = False, not_from: str = "") -> Row:
  return Row(frozenset(third_parties.split()), own_row, frozenset(not_from.split()))


# JAX is built on NumPy, so a row with jax has both; jaxtyping says the shapes of their arrays.
JAX = "jax numpy jaxtyping"
# The two halves meet at the bottom: training knows functions, not networks or files.
HALVES = "models checkpoint seqio_io"

TABLE = {
  "errors": row(),
  "draws": row(),
  "denoising": row(),
  "assets": row(),
  "text": row(own_row=True),
  "templating": row(),
  "metrics": row("numpy"),
  "vocab": row("sentencepiece"),
  "checked": row(),
  "documents": row("yaml"),
  "foreach": row(),
  "families": row(),
  "cards": row(),
  "contamination": row(),
  "sources": row("numpy pyarrow tensorflow_datasets", own_row=True),
  "render": row("numpy"),
  "marked": row(),
  "batch": row("numpy"),
  "lm_batch": row("numpy"),
  "converters": row("numpy"),
  "packing": row("numpy"),
  "data": row("grain numpy absl", own_row=True),  # absl: Grain's workers read its flags
  "benchmarks": row(own_row=True),
  "listing": row(),
  "doctor": row(),
  "overlap": row("numpy", own_row=True),
  "fetch": row(own_row=True),
  "chips": row(),
  "flops": row("numpy"),
  "hosts": row(JAX, own_row=True),
  "determinism": row(JAX),
  "compilation": row(JAX),
  "profiling": row(JAX),
  "mesh": row(JAX),
  "partition": row(JAX, own_row=True),
  "models": row(f"flax {JAX}", own_row=True),
  "checkpoint": row(f"orbax tensorstore msgpack ml_dtypes {JAX}", own_row=True),
  "optim": row(f"optax {JAX}"),
  "runlog": row("tensorboardX numpy"),
  "run_lock": row(),
  "efficiency": row(JAX),
  "train": row(f"optax {JAX}", own_row=True, not_from=HALVES),
  # lm_eval is lm-evaluation-harness, whose progress bars are tqdm's.
  "evaluate": row("numpy lm_eval tqdm", own_row=True, not_from=HALVES),
  "seqio_io": row("tensorflow seqio numpy", own_row=True),
  "report": row("matplotlib numpy", own_row=True, not_from="seqio_io"),
  "gallery": row(own_row=True, not_from="seqio_io"),
  "console": row("rich", not_from="seqio_io"),
  "printout": row("rich", not_from="seqio_io"),
  "config": row(not_from="seqio_io"),
  "bindings": row(),
  "gin_files": row("gin"),
  "eval_config": row(),
}
# Last row: these join the halves and import each other, and only they may import seqio_io.
JOINERS = {
  "browse": row("numpy", own_row=True),
  "assembly": row(JAX, own_row=True),
  "frozen": row(JAX, own_row=True),
  "whole": row(JAX, own_row=True),
  "scorecard": row("numpy", own_row=True),
  "evaluation": row(JAX, own_row=True),
  "session": row(JAX, own_row=True),
  "run": row(JAX, own_row=True),
  "plan": row(f"rich {JAX}", own_row=True),
  "model": row(JAX, own_row=True),
  "pretrained": row(JAX, own_row=True),
  "convert": row(JAX, own_row=True),
  "harness": row("lm_eval", own_row=True),
  "__init__": row(own_row=True),
  "commands": row(own_row=True),
  "cli": row(
    " ".join({name for entry in TABLE.values() for name in entry.third_parties}), own_row=True
  ),
}
ORDER = {name: place for place, name in enumerate(TABLE)} | dict.fromkeys(JOINERS, len(TABLE))
ROWS = TABLE | JOINERS
# Looked up when called, because the package shares its name with that function.
LATE = {("evaluate/__init__.py", "flan_tune.evaluation")}
# The heavy or unstable libraries: each is met in one row, so that leaving it touches one row.
BOLD = ("flax", "gin", "grain", "orbax", "seqio", "tensorflow")


def imported(source: str) -> set[str]:
  """Full names of all modules a source imports: at the top, inside functions, or by name."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    match node:
      case ast.Import(names=names):
        found |= {alias.name for alias in names}
      case ast.ImportFrom(level=0, module=str(module), names=names):
        # `from flan_tune import cards` imports a module, `from flan_tune.cards import X` a name.
        found |= {f"{module}.{a.name}" for a in names} if module == "flan_tune" else {module}
      case ast.ImportFrom():
        raise ValueError(f"line {node.lineno}: relative import; write the full name")
      case ast.Call(
        func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
        args=[ast.Constant(value=str(name)), *_],
      ):
        found.add(name)
  return found


def row_of(path: pathlib.Path) -> str:
  """The row of a file: its package or module directly under flan_tune."""
  first = path.relative_to(PACKAGE).parts[0]
  return first.removesuffix(".py")


def own_target(name: str) -> str:
  """The row that `flan_tune.x.y` belongs to; the package itself and its names are `__init__`."""
  parts = name.split(".")
  return parts[1] if len(parts) > 1 and parts[1] in ROWS else "__init__"


def violations(source: str, here: str, *, gathers: bool = False) -> list[str]:
  """What a file of the row `here` may not import; `gathers` for a package's own `__init__`."""
  entry, found = ROWS[here], []
  for name in sorted(imported(source)):
    top = name.split(".")[0]
    if top in sys.stdlib_module_names:
      continue
    if top != "flan_tune":
      if top not in entry.third_parties:
        found.append(f"{here} imports {name}: not among its third parties")
      continue
    target = own_target(name)
    if target == here and (entry.own_row or gathers):
      continue
    if target in JOINERS and here in JOINERS:
      continue
    if ORDER[target] >= ORDER[here] or target in entry.not_from:
      found.append(f"{here} imports {name}: not a row above it that it may use")
  return found


def files() -> list[pathlib.Path]:
  return sorted(path for path in PACKAGE.rglob("*.py") if "_assets" not in path.parts)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_row_allows(path):
  here = row_of(path)
  assert here in ROWS, f"{path.name}: give the new module a row in the table of this test"
  known = str(path.relative_to(PACKAGE))
  source = path.read_text()
  for file, name in LATE:
    source = source.replace(f'import_module("{name}")', "late") if file == known else source
  assert not violations(source, here, gathers=path.name == "__init__.py")


@pytest.mark.parametrize("library", BOLD)
def test_a_bold_library_has_one_row(library):
  rows = [name for name, entry in ROWS.items() if library in entry.third_parties]
  assert len([name for name in rows if name != "cli"]) == 1


def test_no_module_is_named_after_nothing():
  """A function that fits nowhere is a missing noun, not a reason for a drawer."""
  drawers = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
  assert not [path for path in files() if path.stem in drawers]


@pytest.mark.parametrize(
  ("here", "source"),
  [
    ("text", "from flan_tune import cards"),
    ("templating", "from flan_tune.templating import Template"),
    ("cards", "import flan_tune.render"),
    ("render", "def late():\n  import jax"),
    ("render", "import importlib\nimportlib.import_module('tensorflow')"),
    ("train", "from flan_tune.models import t5"),
    ("evaluate", "from flan_tune import checkpoint"),
    ("config", "import flan_tune"),
    ("config", "import flan_tune as ft\nft.load"),
    ("report", "from flan_tune import load"),
    ("train", "try:\n  import grain.python\nexcept ImportError:\n  pass"),
    ("run", "from orbax import checkpoint"),
  ],
)
def test_a_planted_import_is_noticed(here, source):
  assert len(violations(source, here)) == 1


def test_what_the_table_allows_is_not_noticed():
  assert not violations("import json\nimport jax.numpy as jnp\nimport optax", "train")
  assert not violations("from flan_tune.models import layers\nfrom flax import nnx", "models")
  assert not violations("from flan_tune import model, run, seqio_io", "cli")
  assert not violations("from flan_tune.text import options", "text", gathers=True)


def test_relative_imports_are_refused():
  with pytest.raises(ValueError, match="line 1: relative import"):
    imported("from . import cards")
