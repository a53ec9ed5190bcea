import time

import pytest

from flan_tune import errors
from flan_tune.benchmarks import library


def keys(pairs):
  return [f"{task.name}_{setting}" for task, setting in pairs]


def test_the_papers_suites_have_all_their_tasks():
  found = library.load()
  sizes = {name: len(suite.tasks) for name, suite in found.suites.items()}
  assert sizes | {"mmlu": 57, "bbh": 27, "tydiqa": 8, "mgsm": 10} == sizes
  assert found.tasks["mgsm_en"].suite == "mgsm_english"
  assert found.tasks["tydiqa_en"].suite == "tydiqa_english"


def test_groups_are_those_of_the_papers():
  tasks = library.load().tasks.values()

  def group(suite):
    names = [task.category for task in tasks if task.suite == suite]
    return {name: names.count(name) for name in names}

  assert group("bbh") == {"nlp": 12, "algorithmic": 15}
  assert group("mmlu") == {"STEM": 18, "humanities": 13, "social sciences": 12, "other": 14}


def test_loading_opens_no_data_and_is_quick(monkeypatch):
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  library.load.__wrapped__()

  def seconds() -> float:
    start = time.process_time()
    library.load.__wrapped__()
    return time.process_time() - start

  assert any(seconds() < 0.1 for _ in range(3))  # one may meet Python's collector


@pytest.mark.parametrize(
  ("names", "count", "first"),
  [
    (["flan_eval"], 2 * 57 + 2 * 27 + 8 + 10, "mmlu_abstract_algebra_direct"),
    (["bbh"], 54, "bbh_boolean_expressions_direct"),
    (["bbh_cot_zs"], 27, "bbh_boolean_expressions_cot_zs"),
    (["mgsm"], 10, "mgsm_bn_cot"),
    (["tydiqa_english"], 1, "tydiqa_en_direct"),
    (["bbh_snarks"], 2, "bbh_snarks_direct"),
    ("bbh_snarks_cot", 1, "bbh_snarks_cot"),
    (["bbh_snarks_cot", "bbh_cot", "bbh_snarks"], 28, "bbh_snarks_cot"),
  ],
)
def test_a_name_stands_for_tasks_in_settings_each_once(names, count, first):
  found = keys(library.load().select(names))
  assert (len(found), len(set(found)), found[0]) == (count, count, first)


def test_everything_has_every_task():
  found = library.load()
  assert {task.name for task, _ in found.select(["everything"])} == set(found.tasks)


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("bbh_snark", "did you mean 'bbh_snarks'"),
    ("mmlu_dirct", "did you mean 'mmlu_direct'"),
    ("tydiqa_cot", "'tydiqa' has no setting 'cot'; it has direct, direct_zs"),
  ],
)
def test_an_unknown_name_is_told_with_the_nearest(name, said):
  with pytest.raises(errors.UserError, match=said):
    library.load().select([name])


def test_a_users_file_adds_a_suite(own, card):
  found = own(card)
  assert keys(found.select(["pond"])) == ["pond_toy_direct", "pond_toy_cot_zs"]
  assert "bbh_snarks" in found.tasks


def test_a_users_card_shadows_ours_and_the_log_says_so(own, card, caplog):
  found = own(card | dict(name="bbh_snarks", suite="bbh", version=7))
  assert found.tasks["bbh_snarks"].version == 7
  assert len(found.suites["bbh"].tasks) == 27
  assert "pond.yaml: bbh_snarks shadows" in caplog.text


def test_a_users_list_may_name_suites_and_tasks(own, card):
  own(card)
  found = own({"mine": ["pond_direct", "bbh_snarks_cot"]}, "suites.yaml")
  assert keys(found.select(["mine"])) == ["pond_toy_direct", "bbh_snarks_cot"]
  assert "flan_eval" in found.lists


@pytest.mark.parametrize(
  ("key", "value", "said"),
  [
    ("metric", "exact_mach", "pond_toy: metric: 'exact_mach' unknown .*'exact_match'"),
    ("extract", "optoin", "pond_toy: extract: 'optoin' unknown .*'option'"),
    ("extract", {"cot": "option_cot"}, "extract: says nothing of the setting 'direct'"),
    ("chance", 25, "pond_toy: chance: 25 is not a number from 0"),
    ("metrik", "x", "tasks/benchmarks/pond.yaml: key: 'metrik' unknown .*'metric'"),
    ("source", None, "pond_toy: source: a blank is not a mapping"),
    ("default", ["cto"], "default: 'cto' unknown"),
    ("questions", "tset", "splits: 'tset' unknown .*'test'"),
    ("suite", "bbh_snarks", "'bbh_snarks' stands for two"),
    ("options", {"letter": "x"}, "options: key: 'letter' unknown .*'letters'"),
    ("settings", {"direkt": {}}, "settings: 'direkt' unknown .*'direct'"),
    ("settings/direct/exemplars", [], "settings: direct: shots: needs `exemplars`"),
    ("settings/direct/question", "Q: {question!r}", "direct: question: hole .* no formats"),
    ("settings/direct/label", "{shot}", "label: hole: 'shot' unknown .*'shots'"),
  ],
)
def test_a_wrong_card_is_told_in_one_sentence(own, card, key, value, said):
  *folders, last = key.split("/")
  inner = card
  for folder in folders:
    inner = inner[folder]
  inner[last] = value
  with pytest.raises(errors.UserError, match=said) as caught:
    own(card)
  assert "\n" not in str(caught.value)


def test_a_list_of_an_unknown_name_is_told(own, card):
  with pytest.raises(errors.UserError, match="suites.yaml: mine: 'bhb' unknown .*'bbh'"):
    own({"mine": ["bhb"]}, "suites.yaml")


def test_task_cards_and_benchmark_cards_stay_apart():
  from flan_tune import cards

  assert not set(cards.load().tasks) & set(library.load().tasks)
