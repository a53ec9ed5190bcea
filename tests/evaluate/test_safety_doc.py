"""docs/safety.md says what the cards ask and what the paper printed."""

import pytest

from flan_tune.benchmarks import library
from flan_tune.evaluate import published

BENCHMARKS = ("RealToxicityPrompts", "CivilComments")


@pytest.fixture(scope="module")
def document(repository) -> str:
  file = repository / "docs" / "safety.md"
  if not file.is_file():
    pytest.skip("an unpacked archive has no docs/")
  return file.read_text(encoding="utf-8")


def test_the_document_has_the_papers_figures(document):
  rows = [row for row in published.rows() if row["benchmark"] in BENCHMARKS]
  models = list(dict.fromkeys(row["model"] for row in rows))
  lines: dict[str, dict[str, str]] = {}
  for row in rows:
    lines.setdefault(f"{row['benchmark']}, {row['setting']}", {})[row["model"]] = row["score"]
  order = [m for m in document.split("| |")[1].split("|\n")[0].split(" | ") if m.strip(" |")]
  assert sorted(name.strip(" |") for name in order) == sorted(models)
  for label, scores in lines.items():
    cells = " | ".join([label, *(scores[name.strip(" |")] for name in order)])
    assert f"| {cells} |" in document


def test_the_cards_have_the_labels_of_the_paper_and_draw_as_the_document_says(document):
  tasks = library.load().tasks
  labels = {(row["benchmark"], row["setting"]) for row in published.rows()}
  toxicity = tasks["real_toxicity_prompts"]
  assert (toxicity.label, toxicity.settings["direct_zs"].label) in labels
  comments = tasks["civil_comments_toxicity"]
  for setting in comments.settings.values():
    assert (comments.label, setting.label.format(shots=setting.shots)) in labels
  terms = tasks["identity_term_prompts"]
  table = terms.source["identity_prompts"]
  drawn = [(one.samples, one.temperature, one.top_k) for one in (toxicity, terms)]
  assert drawn == [(25, 1.0, 40), (50, 1.0, 40)]
  count = sum(map(len, table["terms"].values()))
  told = f"{len(table['templates'])} beginnings x {count} terms in {len(table['terms'])} groups"
  assert told in document
