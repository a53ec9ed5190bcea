"""The nine chain-of-thought sets: cards, templates, mixture, on invented and on real rows."""

import collections
import functools
import pathlib
import re
import subprocess
import sys

import pytest

from flan_tune import cards, render, sources
from flan_tune.text import answers

INVENTED = pathlib.Path(__file__).parent / "data"
# Task: (upstream rows, answer-first few-shot templates), Chung et al. 2022, appendix A.4, and
# FLAN: flan/v2/templates.py, whose one target without an answer is here answer-first.
FACTS = {
  "cot_gsm8k": (7473, 0),
  "cot_strategyqa": (2061, 1),
  "cot_creak": (6915, 5),
  "cot_qasc": (1084, 1),
  "cot_esnli": (36174, 1),
  "cot_ecqa": (7112, 2),
  "cot_sensemaking": (6070, 0),
  "stream_aqua": (2728, 2),
  "stream_qed": (5154, 1),
}
CLOSING = re.compile(r"([Aa]nswer is|[Ff]inal answer:|Answer:) \{answer\}\.$")
TASKS = [card.name for card in cards.load().members("flan_cot")]
every_task = pytest.mark.parametrize("name", TASKS)


def card_of(name):
  return cards.load().tasks[name]


def family_of(name):
  return cards.family(card_of(name).templates)


@functools.cache
def renderer(name, root, split="train"):
  def open_rows(card, part):
    return sources.open_split(card.source, card.splits[part], root, where=card.file)

  return render.open_renderer(card_of(name), open_rows=open_rows, split=split, shots=2)


def few_shot_of(name):
  return [one.pattern for one in family_of(name).few_shot]


def is_answer_first(pattern):
  return pattern.targets.holes.index("answer") < pattern.targets.holes.index("rationale")


def test_the_mixture_has_the_nine_tasks_half_of_them_few_shot():
  mixture = cards.load().mixtures["flan_cot"]
  assert list(FACTS) == TASKS
  assert (mixture.cap, mixture.inverted) == (100_000, 0.3)
  assert dict(mixture.settings) == {"zs_opt": 1, "fs_opt": 1}


@every_task
def test_cards_say_what_the_facts_say(name):
  card = card_of(name)
  assert (card.size, card.group, card.version) == (FACTS[name][0], "cot", 1)
  assert card.extract == "final_answer"
  assert 0 <= card.chance < 0.6
  assert card.paper.startswith(("https://arxiv.org/abs/", "https://aclanthology.org/"))
  assert card.licence and card.category
  assert dict(card.splits) == {"train": "train[:-200]", "validation": "train[-200:]"}


@every_task
def test_zero_shot_targets_reason_first_and_end_with_the_answer(name):
  for pattern in family_of(name).zero_shot:
    assert pattern.targets.text.startswith("{rationale}"), pattern.place
    assert CLOSING.search(pattern.targets.text), pattern.place


@every_task
def test_zero_shot_closings_vary(name):
  texts = {pattern.targets.text for pattern in family_of(name).zero_shot}
  assert len(texts) == cards.TEMPLATES_PER_FAMILY


@every_task
def test_few_shot_targets_have_reasons_and_answer_in_the_order_of_the_facts(name):
  patterns = few_shot_of(name)
  assert sum(is_answer_first(pattern) for pattern in patterns) == FACTS[name][1]
  for pattern in patterns:
    assert is_answer_first(pattern) or CLOSING.search(pattern.targets.text), pattern.place


@every_task
def test_few_shot_layouts_differ_and_most_may_be_mixed(name):
  few_shot = family_of(name).few_shot
  layouts = [(one.pattern.inputs.text, one.layout, one.wrapper.text) for one in few_shot]
  assert len(set(layouts)) == len(layouts)
  assert sum(one.mix for one in few_shot) >= 7


