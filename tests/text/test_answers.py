"""Extraction rules, by a table of what models write."""

import pytest

from flan_tune.text.answers import CUES, EXTRACTORS, final_answer, has_cue

CASES = [
  # generation, answer
  ("3 + 4 = 7. So the answer is 7.", "7"),
  ("The answer is (B).", "(B)"),
  ("the final answer is: no", "no"),
  ("Final Answer: 42", "42"),
  ("ANSWER:yes", "yes"),
  ("Therefore, the answer is $1,000.", "$1,000"),
  ("The answer is 3.5.", "3.5"),
  ("The answer is 3.5", "3.5"),
  ("The answer is -4", "-4"),
  ("The answer is .5", ".5"),
  ("The answer is Sentence A.", "Sentence A"),
  ("The answer is really?!", "really?"),
  ('The answer is "it is not possible to tell".', '"it is not possible to tell"'),
  ("The answer is Dr. No", "Dr. No"),
  # The last cue counts.
  ("The answer is 5. No: the answer is 6.", "6"),
  ("Answer: 5\nThe answer is 6", "6"),
  # Only the line; what a model goes on to write is no part of the answer.
  ("The answer is 7.\n\nQ: What is 1 + 1?", "7"),
  ("The answer is:\n\n7.", "7"),
  ("The answer is ", ""),
  ("The answer is.", ""),
  # A cue is whole words.
  ("The answer isn't 5", "The answer isn't 5"),
  ("nonanswer: 5", "nonanswer: 5"),
  # Without a cue, the last line.
  ("no", "no"),
  ("Because it rains.\nyes.", "yes"),
  ("  7  \n\n", "7"),
  ("", ""),
  (" \n ", ""),
  # Other scripts.
  ("The answer is Köln。", "Köln"),
  ("La réponse\u00a0: answer:\u00a0été !", "été"),
  ("answer is হ্যাঁ।", "হ্যাঁ"),
]


@pytest.mark.parametrize(("generation", "answer"), CASES)
def test_final_answer(generation, answer):
  assert final_answer(generation) == answer


@pytest.mark.parametrize(("generation", "answer"), CASES)
def test_only_a_generation_without_a_cue_is_guessed_at(generation, answer):
  if not has_cue(generation):
    lines = generation.strip().splitlines() or [""]
    assert final_answer(generation) == lines[-1].strip().rstrip(".")


@pytest.mark.parametrize("cue", CUES)
def test_every_cue_is_found_in_any_case(cue):
  assert final_answer(f"x, so the {cue.upper()} 7.\n") == "7"
  assert has_cue(cue)


@pytest.mark.parametrize("answer", ["7", "(B)", "Sentence A", "$1,000", "3.5", "yes", "no one"])
@pytest.mark.parametrize("rule", EXTRACTORS)
def test_an_answer_by_itself_is_its_own_extraction(rule, answer):
  assert EXTRACTORS[rule](answer) == answer


def test_whole_strips_and_keeps_the_rest():
  assert EXTRACTORS["whole"](" The answer is 7.\n") == "The answer is 7."
