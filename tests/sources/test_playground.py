"""The playground: deterministic rows, splits that never meet, answers that follow from the text."""

import itertools
import re

import pytest

from flan_tune import errors
from flan_tune.sources import playground
from flan_tune.sources.playground import words

SPLITS = tuple(playground.LENGTHS)
UNHASHED = ("instruction", "definition", "options", "rationale", "answer")
every_family = pytest.mark.parametrize("family", playground.FAMILIES)


def rows(family, split="train", count=300):
  source = playground.open_source(family, split, None)
  return [source[index] for index in range(count)]


def content(row):
  return tuple((key, row[key]) for key in sorted(row) if key not in UNHASHED)


def asked_of(row):
  """The text and the question of a row, as one string."""
  return " ".join(str(row[key]) for key in ("text", "claim", "question") if key in row)


def test_there_are_enough_families_in_every_group():
  sizes = {group: len(families) for group, families in playground.GROUPS.items()}
  assert all(size >= 6 for size in sizes.values())
  assert sum(sizes.values()) - sizes["held_out"] >= 24
  assert len(playground.FAMILIES) == sum(sizes.values()), "two groups share a name"


@every_family
def test_rows_depend_on_family_split_and_index_alone(family):
  first = rows(family, count=20)
  source = playground.open_source(family, "train", None)
  assert [source[index] for index in reversed(range(20))] == first[::-1]
  assert rows(family, "validation", 20) != first


def test_a_row_is_the_same_on_every_machine():
  source = playground.open_source("add_things", "train", None)
  assert source[0] == {
    "question": "Rosa has 10 pears and buys 5 more. How many pears are there?",
    "rationale": "10 + 5 = 15.",
    "answer": "15",
  }


@every_family
def test_no_content_stands_in_two_splits(family):
  found = {split: {content(row) for row in rows(family, split, 200)} for split in SPLITS}
  for one, other in itertools.combinations(SPLITS, 2):
    assert not found[one] & found[other]
  for split in SPLITS:
    assert all(playground.split_of(row) == split for row in rows(family, split, 50))


@every_family
def test_wording_and_order_of_options_do_not_change_the_split(family):
  for row in rows(family, count=20):
    reworded = {key: "other" if key in UNHASHED else value for key, value in row.items()}
    assert playground.split_of(reworded) == playground.split_of(row)


@every_family
def test_the_space_of_examples_is_large(family):
  # Among 2,000 draws from 50,000 equally likely ones about 39 pairs are equal.
  assert len({content(row) for row in rows(family, count=2000)}) > 1920


@every_family
def test_fields_are_filled_strings(family):
  keys = None
  for row in rows(family):
    keys = keys or set(row)
    assert set(row) == keys, "all rows of a family have the same fields"
    for key, value in row.items():
      for text in value if key == "options" else [value]:
        assert isinstance(text, str) and text.strip() == text != ""
        assert "{" not in text and "\n" not in text


@every_family
def test_answers_are_among_distinct_options(family):
  for row in rows(family):
    if "options" in row:
      assert row["answer"] in row["options"]
      assert len(set(row["options"])) == len(row["options"]) >= 2


def test_options_of_two_rows_are_not_one_list():
  first, second = rows("paraphrase", count=2)
  first["options"].append("maybe")
  assert second["options"] == rows("paraphrase", count=2)[1]["options"] == ["yes", "no"]


@every_family
def test_articles_agree_with_their_noun(family):
  for row in rows(family):
    assert not re.search(r"\ba [aeiou]", asked_of(row) + " " + row["answer"])


@every_family
def test_rationales_are_sentences_that_hold_the_answer(family):
  for row in rows(family):
    if family in playground.GROUPS["cot"] or family == "coins_in_all":
      assert row["rationale"].endswith(".")
      assert "answer" not in row["rationale"]
      if row["answer"] not in ("yes", "no"):
        assert re.search(rf"\b{row['answer']}\b", row["rationale"])


def test_sums_in_rationales_are_right():
  families = ("add_things", "take_away", "groups", "units", "coins_in_all")
  operations = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
  for row in (row for family in families for row in rows(family)):
    sums = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)\.", row["rationale"])
    assert len(sums) == 1
    one, sign, two, result = sums[0]
    assert operations[sign](int(one), int(two)) == int(result) == int(row["answer"])
    assert one in re.findall(r"\d+", row["question"])


# Answers worked out again, each in another way than the family draws them.


