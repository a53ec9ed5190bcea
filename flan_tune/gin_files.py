"""Gin, in one place: files and bindings -> a frozen dataclass, or one sentence on what is wrong.

Gin files may import only modules of an allow-list (ours, and those named in
FLAN_TUNE_GIN_IMPORTS), checked before gin sees them: importing is running code.
"""

import importlib
import os
import pathlib
import re
import tokenize
import types
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import gin
from gin import config_parser

from flan_tune import assets, errors
from flan_tune import bindings as bindings_lib

T = TypeVar("T")
ALLOWED_IMPORTS = ("__gin__", "flan_tune")
_DYNAMIC = "__gin__.dynamic_registration"


class _Source(NamedTuple):
  """A binding, or a file with what it includes put in its place: its statements, and its text."""

  statements: list[Any]
  text: str


def resolve(what: type[T], files: Sequence[str], bindings: Sequence[str]) -> tuple[T, str]:
  """Parses gin files and `NAME=value` bindings; later ones win.

  Args:
    what: The dataclass that they configure.
    files: Names, looked up in FLAN_TUNE_PATH, the package's `configs`, and the current folder.
    bindings: As a shell hands them on; a value that is nothing else to gin is a text.

  Returns:
    What is configured, and the resolved configuration as text that parses back to the same.

  Raises:
    UserError: A file is missing or malformed, imports what it may not, names something that does
      not exist, or leaves a required value out.
  """
  if not files:
    raise errors.UserError(
      "--gin_file: no file given, such as --gin_file=experiments/quickstart.gin"
    )
  sources = [*map(_file, files), *map(_binding, bindings)]
  statements = [one for source in sources for one in source.statements]
  bound = [one for one in statements if isinstance(one, config_parser.BindingStatement)]
  modules = _modules(statements)
  bindings_lib.check(bound, modules)
  if not bindings_lib.configures(what, bound, modules):
    raise errors.UserError(f"--gin_file={', '.join(files)}: configures no {what.__name__}")
  gin.clear_config()
  try:
    # As one text: gin would look for included files in its own way, and complain as it searches.
    first = f"from __gin__ import {_DYNAMIC.rpartition('.')[2]}"
    gin.parse_config("\n".join([first, *(source.text for source in sources)]))
    found = gin.get_configurable(what)()
  except errors.UserError as error:
    told = str(error).split("\n  In call")[0]
    raise errors.UserError(bindings_lib.with_macros(told, bound)) from None
  except (ValueError, TypeError, SyntaxError, RuntimeError) as error:
    raise errors.UserError(_sentence(error)) from None
  return found, gin.config_str(max_line_length=100)


def _find(name: str, where: str) -> pathlib.Path:
  """A gin file by name: FLAN_TUNE_PATH, the package's `configs`, then the current folder."""
  folders = assets.search_path("configs")
  for folder in (*folders, pathlib.Path.cwd()):
    if os.path.isfile(folder / name):  # pathlib's raises an error at names that are too long
      return folder / name
  known = [str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.gin")]
  raise errors.unknown(name, known, where=where)


def _file(name: str, where: str = "--gin_file", within: tuple[str, ...] = ()) -> _Source:
  """Reads a file and those it includes, and checks what they import; `where` names it."""
  if name in within:
    raise errors.UserError(f"{name}: includes itself through {' -> '.join(within)}")
  path = _find(name, where)
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
    with path.open(encoding="utf-8") as file:
      parsed = _parsed(file, name)
  except OSError as error:
    raise errors.UserError(f"{name}: cannot be read: {error.strerror}") from None
  except UnicodeDecodeError:
    raise errors.UserError(f"{name}: is no text in UTF-8, so no gin file") from None
  statements = []
  for statement in parsed:
    if isinstance(statement, config_parser.IncludeStatement):
      place = f"{name} line {statement.location.line_num}"
      included = _file(statement.filename, place, (*within, name))
      statements += included.statements
      lines[statement.location.line_num - 1] = included.text
      continue
    if isinstance(statement, config_parser.ImportStatement):
      _check_import(statement, name)
      if statement.module == _DYNAMIC:  # gin wants it once, before all else: `resolve` says it
        lines[statement.location.line_num - 1] = ""
        continue
    statements.append(statement)
  return _Source(statements, "\n".join(lines))


def _binding(told: str) -> _Source:
  """`NAME=value` with a value that is no Python literal, macro or reference put in quotes."""
  name, sign, value = (part.strip() for part in told.partition("="))
  if not (sign and re.fullmatch(r"[\w./]+", name)):
    raise errors.UserError(f"--gin.{told}: expected --gin.NAME=value")
  try:
    known = len(list(config_parser.ConfigParser(f"X = {value}", _References()))) == 1
  except (SyntaxError, ValueError, tokenize.TokenError):
    known = False
  text = f"{name} = {value if known else repr(value)}"
  return _Source(_parsed(text, f"--gin.{name}"), text)


class _References(config_parser.ParserDelegate):
  """Stands in for gin's objects while we look a file over: names only, nothing is imported."""

  def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
    return ("@", scoped_configurable_name)

  def macro(self, name: str) -> Any:
    return ("%", name)


def _parsed(source: Any, where: str) -> list[Any]:
  try:
    return list(config_parser.ConfigParser(source, _References()))
  except SyntaxError as error:
    line = f" line {error.lineno}" if error.lineno else ""
    raise errors.UserError(f"{where}{line}: {error.msg}: {(error.text or '').strip()!r}") from None
  except tokenize.TokenError as error:
    raise errors.UserError(f"{where}: {error.args[0]}: a bracket or quote is not closed") from None


def _check_import(statement: Any, name: str) -> None:
  named = os.environ.get("FLAN_TUNE_GIN_IMPORTS", "")
  allowed = (*ALLOWED_IMPORTS, *(one.strip() for one in named.split(",") if one.strip()))
  module = statement.module
  if not any(module == one or module.startswith(f"{one}.") for one in allowed):
    raise errors.UserError(
      f"{name} line {statement.location.line_num}: import of {module!r} is not allowed; allowed"
      f" are {', '.join(allowed)}; name it in FLAN_TUNE_GIN_IMPORTS if you trust it"
    )


def _modules(statements: Sequence[Any]) -> dict[str, types.ModuleType]:
  """What the statements import, all of which is allowed, by the names that selectors begin with."""
  found = {}
  for one in statements:
    if isinstance(one, config_parser.ImportStatement):
      try:
        module = importlib.import_module(one.module)
      except ImportError as error:
        where = bindings_lib.place(one)
        raise errors.UserError(f"{where}: import of {one.module!r}: {error}") from None
      last = one.module.rpartition(".")[2]
      found[one.alias or (last if one.is_from else one.module)] = module
  return found


def _sentence(error: Exception) -> str:
  """Gin's message without the dump of the configuration that follows it."""
  text = str(error)
  missing = re.search(r"Required bindings for `([^`]+)` not provided[^:]*: \[([^\]]*)\]", text)
  if missing:
    return f"{missing[1]}: required and not set: {missing[2]}"
  first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
  return re.sub(r"\s+", " ", first)
