"""Folders of runs and evaluations -> one page of HTML: scores, curves, examples, configuration."""

import importlib.util
import pathlib
from collections.abc import Sequence

from flan_tune.errors import UserError
from flan_tune.report import exam_folder, run_folder
from flan_tune.runlog import write_text

PAGE = "report.html"


def available() -> bool:
  """Whether matplotlib, which draws the plots, is installed; training does not need it."""
  return importlib.util.find_spec("matplotlib") is not None


def write(
  folder: pathlib.Path, *, models: str | None = None, output: pathlib.Path | None = None
) -> pathlib.Path:
  """Writes `report.html` into the folder of a run or of an evaluation and returns its path.

  The page holds all it shows: no script, font or picture comes from elsewhere.  The same folder
  gives the same bytes.  What is lacking (scores, evaluations) is said on the page.  A run's page
  shows the newest of its evaluations, `evaluations/*/results.json`, in full.

  Args:
    models: Published models to compare with, names or sizes separated by commas; None: the pair
      nearest in size.
    output: The page's file, if it is to be another.

  Raises:
    UserError: matplotlib is missing, `folder` holds neither, `output` cannot be written, or a
      model is unknown.
  """
  _check()
  folder = pathlib.Path(folder)
  # A run's own folder may be that of an evaluation, too; its page shows both.
  if exam_folder.is_evaluation(folder) and not run_folder.is_run(folder):
    from flan_tune.report import page  # loads matplotlib

    text = page.render_evaluation(exam_folder.read(folder), models=models)
  else:
    run = run_folder.read(folder)
    from flan_tune.report import page

    text = page.render(run, exam_folder.inside(folder), models=models)
  return _written(pathlib.Path(output or folder / PAGE), text)


def write_many(
  folders: Sequence[pathlib.Path], output: pathlib.Path, *, models: str | None = None
) -> pathlib.Path:
  """Writes one page that compares runs and evaluations, and returns its path.

  Args:
    folders: Of either kind; the first is what the others are compared with.
    output: The page's file; its folder is made.
    models: As for `write`.

  Raises:
    UserError: matplotlib is missing, a folder holds neither or is named twice, `output` cannot be
      written, or a model is unknown.
  """
  _check()
  from flan_tune.report import comparison

  text = comparison.render([pathlib.Path(folder) for folder in folders], models=models)
  return _written(pathlib.Path(output), text)


def _check() -> None:
  if not available():
    raise UserError(
      f"{PAGE} needs matplotlib, which is not installed: run `pip install 'flan_tune[report]'`"
    )


def _written(path: pathlib.Path, text: str) -> pathlib.Path:
  if path.is_dir():
    raise UserError(f"{path}: is a folder; name a file")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
  except OSError as error:
    raise UserError(f"{path}: cannot be written: {error.strerror}") from None
  return path
