"""Families that are never trained on.  Each is a relative of a trained skill, named in its text.

Their own training split serves as few-shot exemplars.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import words

Row = dict[str, str | list[str]]


def recommend(draws: Draws) -> Row:
  """Relative of `sentiment`: the same adjectives, another question, other labels."""
  answer = draws.choice(("yes", "no"))
  one, two = draws.sample(words.GOOD if answer == "yes" else words.BAD, 2)
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  return {
    "text": f"{name} saw a {one} {draws.choice(words.REVIEWED)} in {city}. It was {two}.",
    "instruction": draws.choice(("Was it good?", "Would you go there again?")),
    "options": ["yes", "no"],
    "answer": answer,
  }


def kind_of(draws: Draws) -> Row:
  """Relative of `kind_pick`: the words are given, the kind is asked."""
  kind, *others = draws.sample(tuple(words.KINDS), 3)
  one, two, three = draws.sample(words.KINDS[kind], 3)
  return {
    "question": f"{draws.choice(words.NAMES)} named {one}, {two} and {three}. What are these?",
    "options": draws.shuffled([kind, *others]),
    "answer": kind,
  }


def find_kind(draws: Draws) -> Row:
  """Relative of `wh_question`: one sentence, and a thing to find in it by its kind."""
  named = {kind: draws.choice(words.KINDS[kind]) for kind in ("animal", "colour", "city", "job")}
  name, asked = draws.choice(words.NAMES), draws.choice(tuple(named))
  return {
    "text": (
      f"{name} is a {named['job']} and has a {named['colour']} {named['animal']} "
      f"in {named['city']}."
    ),
    "question": f"Which {asked} does the text name?",
    "answer": named[asked],
  }


def either_claim(draws: Draws) -> Row:
  """Relative of `entailment`: the claim holds if it holds of one of two things."""
  kinds = draws.shuffled(("animal", "fruit", "tool"))
  one, two = (draws.choice(words.KINDS[kind]) for kind in kinds[:2])
  answer = draws.choice(("yes", "no"))
  claimed = draws.choice(kinds[:2]) if answer == "yes" else kinds[2]
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  return {
    "text": f"{name} has a {one} and a {two} in {city}.",
    "claim": f"{name} has {words.with_article(claimed)} in {city}.",
    "instruction": draws.choice(("Is the second sentence true?", "Does the first say the second?")),
    "options": ["yes", "no"],
    "answer": answer,
  }


def last_in_alphabet(draws: Draws) -> Row:
  """Relative of `first_in_alphabet` and `sort_words`."""
  listed = draws.sample(words.LISTED, 4)
  return {
    "definition": draws.choice(("Which word is last from A to Z?", "Find the last word in ABC.")),
    "text": " ".join(listed),
    "answer": max(listed),
  }


def count_fruits(draws: Draws) -> Row:
  """Relative of `count_animals`."""
  times = draws.between(1, 4)
  listed = draws.sample(words.FRUITS, times) + draws.sample(words.TOOLS, 5 - times)
  return {
    "definition": draws.choice(("Count the fruits.", "How many fruits are listed?")),
    "text": " ".join(draws.shuffled(listed)),
    "answer": str(times),
  }


def smallest_number(draws: Draws) -> Row:
  """Relative of `largest_number`."""
  numbers = [draws.below(10) for _ in range(5)]
  return {
    "definition": draws.choice(("Find the smallest number.", "Write the least number.")),
    "text": ", ".join(map(str, numbers)),
    "answer": str(min(numbers)),
  }


def coins_in_all(draws: Draws) -> Row:
  """Relative of `add_things`: the same sums in another story."""
  name, days = draws.choice(words.NAMES), draws.sample(words.DAYS, 2)
  things = draws.choice(words.PLURALS)
  one, two = draws.between(2, 12), draws.between(2, 9)
  return {
    "question": (
      f"{name} finds {one} {things} on {days[0]} and {two} on {days[1]}. "
      f"How many {things} are there in all?"
    ),
    "rationale": f"{one} + {two} = {one + two}.",
    "answer": str(one + two),
  }


FAMILIES = {
  "recommend": recommend,
  "kind_of": kind_of,
  "find_kind": find_kind,
  "either_claim": either_claim,
  "last_in_alphabet": last_in_alphabet,
  "count_fruits": count_fruits,
  "smallest_number": smallest_number,
  "coins_in_all": coins_in_all,
}
