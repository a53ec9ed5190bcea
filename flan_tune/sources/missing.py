"""What a source raises when its files are not on disk."""

import pathlib

from flan_tune import errors


class MissingData(errors.UserError):
  """A data set that is not there.  `path` is what was looked for, `how` is how to get it."""

  def __init__(self, path: pathlib.Path | str, how: str):
    super().__init__(f"{path}: not found; {how}")
    self.path = str(path)
    self.how = how