def numbers(text):
  return [int(number) for number in re.findall(r"\d+", text)]


def listed(text, name="list"):
  return re.search(rf"{name}: ([a-z ]+)", text)[1].split()


def weekday_after(question):
  days = [d for d in words.DAYS if d in question]
  return words.DAYS[(words.DAYS.index(days[0]) + numbers(question)[0]) % 7]


def unit_factor(question):
  return {"days": 7, "minutes": 60, "feet": 3, "inches": 12, "centimetres": 100, "months": 12}[
    re.search(r"How many (\w+)", question)[1]
  ]


def of_kind(text, kind):
  """The one word of a text that is of a kind."""
  (found,) = set(re.findall(r"\w+", text)) & set(words.KINDS[kind])
  return found


def counted(text):
  kind, listed_words = text.split(", list: ")
  return str(len(set(listed_words.split()) & set(words.KINDS[kind])))


def told(text, claim):
  """Yes, no or maybe: is the thing of the text of the kind that the claim names?"""
  if claim.startswith("The"):
    return "maybe"
  kind = re.search(r"\ban? (\w+)", claim)[1]
  return "yes" if set(re.findall(r"\w+", text)) & set(words.KINDS[kind]) else "no"


def same_meaning(text, claim):
  """Yes if the sentences differ in a synonym alone; no if one of them says "no" besides."""
  one, two = (re.search(r" (?:a|no) (\w+) ", sentence)[1] for sentence in (text, claim))
  assert any({one, two} == set(pair) for pair in words.SYNONYMS)
  return "yes" if text.replace(f" {one} ", f" {two} ") == claim else "no"


def size(word):
  return next(rank for rank, group in enumerate(words.SIZES) if word in group)


def replaced(text, pairs):
  return re.sub(r"\w+", lambda m: pairs.get(m[0], m[0]), text)


def group_of(text, groups):
  """The one group with a member in the text."""
  tokens = set(re.findall(r"\w+", text))
  (found,) = [name for name, members in groups.items() if len(tokens & set(members)) >= 3]
  return found


def mood(text):
  return set(re.findall(r"\w+", text)) & set(words.GOOD)


OPPOSITE_OF = {a: b for pair in words.OPPOSITES for a, b in (pair, reversed(pair))}
FEELING_OF = {event: name for name, events in words.FEELINGS.items() for event in events}
WH_KINDS = {
  "Who": words.NAMES,
  "Where": words.ROOMS,
  "When": words.DAYS,
  "What": words.THINGS,
  "Which": words.COLOURS,
}

