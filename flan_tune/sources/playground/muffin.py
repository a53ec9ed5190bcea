"""Families of the kinds Muffin holds: classification, inference, paraphrase, translation, text.

Every function draws one row.  `entailment`, which compares a thing with a kind, is the hardest.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import words

Row = dict[str, str | list[str]]

_CLAIMED_KINDS = ("animal", "fruit", "tool")


def sentiment(draws: Draws) -> Row:
  """Two opinions of one kind: is the review positive or negative?"""
  answer = draws.choice(("positive", "negative"))
  adjectives = words.GOOD if answer == "positive" else words.BAD
  first, second = draws.sample(words.REVIEWED, 2)
  one, two = draws.sample(adjectives, 2)
  form = draws.below(3)
  if form == 0:
    text = f"The {first} was {one} and the {second} was {two}."
  elif form == 1:
    text = f"{draws.choice(words.NAMES)} found the {first} {one} and the {second} {two}."
  else:
    text = f"What a {one} {first}, and the {second} was {two} too."
  instruction = draws.choice(
    ("Is this review positive or negative?", "What is the mood of this review?")
  )
  return {
    "text": text,
    "instruction": instruction,
    "options": ["positive", "negative"],
    "answer": answer,
  }


def topic(draws: Draws) -> Row:
  """Three words of one topic: which of four is it?"""
  answer = draws.choice(tuple(words.TOPICS))
  one, two, three = draws.sample(words.TOPICS[answer], 3)
  name = draws.choice(words.NAMES)
  form = draws.below(3)
  if form == 0:
    text = f"{name} spoke about the {one}, the {two} and the {three}."
  elif form == 1:
    text = f"First came the {one}, then the {two}, and {name} liked the {three}."
  else:
    text = f"{name} asked about the {one} and the {two}, not the {three}."
  instruction = draws.choice(("What is the topic of this text?", "Which topic is this about?"))
  return {
    "text": text,
    "instruction": instruction,
    "options": list(words.TOPICS),
    "answer": answer,
  }


def entailment(draws: Draws) -> Row:
  """A word and the kind it is claimed to be of: yes, no, or, for what is not told, maybe."""
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  deed = draws.choice(words.DEALINGS)
  kind, other = draws.sample(_CLAIMED_KINDS, 2)
  thing = draws.choice(words.KINDS[kind])
  answer = draws.choice(("yes", "no", "maybe"))
  if answer == "maybe":
    claim = f"The {thing} is {draws.choice(words.UNTOLD)}."
  else:
    claim = f"{name} {deed} {words.with_article(kind if answer == 'yes' else other)} in {city}."
  instruction = draws.choice(
    ("Does the second sentence follow from the first?", "If the first is true, is the second?")
  )
  return {
    "text": f"{name} {deed} a {thing} in {city}.",
    "claim": claim,
    "instruction": instruction,
    "options": ["yes", "no", "maybe"],
    "answer": answer,
  }


def paraphrase(draws: Draws) -> Row:
  """Two sentences with words of one meaning, one of them perhaps negated: do they say the same?"""
  name, animal, city = (
    draws.choice(choices) for choices in (words.NAMES, words.ANIMALS, words.CITIES)
  )
  one, two = draws.shuffled(draws.choice(words.SYNONYMS))
  answer = draws.choice(("yes", "no"))
  article = "a" if answer == "yes" else "no"
  sentences = draws.shuffled(
    (f"{name} saw a {one} {animal} in {city}.", f"{name} saw {article} {two} {animal} in {city}.")
  )
  instruction = draws.choice(
    ("Do both sentences say the same?", "Do these two sentences mean the same thing?")
  )
  return {
    "text": sentences[0],
    "claim": sentences[1],
    "instruction": instruction,
    "options": ["yes", "no"],
    "answer": answer,
  }


def translation(draws: Draws) -> Row:
  """English to Zorbish, an invented language that keeps the order of the words."""
  english = [draws.choice(tuple(lexicon)) for lexicon in words.ZORBISH]
  return {
    "text": " ".join(english),
    "instruction": draws.choice(("Translate into Zorbish.", "Say this in Zorbish.")),
    "answer": " ".join(lexicon[word] for lexicon, word in zip(words.ZORBISH, english, strict=True)),
  }


def describe(draws: Draws) -> Row:
  """Four named fields in any order, to be written as one sentence."""
  name, city = draws.choice(words.NAMES), draws.choice(words.CITIES)
  colour, thing = draws.choice(words.COLOURS), draws.choice(words.THINGS)
  fields = (("name", name), ("city", city), ("colour", colour), ("thing", thing))
  instruction = draws.choice(("Put this into a sentence.", "Write one sentence from these facts."))
  return {
    "text": ", ".join(f"{key}: {value}" for key, value in draws.shuffled(fields)),
    "instruction": instruction,
    "answer": f"{name} from {city} has a {colour} {thing}.",
  }


def kind_pick(draws: Draws) -> Row:
  """Three words of three kinds: which one is of the kind asked for?"""
  kinds = draws.sample(tuple(words.KINDS), 3)
  picked = [draws.choice(words.KINDS[kind]) for kind in kinds]
  asked = draws.below(3)
  return {
    "question": (
      f"Which one is {words.with_article(kinds[asked])}: {picked[0]}, {picked[1]} or {picked[2]}?"
    ),
    "options": picked,
    "answer": picked[asked],
  }


FAMILIES = {
  "sentiment": sentiment,
  "topic": topic,
  "entailment": entailment,
  "paraphrase": paraphrase,
  "translation": translation,
  "describe": describe,
  "kind_pick": kind_pick,
}
