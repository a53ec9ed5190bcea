import csv
import os
import pathlib

import pytest

from flan_tune import errors
from flan_tune.evaluate import published


@pytest.fixture(scope="module")
def transcribed(golden_dir) -> list[dict[str, str]]:
  """The papers' tables as they were transcribed, outside the repository."""
  named = os.environ.get("FLAN_TUNE_FACTS", "")
  file = pathlib.Path(named or golden_dir.parent / "facts") / "results_tables.tsv"
  if not file.is_file():
    pytest.skip("neither FLAN_TUNE_FACTS nor FLAN_TUNE_DATA/../facts holds results_tables.tsv")
  with file.open(encoding="utf-8", newline="") as lines:
    return list(csv.DictReader(lines, delimiter="\t"))


def test_every_transcribed_score_is_kept(transcribed):
  def key(row):
    return tuple(row[name] for name in ("source", "model", "benchmark", "setting", "score"))

  kept = {key(row) for row in published.rows()}
  assert {key(row) for row in transcribed} <= kept


def test_a_model_has_its_rows_alone():
  rows = published.rows("Flan-T5-XXL")
  assert {row["model"] for row in rows} == {"Flan-T5-XXL"}
  scores = {(row["benchmark"], row["setting"]): row["score"] for row in rows}
  assert scores["MMLU", "5-shot direct, validation"] == "55.1"
  assert scores["BBH/snarks", "3-shot direct"] == "77.0"


def test_an_unknown_model_is_named_with_its_neighbour():
  with pytest.raises(errors.UserError, match="did you mean 'Flan-T5-XXL'"):
    published.rows("Flan-T5-XXXL")


def test_rows_can_be_changed_without_changing_those_of_others():
  published.rows("Random")[0]["score"] = "99"
  assert "99" not in {row["score"] for row in published.rows("Random")}
