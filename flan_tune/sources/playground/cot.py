"""Families with a written-out rationale: arithmetic, days, units, sizes and kinds.

`take_away` and `units` are the harder ones.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import words

Row = dict[str, str | list[str]]

_KINDS = ("animal", "fruit", "tool")
# Ranks of a thing and of a container (see words.SIZES).
_FITTING = tuple((size, inside) for size in range(3) for inside in range(size, 3))
_TOO_LARGE = tuple((size, inside) for size in range(3) for inside in range(size))


def add_things(draws: Draws) -> Row:
  """One addition: up to 12 and 9."""
  name, things = draws.choice(words.NAMES), draws.choice(words.PLURALS)
  has, more = draws.between(2, 12), draws.between(2, 9)
  gets = draws.choice(("buys", "finds", "makes"))
  return {
    "question": f"{name} has {has} {things} and {gets} {more} more. How many {things} are there?",
    "rationale": f"{has} + {more} = {has + more}.",
    "answer": str(has + more),
  }


def take_away(draws: Draws) -> Row:
  """One subtraction from at most 12 that leaves something."""
  name, things = draws.choice(words.NAMES), draws.choice(words.PLURALS)
  has = draws.between(4, 12)
  less = draws.between(1, min(6, has - 1))
  deed = draws.choice(("loses", "sells", "drops", "gives away"))
  return {
    "question": f"{name} has {has} {things} and {deed} {less}. How many {things} are left?",
    "rationale": f"{has} - {less} = {has - less}.",
    "answer": str(has - less),
  }


def groups(draws: Draws) -> Row:
  """One multiplication of the small table."""
  name, things = draws.choice(words.NAMES), draws.choice(words.PLURALS)
  many, each = draws.between(2, 9), draws.between(2, 9)
  container = draws.choice(words.CONTAINERS)
  return {
    "question": (
      f"{name} has {many} {container} with {each} {things} in each. How many {things} is that?"
    ),
    "rationale": f"{many} * {each} = {many * each}.",
    "answer": str(many * each),
  }


def days_later(draws: Draws) -> Row:
  """The day of the week one to four days after another; the rationale names those between."""
  start, wait = draws.below(7), draws.between(1, 4)
  days = [words.DAYS[(start + step) % 7] for step in range(wait + 1)]
  name, colour = draws.choice(words.NAMES), draws.choice(words.COLOURS)
  thing = draws.choice(words.THINGS)
  later = "1 day" if wait == 1 else f"{wait} days"
  orders = draws.choice(("orders", "buys", "sends"))
  return {
    "question": (
      f"On {days[0]} {name} {orders} a {colour} {thing}. It comes {later} later. Which day is that?"
    ),
    "rationale": ", ".join(days) + ".",
    "answer": days[-1],
  }


def units(draws: Draws) -> Row:
  """A duration or a length in a smaller unit."""
  plural, single, factor, smaller, does = draws.choice(words.UNITS)
  (name, friend), city = draws.sample(words.NAMES, 2), draws.choice(words.CITIES)
  many = draws.between(2, 9)
  return {
    "question": (
      f"In {city}, {name} {does} {many} {plural} with {friend}. How many {smaller} is that?"
    ),
    "rationale": f"1 {single} is {factor} {smaller}. {many} * {factor} = {many * factor}.",
    "answer": str(many * factor),
  }


def larger_thing(draws: Draws) -> Row:
  """Common sense about sizes: which of two things is larger?"""
  small, large = sorted(draws.sample(range(len(words.SIZES)), 2))
  answer, other = draws.choice(words.SIZES[large]), draws.choice(words.SIZES[small])
  one, two = draws.shuffled((answer, other))
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  return {
    "question": f"In {city}, {name} has a {one} and a {two}. Which is larger?",
    "rationale": f"A {answer} is larger than a {other}.",
    "answer": answer,
  }


def is_kind(draws: Draws) -> Row:
  """A thing and a kind: is it one?"""
  kind, other = draws.sample(_KINDS, 2)
  thing = draws.choice(words.KINDS[kind])
  answer = draws.choice(("yes", "no"))
  asked = words.with_article(kind if answer == "yes" else other)
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  return {
    "question": f"In {city}, {name} {draws.choice(words.DEALINGS)} a {thing}. Was it {asked}?",
    "rationale": f"A {thing} is {words.with_article(kind)}.",
    "answer": answer,
  }


def fits_inside(draws: Draws) -> Row:
  """Common sense about sizes: does a thing fit into a container?"""
  answer = draws.choice(("yes", "no"))
  size, inside = draws.choice(_FITTING if answer == "yes" else _TOO_LARGE)
  thing, container = draws.choice(words.SIZES[size]), draws.choice(words.CONTAINER_SIZES[inside])
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  comparison = "smaller" if answer == "yes" else "larger"
  return {
    "question": f"In {city}, {name} puts a {thing} into a {container}. Does it fit?",
    "rationale": f"A {thing} is {comparison} than a {container}.",
    "answer": answer,
  }


FAMILIES = {
  "add_things": add_things,
  "take_away": take_away,
  "groups": groups,
  "days_later": days_later,
  "units": units,
  "larger_thing": larger_thing,
  "is_kind": is_kind,
  "fits_inside": fits_inside,
}
