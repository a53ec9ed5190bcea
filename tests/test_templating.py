"""Templates are text with holes and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan_tune import errors, templating


def test_holes_are_filled_and_doubled_braces_are_literal():
  template = templating.Template("{{{word}}} is {word}, not {other}.")
  assert template.holes == ("word", "word", "other")
  assert template.render({"word": "a", "other": "b"}) == "{a} is a, not b."


@given(st.text(), st.text())
def test_values_are_inserted_as_they_are(left, right):
  """Braces and backslashes in a value mean nothing."""
  template = templating.Template("<{left}|{right}>")
  assert template.render({"left": left, "right": right}) == f"<{left}|{right}>"


@pytest.mark.parametrize(
  "text", ["{", "}", "{a", "{a.b}", "{a[0]}", "{a!r}", "{a:>3}", "{}", "{0}"]
)
def test_anything_but_a_plain_name_is_refused_with_the_place(text):
  with pytest.raises(errors.UserError, match="nli.yaml: zero_shot"):
    templating.Template(text, "templates/nli.yaml: zero_shot[3]")


def test_a_hole_without_a_field_names_the_nearest_field():
  template = templating.Template("{premis}", "templates/nli.yaml: zero_shot[3].inputs")
  with pytest.raises(errors.UserError, match=r"zero_shot\[3\].inputs.*'premis'.*'premise'"):
    template.render({"premise": "x", "hypothesis": "y"})


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("{q}\n\n{options}", "{q}"),
    ("{q}\n{options}\nAnswer:", "{q}\nAnswer:"),
    ("{{x}} {q} {options}", "{{x}} {q}"),
    ("{q}", "{q}"),
  ],
)
def test_a_hole_is_taken_out_with_the_white_space_before_it(text, expected):
  assert templating.Template(text).without("options").text == expected
