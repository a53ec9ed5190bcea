import pytest

from flan_tune.evaluate import wording

S = wording.Setting


@pytest.mark.parametrize(
  ("setting", "expected"),
  [
    ("5-shot direct, validation", S(5, "direct", "validation")),
    ("5-shot CoT, test", S(5, "CoT", "test")),
    ("5-shot, test", S(5, "", "test")),
    ("3-shot CoT", S(3, "CoT")),
    ("1-shot direct EM, 8 languages", S(1, "direct")),
    ("1-shot direct EM", S(1, "direct")),
    ("8-shot native-language CoT", S(8, "CoT")),
    ("8-shot CoT, 10 languages", S(8, "CoT")),
    ("CoT+self-consistency", S(None, "CoT", voted=True)),
    ("3-shot CoT+SC", S(3, "CoT", voted=True)),
    ("3-shot CoT maj@40", S(3, "CoT", voted=True)),
    ("zero-shot chain of thought", S(0, "CoT")),
    ("direct_zs", S(0, "direct")),
    ("cot", S(None, "CoT")),
    ("few-shot", S(remark="few-shot")),
    ("3-shot direct (9 tasks, proportion A)", S(3, "direct", remark="(9 tasks, proportion A)")),
    ("various", S(remark="various")),
    ("indirectly", S(remark="indirectly")),
  ],
)
def test_settings_of_all_tables_are_read_alike(setting, expected):
  assert wording.parse(setting) == expected


@pytest.mark.parametrize(
  ("benchmark", "setting", "suite", "task", "expected"),
  [
    ("MMLU (test)", "direct", "MMLU", "", S(None, "direct", "test")),
    ("BBH-CoT", "zero-shot", "BBH", "", S(0, "CoT")),
    ("BBH-nlp", "CoT", "BBH-nlp", "", S(None, "CoT")),
    ("bbh/snarks", "cot", "BBH", "snarks", S(None, "CoT")),
    ("Held-In (8 tasks)", "zero-shot", "Held-In (8 tasks)", "", S(0)),
  ],
)
def test_a_benchmark_may_name_split_and_kind(benchmark, setting, suite, task, expected):
  assert wording.read(benchmark, setting) == (suite, task, expected)


@pytest.mark.parametrize(
  "text", ["5-shot direct, validation", "3-shot CoT+self-consistency", "3-shot CoT (9 tasks)"]
)
def test_a_setting_is_written_as_it_is_read(text):
  assert wording.parse(text).text == text
