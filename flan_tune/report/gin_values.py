"""Resolved configurations as names and values, and where several of them differ."""

import re
from collections.abc import Sequence

from flan_tune.report.scoreboard import MISSING

_VALUE = re.compile(r"([\w./@]+)\s*=\s*(.*)")
_BLOCK = re.compile(r"([\w./@]+)\s*:\s*")


def parse(config: str) -> dict[str, str]:
  """The values of a gin file as it writes them, by macro or by parameter.

  Values may go over several lines; a parameter may stand indented under its function's name.
  """
  found: dict[str, str] = {}
  block = last = ""
  for line in config.splitlines():
    plain = line.strip()
    if not plain or plain.startswith(("#", "import ", "from ", "include ")):
      last = ""
    elif value := _VALUE.fullmatch(plain):
      indented = line[0].isspace()
      block = block if indented else ""
      last = f"{block}.{value[1]}" if indented and block else value[1]
      found[last] = value[2]
    elif header := _BLOCK.fullmatch(line):
      block, last = header[1], ""
    elif last:
      found[last] = f"{found[last]} {plain}".strip()
  return {name: re.sub(r"\s*\\\s*", " ", value).strip() for name, value in found.items()}


def differing(several: Sequence[dict[str, str]]) -> list[tuple[str, list[str]]]:
  """Names whose values are not the same in all, with the value in each; a sign for none."""
  names = sorted({name for values in several for name in values})
  rows = [(name, [values.get(name, MISSING) for values in several]) for name in names]
  return [(name, values) for name, values in rows if len(set(values)) > 1]
