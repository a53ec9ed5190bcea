"""Row features: small pure functions that cards name."""

import pytest

from flan_tune.text.features import FEATURES


@pytest.mark.parametrize(
  ("name", "arguments", "row", "expected"),
  [
    ("strip_fields", {}, {"a": " x\n", "n": 3}, {"a": "x", "n": 3}),
    ("rename", {"sentence": "text"}, {"sentence": "x", "b": "y"}, {"text": "x", "b": "y"}),
    ("constant", {"question": "Why?"}, {"a": "x"}, {"a": "x", "question": "Why?"}),
    (
      "label_names",
      {"names": ["no", "yes"]},
      {"label": 1},
      {"label": 1, "answer": "yes", "options": ["no", "yes"]},
    ),
  ],
)
def test_a_feature_returns_a_new_row(name, arguments, row, expected):
  before = dict(row)
  assert FEATURES[name](row, **arguments) == expected
  assert row == before
