"""Extraction rules on real rows: what the benchmarks hold as right must be read as right."""

import csv
import json
import re

import pytest

from flan_tune.text.extraction import RULES

LETTER, WORD, NUMBER = "option", "word", "number"
WORDS = (("True", "False"), ("yes", "no"), ("Yes", "No"), ("valid", "invalid"))


def kind(target: str) -> tuple[str, tuple[str, ...]]:
  if re.fullmatch(r"\([A-Z]\)", target):
    return LETTER, tuple(f"({chr(65 + i)})" for i in range(18))
  for options in WORDS:
    if target in options:
      return WORD, options
  return (NUMBER if re.fullmatch(r"-?\d+", target) else "text"), ()


def read(rule: str, generation: str, options: tuple[str, ...] = ()) -> tuple:
  return RULES[rule].strict(generation, options), RULES[rule].loose(generation, options)


def test_every_target_of_bbh_is_read_as_itself(data_dir):
  files = sorted((data_dir / "BIG-Bench-Hard/bbh").glob("*.json"))
  assert files
  for file in files:
    for row in json.loads(file.read_text())["examples"]:
      target = row["target"]
      rule, options = kind(target)
      if "," in target or "rita" in target:
        continue  # three rows of ruin_names give the text of an option instead of its letter
      assert read(rule, target, options) == (target, target), file.name
      written = f"It is so. So the answer is {target}."
      assert read(f"{rule}_cot", written, options) == (target, target), file.name


def test_every_rationale_of_bbh_is_read_as_its_closing_answer(data_dir):
  for file in sorted((data_dir / "BIG-Bench-Hard/cot-prompts").glob("*.txt")):
    exemplars = file.read_text().split("\nA: ")[1:]
    assert len(exemplars) == 3
    for exemplar in exemplars:
      rationale = exemplar.split("\n\nQ:")[0].strip()
      target = rationale.rpartition("So the answer is ")[2].removesuffix(".")
      rule, options = kind(target)
      assert read(f"{rule}_cot", rationale, options) == (target, target), file.name


def test_every_rationale_of_mmlu_is_read_as_its_closing_answer(data_dir):
  prompts = json.loads((data_dir / "mmlu/mmlu-cot.json").read_text())
  options = ("(A)", "(B)", "(C)", "(D)")
  seen = 0
  for prompt in prompts.values():
    for rationale in re.findall(r"\nA: (.*?The answer is \([A-D]\))", prompt, re.DOTALL):
      target = rationale[-3:]
      assert read("option_cot", f"{rationale}.", options) == (target, target)
      seen += 1
  assert seen > 250


@pytest.mark.parametrize("language", "bn de en es fr ja ru sw te th zh".split())  # noqa: SIM905
def test_every_rationale_of_mgsm_is_read_as_its_number(data_dir, language):
  literals = json.loads((data_dir / "url-nlp/mgsm/exemplars.json").read_text())
  rows = literals["MGSM_EXEMPLARS"][language]
  for row, number in zip(rows.values(), literals["EXEMPLAR_NUMBER_ANSWERS"], strict=True):
    assert read("number_cot", row["a"]) == (str(number), str(number)), row["a"]


def test_every_answer_of_mgsm_is_read_as_itself(data_dir):
  for file in sorted((data_dir / "url-nlp/mgsm").glob("*.tsv")):
    with file.open(encoding="utf-8", newline="") as stream:
      for _, number in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
        plain = number.replace(",", "")
        assert read("number", number) == (plain, plain)
