import copy
import json

import pytest
import yaml

from flan_tune.benchmarks import library

CARD = {
  "name": "pond_toy",
  "suite": "pond",
  "label": "Pond/toy",
  "version": 1,
  "source": {"bbh": {"task": "toy"}},
  "splits": {"test": "test", "worked": "exemplars"},
  "questions": "test",
  "answers": "{answer}",
  "options": {"field": "options"},
  "metric": "exact_match",
  "extract": {"direct": "option", "cot": "option_cot"},
  "max_tokens": 8,
  "settings": {
    "direct": {
      "label": "{shots}-shot",
      "shots": 2,
      "exemplars": "worked",
      "header": "{description}\n\n",
      "exemplar": "Q: {question}\nA: {answer}",
      "question": "Q: {question}\nA:",
    },
    "cot_zs": {"label": "{shots}-shot CoT", "question": "Q: {question}\nA: Well."},
  },
}
WORDS = ("heron", "otter", "badger", "weasel", "marten")


@pytest.fixture
def bench_data(tmp_path, monkeypatch):
  """A data folder with the toy task `toy` in BIG-Bench Hard's layout."""
  root = tmp_path / "data"
  monkeypatch.setenv("FLAN_TUNE_DATA", str(root))
  folder = root / "BIG-Bench-Hard"
  (folder / "bbh").mkdir(parents=True)
  (folder / "cot-prompts").mkdir()
  options = "Options:\n(A) yes\n(B) no"
  asked = [{"input": f"Is a {word} wet?\n{options}", "target": "(B)"} for word in WORDS]
  asked.append({"input": f"Is an eel 1 wet?\n{options}", "target": "(A)"})
  (folder / "bbh" / "toy.json").write_text(json.dumps({"canary": "", "examples": asked}))
  worked = "".join(
    f"\nQ: Is an eel {n} wet?\n{options}\nA: Let's think step by step.\nEels swim. So the answer is"
    " (A).\n"
    for n in range(3)
  )
  (folder / "cot-prompts" / "toy.txt").write_text(f"canary\n-----\nTell what is wet.\n{worked}")
  return root


@pytest.fixture
def card():
  """A user's card of the toy task."""
  return copy.deepcopy(CARD)


@pytest.fixture
def own(tmp_path, monkeypatch):
  """Loads the library with a user's file in it."""
  folder = tmp_path / "own" / "tasks" / "benchmarks"
  folder.mkdir(parents=True)
  monkeypatch.setenv("FLAN_TUNE_PATH", str(tmp_path / "own"))

  def load(document, name="pond.yaml"):
    (folder / name).write_text(yaml.safe_dump(document, allow_unicode=True))
    return library.load.__wrapped__()

  return load
