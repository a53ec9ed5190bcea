"""The page's examples to read: what was written before and after, by what became of it."""

from collections.abc import Iterable
from typing import Any

from flan_tune.report.markup import Markup, breakable, element, join
from flan_tune.report.run_folder import Record, Run
from flan_tune.report.visible import shortened

_PER_TASK = 2  # of each sort: variety before number
_PER_SORT = 24
_CHARACTERS = 4000  # of each text: a few-shot prompt of 2,048 tokens is longer than anyone reads

# (right before, right after) -> heading; None: not said.
_SORTS = {
  (False, True): "Learned: wrong before, right after",
  (False, False): "Still wrong",
  (True, False): "Lost: right before, wrong after",
  (True, True): "Right before and after",
  (None, True): "Right",
  (None, False): "Wrong",
}


def section(run: Run) -> Markup:
  """Examples by sort, each unfolding to its prompt, target and answers."""
  if not run.samples:
    return element("p", "No examples were recorded.")
  parts = [element("p", f"{len(run.samples):,} examples were recorded.")]
  for sort, heading in _SORTS.items():
    members = [record for record in run.samples if _sort(record) == sort]
    if members:
      parts.append(_sorted_part(heading, members))
  others = [record for record in run.samples if _sort(record) not in _SORTS]
  if others:
    parts.append(_sorted_part("Not judged", others))
  return join(parts)


def _sort(record: Record) -> tuple[bool | None, bool | None]:
  return _verdict(record.get("right_before")), _verdict(record.get("right_after"))


def _verdict(value: Any) -> bool | None:
  return bool(value) if isinstance(value, bool | int | float) else None


def _sorted_part(heading: str, members: list[Record]) -> Markup:
  chosen = list(_varied(members))
  left = len(members) - len(chosen)
  more = f"; {left:,} more in samples.jsonl" if left else ""
  title = element("h3", f"{heading} ({len(members):,}{more})")
  shown = [_example(record, open_=i == 0) for i, record in enumerate(chosen)]
  return join([title, *shown])


def _varied(members: list[Record]) -> Iterable[Record]:
  """The first few of every task, up to a limit."""
  taken: dict[str, int] = {}
  for record in members:
    task = str(record.get("task"))
    if taken.get(task, 0) < _PER_TASK and sum(taken.values()) < _PER_SORT:
      taken[task] = taken.get(task, 0) + 1
      yield record


def _example(record: Record, *, open_: bool) -> Markup:
  kind = str(record.get("kind") or "")
  head = element(
    "summary",
    element("strong", breakable(str(record.get("task") or "unnamed task"))),
    f" {kind} " if kind else " ",
    element("span", _glimpse(record.get("after")), class_="quiet"),
  )
  fields = [("Prompt", "inputs"), ("Target", "targets")]
  # The target of a chain of thought holds the answer; say it apart only then.
  if record.get("answer") not in (None, record.get("targets")):
    fields.append(("Answer", "answer"))
  texts = [(name, record.get(key)) for name, key in fields]
  texts.append((_judged("Before tuning", record.get("right_before")), record.get("before")))
  texts.append((_judged("After tuning", record.get("right_after")), record.get("after")))
  entries = [part for name, value in texts if value is not None for part in _entry(name, value)]
  return element("details", head, element("dl", *entries), class_="example", open=open_)


def _glimpse(written: Any) -> str:
  """The end of what the tuned model wrote: where a chain of thought has its answer."""
  line = " ".join(str(written or "").split())
  return line if len(line) <= 70 else f"…{line[-69:]}"


def _judged(name: str, verdict: Any) -> Markup:
  right = _verdict(verdict)
  if right is None:
    return join([name])
  word = element("span", "right" if right else "wrong", class_="up" if right else "down")
  return join([name, ": ", word])


def _entry(name: str, value: Any) -> tuple[Markup, Markup]:
  shown = shortened(str(value), _CHARACTERS)
  body = element("pre", shown) if shown.strip() else element("em", "(nothing)")
  return element("dt", name), element("dd", body)
