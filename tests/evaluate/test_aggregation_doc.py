"""Every figure of docs/aggregation.md is computed here: what this prints is what to paste there."""

import pytest

from flan_tune.evaluate import aggregate, published

TABLE_5 = [row for row in published.rows() if row["source"].endswith("Table 5")]
MODELS = list(dict.fromkeys(row["model"] for row in TABLE_5))
PRINTED = {
  row["model"]: float(row["score"]) for row in TABLE_5 if row["benchmark"] == "normalized_average"
}


@pytest.fixture(scope="module")
def document(repository) -> str:
  file = repository / "docs" / "aggregation.md"
  if not file.is_file():
    pytest.skip("an unpacked archive has no docs/")
  return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found() -> dict[str, aggregate.Aggregate]:
  return {model: aggregate.aggregate(published.rows(model)) for model in MODELS}


def table_5(found):
  for model, one in found.items():
    score = one.normalized_average
    difference = round(score - PRINTED[model], 2) + 0.0  # no minus in front of 0.00
    yield f"| {model} | {PRINTED[model]:.1f} | {score:.2f} | {difference:+.2f} |"


def largest_differences(found):
  by_task = max(abs(one.normalized_average - PRINTED[model]) for model, one in found.items())
  means = {model: [row for row in TABLE_5 if row["model"] == model] for model in MODELS}
  by_mean = max(
    abs(aggregate.aggregate(rows).normalized_average - PRINTED[model])
    for model, rows in means.items()
  )
  yield f"The largest difference is {by_task:.2f}"
  yield f"off by up to {by_mean:.1f}"


def decisions(found):
  for model, one in found.items():
    for note in one.notes:
      yield f"| {model} | {note} |"


def table_4(found):
  for model in ("PaLM-540B", "Flan-PaLM-540B"):
    printed = {
      (row["benchmark"], row["setting"]): row["score"]
      for row in published.rows(model)
      if row["source"].endswith("Table 4")
    }
    for one in found[model].groups:
      kind = one.setting.split()[-1]
      told = f"{model} | {one.benchmark} {kind} | {printed[one.benchmark, kind]}"
      yield f"| {told} | {one.macro:.1f} | {one.of} |"


@pytest.mark.parametrize("lines", [table_5, largest_differences, decisions, table_4])
def test_the_document_has_the_computed_figures(document, found, lines):
  expected = list(lines(found))
  assert not [line for line in expected if line not in document], "\n".join(expected)
