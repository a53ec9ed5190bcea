"""Extraction rules, by tables of what models write; and what holds for any text."""

import pathlib
import time

import hypothesis
import hypothesis.strategies as st
import pytest

from flan_tune.text import answers, scripts
from flan_tune.text.extraction import RULES, cues
from tests.text.awkward import AWKWARD, WAYS

LETTERS = tuple(f"({letter})" for letter in "ABCDE")
OPTIONS = {
  "option": (LETTERS,),
  "option_cot": (LETTERS, ("A", "B", "C", "D")),
  "word": (("yes", "no"), ("True", "False"), ("valid", "invalid")),
  "word_cot": (("Yes", "No"), ("True", "False"), ("valid", "invalid")),
}
# Right answers of each rule, as the benchmarks write them.
TARGETS = {
  "option": LETTERS,
  "option_cot": LETTERS,
  "word": ("yes", "no", "True", "False", "valid", "invalid"),
  "word_cot": ("Yes", "No", "True", "False", "valid", "invalid"),
  "text": ("] ) }", "> >", "barn it&t o'connell you've"),
  "text_cot": ("] ) }", "> >", "barn it&t o'connell you've"),
  "number": ("18", "-35", "1234", "0"),
  "number_cot": ("18", "-35", "1234", "0"),
  "span": ("Zimbabwe", "১৯৭১", "(بيير كوري) وأخوه (جاك)", "179,7 juta km²", "1.3 square feet"),
}


def options_for(rule: str, target: str) -> tuple[str, ...]:
  return next((options for options in OPTIONS.get(rule, ()) if target in options), ())


def extract(rule: str, generation: str, options: tuple[str, ...] = ()) -> tuple:
  return RULES[rule].strict(generation, options), RULES[rule].loose(generation, options)


