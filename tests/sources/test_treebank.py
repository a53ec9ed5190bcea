"""Tokens back to ordinary spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan_tune.sources import treebank


@pytest.mark.parametrize(
  ("tokens", "text"),
  [
    ("I Do n't Feel at Home .", "I Don't Feel at Home."),
    ("Wilhelm , of Germany ( 1901 ) , won .", "Wilhelm, of Germany (1901), won."),
    ("the `` Rock Hall '' -- part of it", 'the "Rock Hall" -- part of it'),
    ("`` There 's a Hole ''", '"There\'s a Hole"'),
    ("UEFA Cup Winners ' Cup", "UEFA Cup Winners' Cup"),
    ("the name ' Burzahom ' means birch", "the name 'Burzahom' means birch"),
    ("at 12 : 30 , 98 % came for $ 5", "at 12:30, 98% came for $5"),
    ("jumping ;  dogs can bark !", "jumping; dogs can bark!"),
    ("  two\t spaces \n", "two spaces"),
    ("", ""),
  ],
)
def test_known_phrases(tokens, text):
  assert treebank.detokenised(tokens) == text


def test_hyphens_join_words_and_numbers_but_not_marks():
  assert treebank.hyphens_joined("role - playing in 1942 - 43 - (x) - y") == (
    "role-playing in 1942-43 - (x) - y"
  )


@pytest.mark.parametrize(
  ("text", "whole"),
  [("no dogs", "No dogs."), ("Why?", "Why?"), ('it is "so"', 'It is "so".'), ("", "")],
)
def test_sentences_get_a_capital_and_a_full_stop(text, whole):
  assert treebank.sentence(text) == whole


def letters(text: str) -> str:
  return "".join(text.replace("``", '"').replace("''", '"').split())


TOKENS = ["``", "''", "'", "n't", "'s", "s", "ca", ",", ".", "(", ")", "-", "%", "$", "7", ":", "é"]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join))
def test_only_white_space_and_quotation_marks_change(text):
  assert letters(treebank.detokenised(text)) == letters(text)
