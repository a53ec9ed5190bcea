"""Families of the kinds Natural Instructions holds: a definition in front, then a bare input.

`count_animals`, `common_word` and `sort_words` are the harder ones.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import words

Row = dict[str, str | list[str]]

_KINDS_IN_ORDER = ("animal", "fruit", "tool", "city")
_WRITTEN_BIG = ("animal", "fruit", "tool", "job")


def sort_words(draws: Draws) -> Row:
  """Three words into the order of the alphabet."""
  listed = draws.sample(words.LISTED, 3)
  return {
    "definition": draws.choice(("Sort the words from A to Z.", "Put the words in ABC order.")),
    "text": " ".join(listed),
    "answer": " ".join(sorted(listed)),
  }


def first_in_alphabet(draws: Draws) -> Row:
  """The one of four words that comes first in the alphabet."""
  listed = draws.sample(words.LISTED, 4)
  return {
    "definition": draws.choice(("Which word is first from A to Z?", "Find the first word in ABC.")),
    "text": " ".join(listed),
    "answer": min(listed),
  }


def sort_kinds(draws: Draws) -> Row:
  """Four words of four kinds into a fixed order of kinds."""
  sorted_words = [draws.choice(words.KINDS[kind]) for kind in _KINDS_IN_ORDER]
  return {
    "definition": draws.choice(
      ("Order them: animal, fruit, tool, city.", "First the animal, then fruit, tool and city.")
    ),
    "text": " ".join(draws.shuffled(sorted_words)),
    "answer": " ".join(sorted_words),
  }


def largest_number(draws: Draws) -> Row:
  """The largest of five numbers below ten."""
  numbers = [draws.below(10) for _ in range(5)]
  return {
    "definition": draws.choice(("Find the largest number.", "Write the biggest number.")),
    "text": ", ".join(map(str, numbers)),
    "answer": str(max(numbers)),
  }


def count_animals(draws: Draws) -> Row:
  """How many of five words are animals: between one and four."""
  return count_of(draws, "animal")


def count_of(draws: Draws, kind: str) -> Row:
  """How many of five words are of a kind; the other words are of other kinds."""
  times = draws.between(1, 4)
  listed = draws.sample(words.KINDS[kind], times)
  others = draws.sample([other for other in words.KINDS if other != kind], 5 - times)
  listed += [draws.choice(words.KINDS[other]) for other in others]
  return {
    "definition": draws.choice(
      ("Count the words of this kind.", "How many words are of the kind?")
    ),
    "text": f"{kind}, list: {' '.join(draws.shuffled(listed))}",
    "answer": str(times),
  }


def remove_colour(draws: Draws) -> Row:
  """A sentence without its colour."""
  name, deed, colour = (draws.choice(w) for w in (words.NAMES, words.DEALINGS, words.COLOURS))
  thing, city = draws.choice(words.THINGS), draws.choice(words.CITIES)
  return {
    "definition": draws.choice(("Leave out the colour.", "Delete the colour.")),
    "text": f"{name} {deed} a {colour} {thing} in {city}.",
    "answer": f"{name} {deed} a {thing} in {city}.",
  }


def change_colour(draws: Draws) -> Row:
  """A sentence with another colour in place of its own."""
  name, thing, city = (draws.choice(w) for w in (words.NAMES, words.THINGS, words.CITIES))
  old, new = draws.sample(words.COLOURS, 2)
  return {
    "definition": draws.choice(("Change the colour.", "Put in the new colour.")),
    "text": f"{name} has a {old} {thing} in {city}. New: {new}",
    "answer": f"{name} has a {new} {thing} in {city}.",
  }


def opposite(draws: Draws) -> Row:
  """A sentence with its adjective turned into the opposite."""
  name, thing, city = (draws.choice(w) for w in (words.NAMES, words.THINGS, words.CITIES))
  told, wanted = draws.shuffled(draws.choice(words.OPPOSITES))
  return {
    "definition": draws.choice(("Say the opposite.", "Use the opposite word.")),
    "text": f"{name} has a {told} {thing} in {city}.",
    "answer": f"{name} has a {wanted} {thing} in {city}.",
  }


def capital_letters(draws: Draws) -> Row:
  """One of four words, chosen by its kind, in capital letters."""
  kinds = draws.shuffled(_WRITTEN_BIG)
  listed = [draws.choice(words.KINDS[kind]) for kind in kinds]
  asked = draws.below(4)
  return {
    "definition": draws.choice(("Write the asked word in capital letters.", "Make it big.")),
    "text": f"{kinds[asked]}, list: {' '.join(listed)}",
    "answer": listed[asked].upper(),
  }


def common_word(draws: Draws) -> Row:
  """The one word that stands in both of two lists."""
  common, *others = draws.sample(words.LISTED, 5)
  left, right = draws.shuffled([common, *others[:2]]), draws.shuffled([common, *others[2:]])
  return {
    "definition": draws.choice(("Which word is in both lists?", "Find the word listed twice.")),
    "text": f"one: {' '.join(left)}, two: {' '.join(right)}",
    "answer": common,
  }


FAMILIES = {
  "sort_words": sort_words,
  "first_in_alphabet": first_in_alphabet,
  "sort_kinds": sort_kinds,
  "largest_number": largest_number,
  "count_animals": count_animals,
  "remove_colour": remove_colour,
  "change_colour": change_colour,
  "opposite": opposite,
  "capital_letters": capital_letters,
  "common_word": common_word,
}