OPTION = [
  # generation, strict, loose
  ("(B)", "(B)", "(B)"),
  ("B", "(B)", "(B)"),
  ("B.", "(B)", "(B)"),
  ("B)", "(B)", "(B)"),
  ("(B).\n(A)", "(B)", "(B)"),
  ("b)", None, "(B)"),
  ("[B]", None, "(B)"),
  ("B. circle", None, "(B)"),
  ("B - circle", None, "(B)"),
  ("(B) is like (A) but colder.", None, None),
  ("(B), unlike (A), is cold.", None, "(B)"),
  ("It's B!", None, "(B)"),
  ("B is the answer", None, "(B)"),
  ("The answer is A because", None, "(A)"),
  ("B, since A is wrong", None, "(B)"),
  ("A: B", None, "(B)"),
  ("A: circle", None, None),
  ("B\n\n(A) circle", "(B)", "(B)"),
  ("Therefore, B.", None, "(B)"),
  # Several answers are none, unless all but one are denied.
  ("(A) or (B)", None, None),
  ("A/B", None, None),
  ("(A), (B)", None, None),
  ("The answer is (A) (B)", None, None),
  ("The answer is either (A) or (B).", None, None),
  ("the answer is not (A) but (B)", None, "(B)"),
  ("(A) is wrong", None, None),
  # A letter that is no option is an answer all the same, and wrong.
  ("(F)", None, None),
  ("(A) fits. The answer is (F).", None, None),
  ("Not (A)", None, None),
  ("Neither (A) nor (B)", None, None),
  ("It can't be (A)", None, None),
  ("The answer cannot be B", None, None),
  ("The wrong answer is (A)", None, None),
  ("(A) cannot be right; (B) is.", None, "(B)"),
  # The options copied are no answer.
  ("(A) circle (B) square", None, None),
  ("Options:\n(A) circle\n(B) square", None, None),
  ("(A) since (B) is warm", None, "(A)"),
  # Words that are letters, letters that are words.
  ("A dog is here", None, None),
  ("The answer is a dog.", None, None),
  ("The answer is A dog.", None, None),
  ("I think so", None, None),
  ("vitamin B-12", None, None),
  ("The answer is the first one.", None, None),
  ("", None, None),
  ("  \n", None, None),
]
OPTION_COT = [
  ("So the answer is (B).", "(B)", "(B)"),
  ("the answer is: B", "(B)", "(B)"),
  ("The final answer is B", "(B)", "(B)"),
  ("Final answer (B)", "(B)", "(B)"),
  ('The answer is "(B)".', "(B)", "(B)"),
  ("The answer is:\n\n(B)", "(B)", "(B)"),
  ("(B)", "(B)", "(B)"),
  ("(A) is hot and (C) is wet. The answer is (B).", "(B)", "(B)"),
  ("The answer is (A). No: the answer is (B).", "(B)", "(B)"),
  # The last cue is that of another question: strict extraction is taken in.
  ("The answer is (B).\n\nQ: x?\nA: The answer is (A).", "(A)", "(B)"),
  ("(A) is hot. So (B) is cold. Therefore (B).", None, "(B)"),
  ("(A), (B) and (C) are incorrect, and (D) is the correct answer.", None, "(D)"),
  ("(A) or (B) could be meant.", None, None),
  ("Ice is cold.\nB", None, "(B)"),
  ("The answer is surely option B.\n(A) is hot.", None, "(B)"),
  ("(A) is right. (B) is right.", None, None),
  ("(A) and (B) are hot, and (B) is cold. So the answer is none of the above.", None, None),
  ("The blood type is A.", None, None),
  ("Vitamin B helps.", None, None),
  ("The answer is", None, None),
  ("The answer is (F).", None, None),
]
YES_NO = [
  ("yes", "yes", "yes"),
  ("yes.", "yes", "yes"),
  ("no,\nhe did not", "no", "no"),
  ("Yes", None, "yes"),
  ("NO!", None, "no"),
  ("No, he did not say yes.", None, "no"),
  ("No, he did not. Yes is wrong.", None, "no"),
  ("No reason to doubt it, so yes.", None, "yes"),
  ("No one knows.", None, None),
  ("There is no evidence.", None, None),
  ("yes or no", None, None),
  ("yes/no", None, None),
  ("Yes, no", None, None),
  ("The answer is not yes.", None, "no"),
  ("The answer would be 'no'", None, "no"),
  ("Yes. No.", None, None),
  ("Yes and no", None, None),
  ("no yes", None, None),
  ("no - he did not", None, "no"),
  ("Is it? Yes.", None, "yes"),
  ("no\nIs it? yes", "no", "no"),
  ("yesterday", None, None),
  ("maybe", None, None),
  ("", None, None),
]
TRUE_FALSE_COT = [
  ("So the answer is False.", "False", "False"),
  ("The answer is: True", "True", "True"),
  ("Z = not ( True ) = not True = False. So the answer is False.", "False", "False"),
  ("Z = not ( True ) = not True = False.", None, "False"),
  ("not not True = True", None, "True"),
  ("The answer is true.", None, "True"),
  ("The answer is True or False.", None, None),
  ("The answer is not True.", None, "False"),
  ("not ( True )", None, "False"),
  ("not not True", None, None),
  ("True is not the answer", None, None),
  ("Let A = True. Let B = False.", None, None),
  # Expressions copied are no answer.
  ("True and True", None, None),
  ("not ( True and False )", None, None),
  ("It is true that it is false", None, "False"),
  ("untrue", None, None),
  ("The answer is val\u0131d", None, None),
]
VALID_COT = [
  ("So the answer is invalid.", "invalid", "invalid"),
  ("The argument is not deductively valid.", None, "invalid"),
  ("The argument isn't valid.", None, "invalid"),
  ("Therefore, the argument is valid.", None, "valid"),
  ("It is valid or invalid.", None, None),
  ("It cannot be valid.", None, "invalid"),
  ("It does not seem to be valid.", None, "invalid"),
  ("It is not logically or deductively valid.", None, "invalid"),
  ("It is far from valid.", None, "invalid"),
  ("It is non-valid.", None, None),
  ("Is the argument valid? No.", None, None),
  ("It is not clear whether it is valid.", None, None),
  ("It would be valid if birds were fish.", None, None),
  ("If birds were fish, it would be valid.", None, "valid"),
]
TEXT = [
  ("] ) }", "] ) }", "] ) }"),
  ("] ) }.", "] ) }", "] ) }"),
  ("])}", "])}", "] ) }"),
  ("a b c\n\nQ: x", "a b c", "a b c"),
  ("a, b, c", "a, b, c", "a b c"),
  ("a < b < c", "a < b < c", "a b c"),
  ('["a", "b"]', '["a", "b"]', "a b"),
  ("a\nb\nc", "a", "a b c"),
  ("The sorted words are: a b c", "The sorted words are: a b c", "a b c"),
  ("A: ] ]", "A: ] ]", "] ]"),
  ("", None, None),
]
TEXT_COT = [
  ('We need "]", "}". So the answer is ] }.', "] }", "] }"),
  ("So the answer is a b c.", "a b c", "a b c"),
  ("We sort.\na b c", None, "a b c"),
  ("We sort.\n\na\nb\nc", None, "a b c"),
  ("The answer is", None, None),
]
NUMBER = [
  ("18", "18", "18"),
  ("18.", "18", "18"),
  ("18.00", "18", "18"),
  ("1,234", "1234", "1234"),
  ("-5", "-5", "-5"),
  ("12%", "12", "12"),
  ("007", "7", "7"),
  ("-0", "0", "0"),
  ("1.234", "1.234", "1.234"),
  ("\u22125", None, "-5"),
  ("-$5", None, "-5"),
  ("1 234", None, "1234"),
  ("1\u00a0234", None, "1234"),
  ("1\u202f234 567", None, "1234567"),
  ("1'234", None, "1234"),
  ("1.234,5", None, "1234.5"),
  ("1.234.567", None, "1234567"),
  ("2,50 €", None, "2.5"),
  ("0,125", None, "0.125"),
  ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", None, "1234.5"),
  ("৮৫,০০০", None, "85000"),
  ("eleven", None, "11"),
  ("twenty-one.", None, "21"),
  ("one hundred", None, None),
  ("3/4", None, None),
  ("In 2019 300 people", None, "300"),
  ("18 apples, 3 pears", None, "3"),
  ("\u20135", None, "-5"),
  # Of two numbers neither is the answer, nor of a sum that nobody worked out.
  ("42 or 43", None, None),
  ("5\u20137", None, None),
  ("between 5 and 7", None, None),
  ("20 - 12", None, None),
  ("8 and 9", None, None),
  ("5 minus 3", None, None),
  ("minus 24", None, "-24"),
  ("- 24", None, None),
  ("10:30", None, None),
  ("18\n\nThere are 3 cats.", "18", "18"),
  ("none", None, None),
  ("", None, None),
]
NUMBER_COT = [
  ("5 + 6 = 11. The answer is 11.", "11", "11"),
  ("The answer is $1,234.", "1234", "1234"),
  ("The answer is 3.50", "3.5", "3.5"),
  ("11", "11", "11"),
  ("The answer is -5.", "-5", "-5"),
  ("উত্তর হল 11।", "11", "11"),
  ("Die Antwort lautet 29.", "29", "29"),
  ("La respuesta es 11.", "11", "11"),
  ("La réponse est 11.", "11", "11"),
  ("La re\u0301ponse est 11.", "11", "11"),
  ("答えは39個。", "39", "39"),
  ("答えは11です。", "11", "11"),
  ("Ответ — 11.", "11", "11"),
  ("Jibu ni 11.", "11", "11"),
  ("సమాధానం 39.చాక్లెట్\u200cలు", "39", "39"),
  ("คำตอบคือ 11", "11", "11"),
  ("答案是 11。", "11", "11"),
  ("5 + 6 = 11", None, "11"),
  ("The answer is 5 + 6 = 11.", None, "11"),
  ("The answer is 11 since 2 * 3 is 6", None, "11"),
  ("The answer is eleven.", None, "11"),
  ("The answer is 3/4.", None, None),
  ("Step-by-Step Answer: Roger had 5. 5+6=11.", None, "11"),
  # What the model goes on to ask itself.
  ("The answer is 7.\n\nQ: 1 + 1?\nA: The answer is 2.", "2", "7"),
  ("উত্তর হল 7।\n\nপ্রশ্ন: 9?", "7", "7"),
  ("The answer is unknown.", None, None),
  ("5 + 6 = 11. The answer is unclear.", None, None),
  ("The answer is 5 or 6.", None, None),
  ("The answer is 20-12.", None, None),
]
SPAN = [
  ("Zimbabwe", "Zimbabwe", "Zimbabwe"),
  ("১৯৭১।", "১৯৭১", "১৯৭১"),
  ("\n\nKöln。\nmore", "Köln", "Köln"),
  ("Ko\u0308ln", "Ko\u0308ln", "Köln"),
  ("Dr. No", "Dr. No", "Dr. No"),
  ("\u200fتبليسي\u200f", "\u200fتبليسي\u200f", "تبليسي"),
  ("الجواب: تبليسي؟", "الجواب: تبليسي؟", "تبليسي"),
  ("정답은 1901년", "정답은 1901년", "1901년"),
  ("قلوب می\u200cخواهد", "قلوب می\u200cخواهد", "قلوب می\u200cخواهد"),
  ("...", "..", None),
  ("", None, None),
]
TABLES = (
  [("option", LETTERS, *row) for row in OPTION]
  + [("option_cot", LETTERS, *row) for row in OPTION_COT]
  + [("word", ("yes", "no"), *row) for row in YES_NO]
  + [("word_cot", ("True", "False"), *row) for row in TRUE_FALSE_COT]
  + [("word_cot", ("valid", "invalid"), *row) for row in VALID_COT]
  + [("text", (), *row) for row in TEXT]
  + [("text_cot", (), *row) for row in TEXT_COT]
  + [("number", (), *row) for row in NUMBER]
  + [("number_cot", (), *row) for row in NUMBER_COT]
  + [("span", (), *row) for row in SPAN]
)
AWKWARD_CASES = [
  pytest.param(rule, way, target, id=f"{rule}-{number}-{target[:12]}")
  for rule, ways in AWKWARD.items()
  for number, way in enumerate(ways)
  for target in TARGETS[rule]
]


