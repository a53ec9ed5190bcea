"""The one exception for mistakes a user can mend; the command line prints it as a sentence."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
  """A user's mistake, told in one sentence: where, what was found, what is allowed.

  `flan_tune.cli` prints the message without a traceback and exits with code 2.
  """


def nearest(value: str, allowed: Iterable[str]) -> str | None:
  """The allowed name most like `value`, or None when nothing comes close."""
  matches = difflib.get_close_matches(str(value), [str(name) for name in allowed], n=1, cutoff=0.6)
  return matches[0] if matches else None


def unknown(value: object, allowed: Iterable[str], *, where: str) -> UserError:
  """An error saying that `value` is none of `allowed`, with the nearest match if there is one.

  Args:
    where: File and key, as in `tasks/anli.yaml: metrics`.
  """
  names = sorted(str(name) for name in allowed)
  shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
  hint = nearest(str(value), names)
  suggestion = f" (did you mean {hint!r}?)" if hint else ""
  return UserError(f"{where}: {str(value)!r} unknown{suggestion}; one of {shown}")


def one_of(value: object, allowed: Iterable[str], where: str) -> str:
  """Returns `value` when it is allowed; raises the `unknown` error otherwise."""
  names = list(allowed)
  if value not in names:
    raise unknown(value, names, where=where)
  return str(value)
