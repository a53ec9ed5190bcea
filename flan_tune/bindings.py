"""Gin's bindings, looked over before gin acts on them: names that exist, values of the right type.

A binding is what gin's parser gives: `selector`, `arg_name` ("" for a macro), `value` and
`location`; inside a value, ("%", name) is a macro and ("@", name) a reference.
"""

import dataclasses
import importlib
import pathlib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flan_tune import assets, errors

# Types of fields that are checked, in a user's words.
_TOLD = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
  type(None): "None",
}


class Unset(errors.UserError):
  """A required value that nothing sets; `name` is its macro."""

  def __init__(self, name: str, place: str):
    super().__init__(
      f"{name} has no value: set it in the gin file or with --gin.{name}=... ({place})"
    )
    self.name = name


def check(bindings: Sequence[Any], imports: Mapping[str, str]) -> None:
  """Every name means something, and every value is of its field's type.

  Args:
    bindings: In order; later ones win.
    imports: Name of a module in the files -> its full name.

  Raises:
    UserError: A macro is unused, unknown or not set, a parameter does not exist, or a value is of
      another type than it.
  """
  macros = [one for one in bindings if not one.arg_name]
  used = {name for one in bindings for name in _names(one.value, "%")}
  assigned = {one.selector: one for one in macros}
  for one in macros:
    if one.selector not in used:
      raise errors.unknown(one.selector, used - {"gin.REQUIRED"}, where=_place(one))
  for one in bindings:
    for name in _names(one.value, "%"):
      if name not in assigned and name != "gin.REQUIRED":
        raise errors.unknown(name, assigned, where=f"{_place(one)}: %{name}")
    if one.arg_name:
      _check_parameter(one, imports)
  for name, one in assigned.items():
    if one.value == ("%", "gin.REQUIRED"):
      raise Unset(name, _place(one))
  for one in {(one.selector, one.arg_name): one for one in bindings if one.arg_name}.values():
    _check_type(one, assigned, imports)


def _check_type(binding: Any, macros: Mapping[str, Any], imports: Mapping[str, str]) -> None:
  """A value is of its field's type: "false" for False would count as true, unnoticed."""
  target = _target(binding, imports)
  if not dataclasses.is_dataclass(target):
    return
  name, value = f"{binding.selector}.{binding.arg_name}", binding.value
  while _is_macro(value):
    name, value = value[1], macros[value[1]].value
  hint = typing.get_type_hints(target)[binding.arg_name]
  allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
  if not set(allowed) <= _TOLD.keys():
    return
  found = type(value)
  if found not in allowed and not (found is int and float in allowed):
    told = " or ".join(_TOLD[one] for one in allowed)
    raise errors.UserError(f"{name} = {value!r}: expected {told}")


def _is_macro(value: Any) -> bool:
  return isinstance(value, tuple) and len(value) == 2 and value[0] == "%"


def with_macros(message: str, bindings: Sequence[Any]) -> str:
  """A message that names a class's parameter, with the macro that the user sets in its place."""
  for one in bindings:
    if one.arg_name and _is_macro(one.value):
      parameter = f"{one.selector.rpartition('.')[2]}.{one.arg_name}"
      message = re.sub(rf"\b{re.escape(parameter)}\b", one.value[1], message)
  return message


def _target(binding: Any, imports: Mapping[str, str]) -> Any:
  """The class that a binding is for; None where its module has none of that name."""
  module_name, _, class_name = binding.selector.rpartition(".")
  return getattr(importlib.import_module(imports[module_name]), class_name, None)


def _check_parameter(binding: Any, imports: Mapping[str, str]) -> None:
  module_name, _, class_name = binding.selector.rpartition(".")
  if module_name not in imports:
    known = [f"{name}.{class_name}" for name in imports]
    raise errors.unknown(binding.selector, known, where=_place(binding))
  target = _target(binding, imports)
  if target is None:
    module = importlib.import_module(imports[module_name])
    known = [
      name
      for name, value in vars(module).items()
      if isinstance(value, type) and dataclasses.is_dataclass(value)
    ]
    raise errors.unknown(class_name, known, where=f"{_place(binding)}: {module_name}")
  if dataclasses.is_dataclass(target):
    fields = [field.name for field in dataclasses.fields(target)]
    errors.one_of(binding.arg_name, fields, f"{_place(binding)}: {binding.selector}")


def _names(value: Any, sign: str) -> Iterator[str]:
  """Macros (`%`) or references (`@`) inside a parsed value."""
  if isinstance(value, tuple) and len(value) == 2 and value[0] in ("%", "@"):
    if value[0] == sign:
      yield value[1]
  elif isinstance(value, Mapping):
    for one in (*value.keys(), *value.values()):
      yield from _names(one, sign)
  elif isinstance(value, list | tuple):
    for one in value:
      yield from _names(one, sign)


def _place(statement: Any) -> str:
  location = statement.location
  if not location.filename:
    return f"--gin.{statement.selector}"
  path = pathlib.Path(location.filename)
  for folder in assets.search_path("configs"):
    if path.is_relative_to(folder):
      path = path.relative_to(folder)
  return f"{path} line {location.line_num}"