@pytest.mark.parametrize(("rule", "options", "generation", "strict", "loose"), TABLES)
def test_what_strict_accepts_and_loose_credits(rule, options, generation, strict, loose):
  assert extract(rule, generation, options) == (strict, loose)


@pytest.mark.parametrize(("rule", "way", "target"), AWKWARD_CASES)
def test_awkward_but_right_ways_are_credited_by_loose_alone(rule, way, target):
  strict, loose = extract(rule, way(target), options_for(rule, target))
  assert loose == target
  assert strict != target


def test_every_rule_that_reads_has_as_many_awkward_ways_as_promised():
  assert set(AWKWARD) == set(RULES) - {"whole", "final_answer"}
  assert {len(ways) for ways in AWKWARD.values()} == {WAYS}


@pytest.mark.parametrize("rule", TARGETS)
def test_a_right_answer_is_read_as_itself_by_both(rule):
  for target in TARGETS[rule]:
    written = f"So the answer is {target}." if rule.endswith("_cot") else target
    assert extract(rule, written, options_for(rule, target)) == (target, target)


@pytest.mark.parametrize("rule", ["option", "option_cot"])
def test_an_option_comes_back_as_the_options_spell_it(rule):
  assert extract(rule, "B", ("A", "B")) == ("B", "B")
  assert extract(rule, "(B)", ("A.", "B.")) == ("B.", "B.")
  assert extract(rule, "(R)") == ("(R)", "(R)")  # with no options, any letter