SOLVERS = {
  "sentiment": lambda r: "positive" if mood(r["text"]) else "negative",
  "topic": lambda r: group_of(r["text"], words.TOPICS),
  "entailment": lambda r: told(r["text"], r["claim"]),
  "paraphrase": lambda r: same_meaning(r["text"], r["claim"]),
  "translation": lambda r: replaced(
    r["text"], {word: other for lexicon in words.ZORBISH for word, other in lexicon.items()}
  ),
  "describe": lambda r: "{name} from {city} has a {colour} {thing}.".format(
    **dict(re.findall(r"(\w+): (\w+)", r["text"]))
  ),
  "kind_pick": lambda r: of_kind(
    r["question"].split(":")[1], re.search(r"an? (\w+):", r["question"])[1]
  ),
  "wh_question": lambda r: next(
    w for w in re.findall(r"\w+", r["text"]) if w in WH_KINDS[r["question"].split()[0]]
  ),
  "coreference": lambda r: next(
    name
    for name in re.findall(r"\w+", r["text"])
    if name in (words.SHE if " She " in r["text"] else words.HE)
  ),
  "feeling": lambda r: next(
    feeling for event, feeling in FEELING_OF.items() if f" {event} " in r["text"]
  ),
  "appointment": lambda r: " ".join(
    re.search(rf" {word} (\w+)", r["text"])[1] for word in ("on", "at", "in")
  ),
  "headline": lambda r: " ".join(
    (
      of_kind(r["text"], "job"),
      next(w for w in words.DEALINGS if f" {w} " in r["text"]),
      next(w for w in words.THINGS if re.search(rf" a {w}\b", r["text"])),
    )
  ),
  "find_place": lambda r: group_of(r["question"], words.PLACES),
  "fill_gap": lambda r: of_kind(
    r["question"].split(":")[1],
    next(kind for kind, uses in words.USES.items() if r["question"].split()[1] in uses),
  ),
  "sort_words": lambda r: " ".join(min(itertools.permutations(r["text"].split()))),
  "first_in_alphabet": lambda r: sorted(r["text"].split())[0],
  "sort_kinds": lambda r: " ".join(
    of_kind(r["text"], kind) for kind in ("animal", "fruit", "tool", "city")
  ),
  "largest_number": lambda r: str(sorted(numbers(r["text"]))[-1]),
  "count_animals": lambda r: counted(r["text"]),
  "remove_colour": lambda r: r["text"].replace(of_kind(r["text"], "colour") + " ", ""),
  "change_colour": lambda r: re.sub(
    r" a \w+ (.*) New: (\w+)", lambda m: f" a {m[2]} {m[1]}", r["text"]
  ),
  "opposite": lambda r: replaced(r["text"], OPPOSITE_OF),
  "capital_letters": lambda r: of_kind(r["text"].split(":")[1], r["text"].split(",")[0]).swapcase(),
  "common_word": lambda r: next(iter({*listed(r["text"], "one")} & {*listed(r["text"], "two")})),
  "add_things": lambda r: str(sum(numbers(r["question"]))),
  "take_away": lambda r: str(numbers(r["question"])[0] - numbers(r["question"])[1]),
  "groups": lambda r: str(sum(numbers(r["question"])[:1] * numbers(r["question"])[1])),
  "days_later": lambda r: weekday_after(r["question"]),
  "units": lambda r: str(numbers(r["question"])[0] * unit_factor(r["question"])),
  "larger_thing": lambda r: max(re.findall(r" a (\w+)", r["question"]), key=size),
  "is_kind": lambda r: told(*r["question"].split(" Was ")),
  "opinion": lambda r: "positive" if mood(r["text"]) else "negative",
  "name_kind": lambda r: of_kind(*reversed(r["question"][9:].split(" among "))),
  "kind_of": lambda r: group_of(r["question"], words.KINDS),
  "find_kind": lambda r: of_kind(r["text"], r["question"].split()[1]),
  "either_claim": lambda r: told(r["text"], r["claim"]),
  "sort_four_words": lambda r: " ".join(min(itertools.permutations(r["text"].split()))),
  "count_fruits": lambda r: counted(r["text"]),
  "highest_price": lambda r: str(sorted(numbers(r["text"]))[-1]),
  "coins_in_all": lambda r: str(sum(numbers(r["question"]))),
}


def test_every_family_has_its_answers_checked():
  assert {*SOLVERS, "fits_inside"} == set(playground.FAMILIES)


@pytest.mark.parametrize("family", SOLVERS)
def test_answers_follow_from_the_text(family):
  for row in rows(family):
    assert SOLVERS[family](row) == row["answer"], row


def test_things_fit_by_rank():
  inside = {name: rank for rank, group in enumerate(words.CONTAINER_SIZES) for name in group}
  for row in rows("fits_inside"):
    thing, container = re.search(r"a (\w+) into a (\w+)\.", row["question"]).groups()
    assert row["answer"] == ("yes" if size(thing) <= inside[container] else "no")


def test_unknown_families_and_splits_are_named_with_what_is_allowed():
  with pytest.raises(errors.UserError, match="did you mean 'topic'"):
    playground.open_source("topics", "train", None)
  with pytest.raises(errors.UserError, match="validation"):
    playground.open_source("topic", "dev", None)


def test_rows_end_at_the_length():
  source = playground.open_source("topic", "test", None)
  assert len(source) == 10_000 and source.problems == {}
  source[9_999]
  for index in (-1, 10_000):
    with pytest.raises(IndexError):
      source[index]


def test_facts_of_the_world_do_not_contradict_each_other():
  for groups in (words.KINDS, words.TOPICS, words.PLACES):
    members = [word for group in groups.values() for word in group]
    assert len(members) == len(set(members))
  assert not set(words.GOOD) & set(words.BAD)
  assert not set(words.SHE) & set(words.HE) and len(words.SHE) == len(words.HE) == 12
  zorbish = [word for lexicon in words.ZORBISH for word in lexicon.values()]
  assert len(zorbish) == len(set(zorbish)) == sum(map(len, words.ZORBISH))
  for pairs in (words.SYNONYMS, words.OPPOSITES):
    assert len({word for pair in pairs for word in pair}) == 2 * len(pairs)
  assert list(words.LISTED) == sorted(set(words.LISTED)) and len(words.LISTED) == 40
