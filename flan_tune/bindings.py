"""Gin's bindings, looked over before gin acts on them: names that exist, values of the right type.

A binding is what gin's parser gives: `scope`, `selector`, `arg_name` ("" for a macro), `value` and
`location`; inside a value, ("%", name) is a macro and ("@", name) a reference.  Modules are those
that the files import, by the names that selectors begin with.
"""

import dataclasses
import pathlib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flan_tune import assets, errors

Modules = Mapping[str, types.ModuleType]
_REQUIRED = "gin.REQUIRED"
# Types of fields that are checked, in a user's words.
_TOLD = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
  type(None): "None",
}


class Unset(errors.UserError):
  """A required value that nothing sets; `name` is its macro, or its parameter without one."""

  def __init__(self, name: str, where: str):
    super().__init__(
      f"{name} has no value: set it in the gin file or with --gin.{name}=... ({where})"
    )
    self.name = name


def check(bindings: Sequence[Any], modules: Modules) -> None:
  """Every name means something, and every value is of its field's type.

  Args:
    bindings: In order; later ones win.
    modules: What selectors begin with.

  Raises:
    UserError: A macro is unused, unknown, not set or its own value, a class or parameter does not
      exist, or a value is of another type than it.
  """
  used = {name for one in bindings for name in _names(one.value, "%")}
  macros = {one.selector: one for one in bindings if not one.arg_name}
  for one in bindings:
    if one.scope:
      raise errors.UserError(
        f"{place(one)}: scopes as {one.scope!r} mean nothing here; leave it out"
      )
    if not one.arg_name and one.selector not in used:
      raise errors.unknown(one.selector, used - {_REQUIRED}, where=place(one))
    for name in _names(one.value, "%"):
      if name not in macros and name != _REQUIRED:
        raise errors.unknown(name, macros, where=f"{place(one)}: %{name}")
    for name in _names(one.value, "@"):
      _class(name, modules, where=f"{place(one)}: @{name}")
    if one.arg_name:
      _check_parameter(one, modules)
  for name, one in macros.items():
    _check_circle(name, macros)
    if one.value == ("%", _REQUIRED):
      raise Unset(name, place(one))
  for one in {(one.selector, one.arg_name): one for one in bindings if one.arg_name}.values():
    _check_type(one, macros, modules)


def configures(what: type, bindings: Sequence[Any], modules: Modules) -> bool:
  """Whether bindings, which `check` has seen, set a parameter of a class."""
  return any(_class(one.selector, modules, where="") is what for one in bindings if one.arg_name)


def _check_circle(name: str, macros: Mapping[str, Any], within: tuple[str, ...] = ()) -> None:
  if name in within:
    told = " -> ".join(f"%{one}" for one in (*within, name))
    raise errors.UserError(f"{place(macros[name])}: {name} is its own value: {told}")
  for one in _names(macros[name].value, "%"):
    if one in macros:
      _check_circle(one, macros, (*within, name))


def _check_type(binding: Any, macros: Mapping[str, Any], modules: Modules) -> None:
  """A value is of its field's type: "false" for False would count as true, unnoticed."""
  target = _class(binding.selector, modules, where=place(binding))
  name, value = f"{binding.selector}.{binding.arg_name}", binding.value
  if value == ("%", _REQUIRED):
    raise Unset(name, place(binding))
  if not dataclasses.is_dataclass(target):
    return
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


def _class(selector: str, modules: Modules, *, where: str) -> Any:
  """What a selector such as `config.Data` stands for."""
  module_name, _, name = selector.rpartition("/")[2].rpartition(".")
  found = getattr(modules.get(module_name), name, None)
  if found is None:
    known = [
      f"{prefix}.{one}"
      for prefix, module in modules.items()
      for one, value in vars(module).items()
      if isinstance(value, type) and dataclasses.is_dataclass(value)
    ]
    raise errors.unknown(selector, known, where=where)
  return found


def _check_parameter(binding: Any, modules: Modules) -> None:
  where = place(binding)
  target = _class(binding.selector, modules, where=where)
  if dataclasses.is_dataclass(target):
    fields = [field.name for field in dataclasses.fields(target)]
    errors.one_of(binding.arg_name, fields, f"{where}: {binding.selector}")


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


def place(statement: Any) -> str:
  """Where a statement stands: a file and its line, or the flag."""
  location = statement.location
  if not location.filename:
    return f"--gin.{statement.selector}"
  path = pathlib.Path(location.filename)
  for folder in assets.search_path("configs"):
    if path.is_relative_to(folder):
      path = path.relative_to(folder)
  return f"{path} line {location.line_num}"