def test_of_more_than_two_options_a_denied_one_says_nothing():
  assert extract("word", "not red", ("red", "green", "blue")) == (None, None)
  assert extract("word", "Dark  GREEN!", ("green", "dark green")) == (None, "dark green")


def test_the_rules_of_task_cards_are_the_same_under_their_names():
  for name, rule in answers.EXTRACTORS.items():
    for generation in ("So the answer is 7.", "x\ny.", " 7 "):
      assert extract(name, generation) == (rule(generation),) * 2
    assert extract(name, " ") == (None, None)


PIECES = st.sampled_from(
  ["(A)", " (b)", " B", ".", " the answer is", "Answer: ", "\n", "\n\nQ:", " not", " or ", " and "]
  + ["Yes", " no", " True", "valid", "1", "23", ",", "/", "-", "$", "=", " ", "\u200f", "\u0301"]
  + ["১", "\u066b", "\u00a0", "'", "\\boxed{", "}", "]", "**", "答えは", "Ответ — ", "1. ", " < "]
  + ["\ud800", "\u0131", "\u017f", "ﬁ", "twenty-", "six"]
)
WRITTEN = st.one_of(st.text(), st.lists(PIECES, max_size=14).map("".join))


@hypothesis.settings(max_examples=300)
@hypothesis.given(WRITTEN)
def test_no_text_is_an_error_and_only_options_come_back(generation):
  for name, rule in RULES.items():
    for options in OPTIONS.get(name, ((),)):
      for found in (rule.strict(generation, options), rule.loose(generation, options)):
        assert found is None or (found in options if options else found != "")