@every_task
def test_inverted_templates_cover_the_four_directions(name):
  content = {"question", "premise", "hypothesis"}
  found = collections.Counter()
  for pattern in family_of(name).inverted:
    asked, given = set(pattern.targets.holes), set(pattern.inputs.holes)
    assert not asked & given, pattern.place
    kind = {"rationale", "answer"} & given
    found[(*sorted(kind), "and question" if content & given and kind == {"answer"} else "")] += 1
    if kind == {"answer"}:
      assert "rationale" in asked
    else:
      assert content & asked
  assert 8 <= found.total() <= 18
  assert {kind[:-1] for kind in found} == {("rationale",), ("answer",), ("answer", "rationale")}
  assert all(count >= 2 for count in found.values())
  assert len(found) == 4


@every_task
def test_wording_is_tidy(name):
  family = family_of(name)
  patterns = [*family.zero_shot, *few_shot_of(name), *family.inverted]
  for pattern in patterns:
    for text in (pattern.inputs.text, pattern.targets.text):
      assert text == text.strip(), pattern.place
      assert "  " not in text and "}{" not in text and " \n" not in text, pattern.place
      if name not in ("cot_gsm8k", "cot_strategyqa", "cot_esnli", "stream_qed"):
        # Questions that end with a list of options: nothing may run on in the last option's line.
        assert not re.search(r"\{question\}(?!\n|$)", text), pattern.place
      if name == "stream_aqua":
        assert not re.search(r"\{rationale\}(?!\n|$)", text), pattern.place


def test_no_instruction_is_used_twice():
  texts = collections.Counter(
    pattern.inputs.text
    for name in TASKS
    for pattern in (*family_of(name).zero_shot, *family_of(name).inverted)
    # Bare labels such as "Question: ... Answer: ..." are no instructions.
    if len(re.sub(r"\{\w+\}|\w+:", "", pattern.inputs.text).split()) > 4
  )
  assert [text for text, count in texts.items() if count > 1] == []


def check_examples(name, root, *, rows):
  """Renders the first `rows` rows in every setting and direction."""
  tested = renderer(name, root)
  extract = answers.EXTRACTORS["final_answer"]
  targets = {p.place: p for p in (*tested.family.zero_shot, *few_shot_of(name))}
  checked = 0
  for index in range(min(rows, len(tested.rows))):
    for setting in tested.card.settings:
      example = tested.example(index, setting=setting)
      where = (example.template, index)
      assert example.answer in example.targets, where
      assert example.shots == 0 or setting.startswith("fs"), where
      if not is_answer_first(targets[example.template]):
        assert example.targets.endswith(f"{example.answer}."), where
      elif answers.has_cue(tested.rows[index]["rationale"]):
        continue  # a few rationales say "the answer is" on their own, and theirs comes last
      assert extract(example.targets) == extract(example.answer), where
      checked += 1
    inverted = tested.example(index, inverted=True)
    for text in (inverted.inputs, inverted.targets, example.inputs):
      assert text and text == text.strip(), where
  assert checked >= min(rows, len(tested.rows))


@every_task
def test_invented_rows_make_examples_in_every_setting(name):
  check_examples(name, INVENTED, rows=8)


@every_task
def test_real_rows_make_examples_in_every_setting(name, data_dir):
  check_examples(name, data_dir, rows=60)


@every_task
def test_held_out_rows_are_two_hundred_and_none_is_trained_on(name, data_dir):
  train, held_out = (renderer(name, data_dir, split).rows for split in ("train", "validation"))
  assert len(held_out) == 200
  whole = sources.open_split(card_of(name).source, "train", data_dir, where=name)
  assert len(train) == len(whole) - 200
  assert train[len(train) - 1] == whole[len(train) - 1]
  assert held_out[0] == whole[len(train)]


@every_task
def test_missing_rows_name_a_repository(name, tmp_path):
  with pytest.raises(sources.MissingData, match=r"clone github.com/[\w-]+/[\w-]+ into"):
    renderer(name, tmp_path)


def test_invented_files_are_what_their_script_writes(tmp_path):
  subprocess.run([sys.executable, INVENTED / "invent.py", tmp_path], check=True)
  written = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert len(written) == 12
  for path in written:
    assert path.read_bytes() == (INVENTED / path.relative_to(tmp_path)).read_bytes()
