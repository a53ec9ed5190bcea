"""A run folder -> report.html: one page with curves, scores, examples and configuration."""

import importlib.util
import pathlib

from flan_tune.errors import UserError
from flan_tune.report import run_folder
from flan_tune.runlog import write_text

PAGE = "report.html"


def available() -> bool:
  """Whether matplotlib, which draws the plots, is installed; training does not need it."""
  return importlib.util.find_spec("matplotlib") is not None


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes `report.html` into a run folder and returns its path.

  The page holds all it shows: no script, font or picture comes from elsewhere.  The same folder
  gives the same bytes.  What a run lacks (scores, evaluations) is said on the page.

  Raises:
    UserError: matplotlib is missing, or `folder` holds no run.
  """
  if not available():
    raise UserError(
      f"{PAGE} needs matplotlib, which is not installed: run `pip install 'flan_tune[report]'`"
    )
  run = run_folder.read(pathlib.Path(folder))
  from flan_tune.report import page  # loads matplotlib

  path = run.folder / PAGE
  write_text(path, page.render(run))
  return path
