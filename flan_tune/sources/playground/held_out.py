"""Families that are never trained on.  Each is a relative of a trained skill, named in its text.

Their own training split serves as few-shot exemplars.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import niv2, words

Row = dict[str, str | list[str]]


def opinion(draws: Draws) -> Row:
  """Relative of `sentiment`: the same adjectives in other sentences, another question."""
  answer = draws.choice(("positive", "negative"))
  one, two = draws.sample(words.GOOD if answer == "positive" else words.BAD, 2)
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  return {
    "text": f"{name} saw a {one} {draws.choice(words.REVIEWED)} in {city}. It was {two}.",
    "instruction": draws.choice(("What is the opinion?", "Is the opinion positive or negative?")),
    "options": ["positive", "negative"],
    "answer": answer,
  }


def name_kind(draws: Draws) -> Row:
  """Relative of `kind_pick`: four words for three, and a request for a question."""
  kinds = draws.sample(tuple(words.KINDS), 4)
  picked = [draws.choice(words.KINDS[kind]) for kind in kinds]
  asked = draws.below(4)
  return {
    "question": f"Name the {kinds[asked]} among {', '.join(picked[:3])} and {picked[3]}.",
    "options": picked,
    "answer": picked[asked],
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


def sort_four_words(draws: Draws) -> Row:
  """Relative of `sort_words`: four words instead of three."""
  listed = draws.sample(words.LISTED, 4)
  return {
    "definition": draws.choice(("Sort the words from A to Z.", "Put the words in ABC order.")),
    "text": " ".join(listed),
    "answer": " ".join(sorted(listed)),
  }


def count_fruits(draws: Draws) -> Row:
  """Relative of `count_animals`: a kind that is never counted in training."""
  return niv2.count_of(draws, "fruit")


def highest_price(draws: Draws) -> Row:
  """Relative of `largest_number`: four numbers among the names of things."""
  things = draws.sample(words.THINGS, 4)
  prices = [draws.below(10) for _ in things]
  return {
    "definition": draws.choice(("Find the largest price.", "Write the biggest price.")),
    "text": ", ".join(f"{thing} {price}" for thing, price in zip(things, prices, strict=True)),
    "answer": str(max(prices)),
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
  "opinion": opinion,
  "kind_of": kind_of,
  "name_kind": name_kind,
  "find_kind": find_kind,
  "either_claim": either_claim,
  "sort_four_words": sort_four_words,
  "count_fruits": count_fruits,
  "highest_price": highest_price,
  "coins_in_all": coins_in_all,
}
