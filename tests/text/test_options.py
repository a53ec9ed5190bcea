"""Option blocks: every option shown, the answer to give is on the page."""

import collections

import pytest

from flan_tune.draws import Draws
from flan_tune.text import fewshot, options

CHOICES = ["red", "dark blue", "green"]


def _styles(count: int = 600, **settings) -> list[options.Style]:
  return [options.draw_style(Draws("style", number), **settings) for number in range(count)]


def test_every_style_shows_all_options_in_order_and_the_answer_can_be_read_off():
  for style in _styles():
    block = options.block(CHOICES, "dark blue", style)
    places = [block.text.index(choice) for choice in CHOICES]
    assert places == sorted(places)
    assert block.text.startswith(style.header)
    before = block.text[: places[1]].rstrip()
    if style.labels is None:
      assert block.answer == "dark blue"
    else:
      assert before.rstrip(".:)]").endswith(block.answer.rstrip(")]"))


def test_labelled_and_bulleted_styles_both_occur():
  shares = collections.Counter(style.labels is not None for style in _styles())
  assert min(shares.values()) > 200
  assert not any(style.labels for style in _styles(labelled=False))


@pytest.mark.parametrize(
  ("mark", "labels", "answer"),
  [
    ("({})", "abc", "(b)"),
    ("{}.", "ABC", "B"),
    ("{})", "abc", "b"),
    ("[{}]", "123", "[2]"),
    ("{}:", "123", "2"),
    ("({}).", "ABC", "(B)"),
  ],
)
def test_the_label_is_the_answer_with_its_brackets_and_no_punctuation(mark, labels, answer):
  style = options.Style("Options:", mark, tuple(labels), "", "\n")
  assert options.block(CHOICES, "dark blue", style).answer == answer


def test_more_options_than_letters_get_bullets():
  many = [f"option {number}" for number in range(40)]
  style = options.Style("", "{}.", options._LABELS[0], "", "\n")
  block = options.block(many, "option 30", style)
  assert block.answer == "option 30"
  assert block.text.count("\n- ") == 39


def test_one_line_blocks_keep_their_header_on_the_line():
  style = options.Style("Choices:", "({})", ("a", "b", "c"), ";", " ")
  block = options.block(CHOICES, "red", style)
  assert block.text == "Choices: (a) red; (b) dark blue; (c) green;"


def test_a_few_shot_prompt_ends_where_the_answer_begins():
  layout = fewshot.Layout("Q: ", "A: ", "\n", "\n\n")
  shown = [fewshot.exemplar("1 + 1", "2", layout)]
  prompt = fewshot.prompt(shown, fewshot.query("2 + 2", layout), layout.example_separator)
  assert prompt == "Q: 1 + 1\nA: 2\n\nQ: 2 + 2\nA:"


@pytest.mark.parametrize(
  ("sizes", "budget", "count"), [((3, 3, 3), 9, 3), ((3, 3, 3), 8, 2), ((9,), 8, 0), ((), 0, 0)]
)
def test_exemplars_are_kept_in_order_while_they_fit(sizes, budget, count):
  assert fewshot.within_budget(sizes, budget) == count