@hypothesis.settings(max_examples=300)
@hypothesis.given(WRITTEN)
def test_loose_agrees_with_strict_where_the_model_does_not_go_on(generation):
  if cues.own(generation) == generation == scripts.half_width(generation):
    for name in ("option", "option_cot", "word", "word_cot", "number", "number_cot"):
      strict, loose = extract(name, generation, OPTIONS.get(name, ((),))[0])
      assert strict in (None, loose)


@hypothesis.given(st.one_of(st.text(), st.sampled_from(["7", "yes", "(A)"])), st.text(max_size=2))
def test_rules_of_words_take_any_options(generation, odd):
  for name in ("word", "word_cot", "option", "option_cot"):
    for found in extract(name, generation, (odd, "a b", "")):
      assert found is None or found in (odd, "a b", "")


LONG = 40_000
TIRING = {
  "marks": "." * LONG + "x",
  "spaces": "answer" + " " * LONG + "x",
  "cues": "The answer is (A) or " * (LONG // 21),
  "thousands": "1" + ",12" * (LONG // 3) + "x",
  "spaced": "1" + " 123" * (LONG // 4) + " 1",
  "digits": "7" * LONG,
  "brackets": "(*" * (LONG // 2),
  "boxes": "\\boxed{" * (LONG // 7),
  "letters": "is B not (A) " * (LONG // 13),
  "questions": "\nQ" * (LONG // 2),
  "accents": "a" + "\u0301\u0323" * (LONG // 2),
  "words": "yes no or " * (LONG // 10),
  "tens": "twenty-" * (LONG // 7),
  "list": "1. a\n" * (LONG // 5),
}


@pytest.mark.parametrize("text", TIRING.values(), ids=TIRING)
def test_a_tiring_text_takes_milliseconds(text):
  for name, rule in RULES.items():
    for read in (rule.strict, rule.loose):
      begun = time.process_time()
      read(text, OPTIONS.get(name, ((),))[0])
      # Some 30 ms, and Python may clear up in between; a rule that looks at each place from each
      # place takes many seconds.
      assert time.process_time() - begun < 3, name


def documented(repository: pathlib.Path) -> list[list[str]]:
  lines = (repository / "docs/extraction.md").read_text(encoding="utf-8").splitlines()
  rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
  return [row for row in rows if len(row) == 4 and row[1].startswith("`")]


def test_the_examples_of_the_documentation_are_true(repository):
  rows = documented(repository)
  assert len(rows) > 20
  for rule, generation, *told in rows:
    name, text = rule.strip("`"), generation.strip("`").replace("⏎", "\n")
    if generation.count("`") != 2:
      raise AssertionError(f"not between backticks: {generation}")
    options = {"option": LETTERS, "option_cot": LETTERS, "word": ("yes", "no")}.get(name, ())
    wanted = tuple(None if cell == "-" else cell.strip("`") for cell in told)
    assert extract(name, text, options) == wanted, text


def test_the_documentation_has_every_rule(repository):
  text = (repository / "docs/extraction.md").read_text(encoding="utf-8")
  assert not [name for name in RULES if f"\n| `{name}` |" not in text]
