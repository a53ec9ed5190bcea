"""Families of the kinds T0-SF holds: questions about a passage, common sense, short summaries.

All are easy: what is asked for can be told from the rest of the passage by its kind.
"""

from flan_tune.draws import Draws
from flan_tune.sources.playground import words

Row = dict[str, str | list[str]]


def wh_question(draws: Draws) -> Row:
  """One sentence: who, where, when, what, or which colour?"""
  name, deed, colour, thing, room, day = (
    draws.choice(choices)
    for choices in (
      words.NAMES,
      words.DEALINGS,
      words.COLOURS,
      words.THINGS,
      words.ROOMS,
      words.DAYS,
    )
  )
  if draws.below(2):
    text = f"{name} {deed} a {colour} {thing} in the {room} on {day}."
  else:
    text = f"On {day}, in the {room}, {name} {deed} a {colour} {thing}."
  question, answer = draws.choice(
    (
      ("Who was it?", name),
      ("Where was it?", room),
      ("When was it?", day),
      ("What was it?", thing),
      ("Which colour was it?", colour),
    )
  )
  return {"text": text, "question": question, "answer": answer}


def coreference(draws: Draws) -> Row:
  """A woman and a man meet, and a pronoun tells which of them did something."""
  she, he, city = draws.choice(words.SHE), draws.choice(words.HE), draws.choice(words.CITIES)
  one, two = draws.shuffled((she, he))
  deed = draws.choice(words.DEEDS)
  pronoun, answer = draws.choice((("She", she), ("He", he)))
  return {
    "text": f"{one} met {two} in {city}. {pronoun} {deed}.",
    "question": f"Who {deed}?",
    "answer": answer,
  }


def feeling(draws: Draws) -> Row:
  """Something happened to somebody: how do they feel?"""
  answer = draws.choice(tuple(words.FEELINGS))
  event = draws.choice(words.FEELINGS[answer])
  name, city, day = (draws.choice(w) for w in (words.NAMES, words.CITIES, words.DAYS))
  text = draws.choice(
    (f"On {day}, {name} {event} in {city}.", f"{name} {event} in {city} on {day}.")
  )
  return {
    "text": text,
    "instruction": draws.choice(("How does it feel?", "Which feeling is this?")),
    "options": list(words.FEELINGS),
    "answer": answer,
  }


def appointment(draws: Draws) -> Row:
  """A message with place, day and hour in any order, to be noted in one order."""
  (one, two), city = draws.sample(words.NAMES, 2), draws.choice(words.CITIES)
  day, hour = draws.choice(words.DAYS), draws.between(1, 9)
  parts = draws.shuffled((f"in {city}", f"on {day}", f"at {hour}"))
  return {
    "text": f"{one} meets {two} {' '.join(parts)}.",
    "instruction": draws.choice(("Note the day, hour and city.", "Give day, hour and city.")),
    "answer": f"{day} {hour} {city}",
  }


def headline(draws: Draws) -> Row:
  """A sentence with details: who (by job), did what, to what?"""
  name, job, city = (draws.choice(w) for w in (words.NAMES, words.JOBS, words.CITIES))
  deed, thing, day = (draws.choice(w) for w in (words.DEALINGS, words.THINGS, words.DAYS))
  if draws.below(2):
    text = f"On {day}, {name}, a {job} from {city}, {deed} a {thing}."
  else:
    text = f"{name} is a {job} in {city} and {deed} a {thing} on {day}."
  instruction = draws.choice(("Write a headline of three words.", "Sum this up in three words."))
  return {"text": text, "instruction": instruction, "answer": f"{job} {deed} {thing}"}


def find_place(draws: Draws) -> Row:
  """Three things found in one place: which place?"""
  place = draws.choice(tuple(words.PLACES))
  one, two, three = draws.sample(words.PLACES[place], 3)
  name = draws.choice(words.NAMES)
  seeks = draws.choice(("looks for", "thinks of", "asks about"))
  others = draws.sample([other for other in words.PLACES if other != place], 3)
  return {
    "question": f"{name} {seeks} the {one}, the {two} and the {three}. Which place fits?",
    "options": draws.shuffled([place, *others]),
    "answer": place,
  }


def fill_gap(draws: Draws) -> Row:
  """A verb that goes with one kind of thing: which of three words fits?"""
  kinds = draws.shuffled(tuple(words.USES))
  picked = [draws.choice(words.KINDS[kind]) for kind in kinds]
  asked, name = draws.below(3), draws.choice(words.NAMES)
  use = draws.choice(words.USES[kinds[asked]])
  return {
    "question": (f"{name} {use} the ... Which word fits: {picked[0]}, {picked[1]} or {picked[2]}?"),
    "options": picked,
    "answer": picked[asked],
  }


FAMILIES = {
  "wh_question": wh_question,
  "coreference": coreference,
  "feeling": feeling,
  "appointment": appointment,
  "headline": headline,
  "find_place": find_place,
  "fill_gap": fill_gap,
}
