import json
import random

import pytest

from flan_tune import errors
from flan_tune.evaluate import aggregate, members, published

TABLE_5 = "Table 5"
MODELS = [row["model"] for row in published.rows() if row["source"].endswith(TABLE_5)]
MODELS = list(dict.fromkeys(MODELS))
SIX = {
  "MMLU direct": ("MMLU", "5-shot direct, validation"),
  "MMLU CoT": ("MMLU", "5-shot CoT, validation"),
  "BBH direct": ("BBH", "3-shot direct"),
  "BBH CoT": ("BBH", "3-shot CoT"),
  "TyDiQA": ("TyDiQA", "1-shot direct EM, 8 languages"),
  "MGSM": ("MGSM", "8-shot CoT, 10 languages"),
}


def printed(model):
  (score,) = [
    row["score"]
    for row in published.rows(model)
    if row["benchmark"] == "normalized_average" and row["source"].endswith(TABLE_5)
  ]
  return float(score)


def row(benchmark, setting, score, **others):
  return {"benchmark": benchmark, "setting": setting, "score": score, **others}


def all_tasks(suite, setting, score, **others):
  return [row(f"{suite}/{task}", setting, score, **others) for task in members.of(suite)]


def everything(score=60, **others):
  """An evaluation of ours: every task of the six, no means."""
  return [
    one for suite, setting in SIX.values() for one in all_tasks(suite, setting, score, **others)
  ]


def test_table_5_has_twenty_models():
  assert len(MODELS) == 20


@pytest.mark.parametrize("model", MODELS)
def test_published_rows_give_the_printed_normalized_average(model):
  found = aggregate.aggregate(published.rows(model))
  assert found.normalized_average == pytest.approx(printed(model), abs=0.1)
  assert not found.missing


@pytest.mark.parametrize("model", ["PaLM-540B", "U-PaLM-540B", "T5-Small"])
def test_order_repetition_and_numbers_as_text_change_nothing(model):
  rows = published.rows(model)
  expected = aggregate.aggregate(rows)
  shuffled = [{**one, "score": float(one["score"])} for one in rows] + rows[::3]
  random.Random(0).shuffle(shuffled)
  assert aggregate.aggregate(shuffled) == expected


def test_an_average_among_the_rows_is_never_read():
  rows = published.rows("Flan-T5-XL")
  changed = [
    one | {"score": "?"} if one["benchmark"] == "normalized_average" else one for one in rows
  ]
  assert aggregate.aggregate(changed) == aggregate.aggregate(rows)


@pytest.mark.parametrize("part", SIX)
def test_a_part_that_is_missing_is_named_and_not_averaged_away(part):
  rows = [
    one for one in everything() if (one["benchmark"].split("/")[0], one["setting"]) != SIX[part]
  ]
  found = aggregate.aggregate(rows)
  assert found.normalized_average is None
  assert found.missing == (part,)
  others = [value for name, value in found.parts.items() if name != part]
  assert found.parts[part] is None
  assert found.partial_average == pytest.approx(sum(others) / 5)


def test_tasks_that_are_missing_are_named_unless_a_mean_tells_their_score():
  rows = [one for one in everything() if one["benchmark"] != "BBH/snarks"]
  found = aggregate.aggregate(rows)
  assert found.normalized_average is None
  assert found.missing == ("BBH direct: snarks", "BBH CoT: snarks")
  # 26 files of 60 and a mean of 61 leave 87 for the 27th.
  means = [row("BBH", setting, 61) for setting in ("3-shot direct", "3-shot CoT")]
  told = aggregate.aggregate(rows + means)
  assert told.normalized_average is not None
  assert any("snarks 87.0" in note for note in told.notes)


def test_a_mean_that_no_missing_score_explains_counts_instead_of_the_tasks():
  rows = [one for one in all_tasks("BBH", "3-shot CoT", 60) if one["benchmark"] != "BBH/snarks"]
  found = aggregate.aggregate([*rows, row("BBH", "3-shot CoT", 30)])
  alone = aggregate.aggregate([row("BBH", "3-shot CoT", 30)])
  assert found.parts["BBH CoT"] == alone.parts["BBH CoT"]
  assert any("cannot hold beside the 26 tasks" in note for note in found.notes)


def test_chance_is_taken_off_file_by_file():
  """Guessing scores 0, a perfect model 100, and a file half way up 50, whatever its chance."""
  for suite in ("MMLU", "BBH", "TyDiQA", "MGSM"):
    for share in (0, 0.5, 1):
      rows = [
        row(f"{suite}/{task}", "3-shot CoT", one.chance + share * (100 - one.chance))
        for task, one in members.of(suite).items()
      ]
      assert aggregate.aggregate(rows).benchmarks[0].normalised == pytest.approx(100 * share)


def test_votes_and_prompts_without_exemplars_are_no_part_of_the_six():
  rows = [one for one in everything() if one["setting"] != "3-shot CoT"]
  for setting in ("3-shot CoT+self-consistency", "0-shot CoT", "cot_zs"):
    found = aggregate.aggregate(rows + all_tasks("BBH", setting, 99))
    assert found.missing == ("BBH CoT",)
    assert any("BBH CoT" in note and "not read" in note for note in found.notes)
  voted = aggregate.aggregate(rows + all_tasks("BBH", "3-shot CoT", 99, samples=40))
  assert voted.missing == ("BBH CoT",)


@pytest.mark.parametrize("swap", [False, True])
def test_the_validation_split_of_mmlu_goes_before_the_test_split(swap):
  test = [row("MMLU (test)", f"5-shot {kind}", 90) for kind in ("direct", "CoT")]
  rows = [*everything(), *test][:: -1 if swap else 1]
  expected = aggregate.aggregate(everything())
  assert aggregate.aggregate(rows).normalized_average == pytest.approx(expected.normalized_average)
  alone = [one for one in rows if not one["benchmark"].startswith("MMLU/")]
  untold = aggregate.aggregate([*alone, row("MMLU", "direct", 25)])
  assert untold.parts["MMLU direct"] == 0
  found = aggregate.aggregate(alone)
  assert found.parts["MMLU direct"] == pytest.approx(100 * (90 - 25) / 75)
  assert any("test split" in note for note in found.notes)


def test_english_stands_apart():
  rows = [
    *everything(),
    row("MGSM/en", "8-shot CoT", 100),
    row("TyDiQA/en", "1-shot direct EM", 100),
  ]
  found = aggregate.aggregate(rows)
  assert found.normalized_average == pytest.approx(
    aggregate.aggregate(everything()).normalized_average
  )
  assert {one.benchmark for one in found.benchmarks} >= {"MGSM/en", "TyDiQA/en"}


def test_rows_of_an_evaluation_are_read_by_their_labels():
  """Their `setting` is a short name, and they hold more than is needed."""
  renamed = {"3-shot direct": "direct", "3-shot CoT": "cot"}
  rows = [
    one | {"label": one["setting"], "setting": renamed.get(one["setting"], "x")}
    for one in everything()
  ]
  assert aggregate.aggregate(rows) == aggregate.aggregate(everything())


@pytest.mark.parametrize(
  ("model", "setting", "group"),
  [
    (m, s, g)
    for m in ("PaLM-540B", "Flan-PaLM-540B")
    for s in ("direct", "CoT")
    for g in ("nlp", "alg")
  ],
)
def test_the_split_of_bbh_gives_table_4(model, setting, group):
  rows = published.rows(model)
  (table_4,) = [
    float(one["score"])
    for one in rows
    if (one["benchmark"], one["setting"]) == (f"BBH-{group}", setting)
  ]
  files = [one for one in rows if not one["benchmark"].startswith("BBH-")]
  (found,) = [
    one
    for one in aggregate.aggregate(files).groups
    if (one.benchmark, one.setting) == (f"BBH-{group}", f"3-shot {setting}")
  ]
  assert found.of == {"nlp": 12, "alg": 15}[group]
  # One file of PaLM's is implied by the mean of 27, whose rounding by 0.05 is 0.09 of 15 files.
  assert found.macro == pytest.approx(table_4, abs=0.15)


def test_tasks_count_alike_in_macro_and_questions_in_micro():
  rows = [row("MGSM/de", "8-shot CoT", 100, n=30), row("MGSM/fr", "8-shot CoT", 0, n=10)]
  (found,) = aggregate.aggregate(rows).benchmarks
  assert (found.macro, found.micro, found.tasks, found.of, found.n) == (50, 75, 2, 10, 40)


def test_an_interval_needs_numbers_of_questions_and_holds_the_mean():
  (unknown,) = aggregate.aggregate(all_tasks("MGSM", "8-shot CoT", 40)).benchmarks
  assert unknown.low is None
  (few,) = aggregate.aggregate(all_tasks("MGSM", "8-shot CoT", 40, n=10)).benchmarks
  (many,) = aggregate.aggregate(all_tasks("MGSM", "8-shot CoT", 40, n=250)).benchmarks
  scores = [1.0] * 100 + [0.0] * 150
  (known,) = aggregate.aggregate(all_tasks("MGSM", "8-shot CoT", 40, questions=scores)).benchmarks
  assert few.low < many.low < 40 < many.high < few.high
  assert (known.low, known.high) == pytest.approx((many.low, many.high), abs=0.3)


def test_other_benchmarks_are_kept_with_their_own_chance():
  rows = [
    row("Winogender", "0-shot", 75, chance=0.5),
    row("CivilComments", "10-shot AUC-ROC", 82.1),
    row("RealToxicityPrompts", "toxic prompt", 26, chance=0.0, higher_is_better=False),
  ]
  found = {one.benchmark: one for one in aggregate.aggregate(rows).benchmarks}
  assert found["Winogender"].normalised == pytest.approx(50)
  assert found["CivilComments"].normalised is None
  assert found["RealToxicityPrompts"].normalised is None


def test_a_score_that_is_no_mean_of_its_questions_has_no_interval():
  def ends(score, **others):
    (found,) = aggregate.aggregate([row("Other", "0-shot", score, **others)]).benchmarks
    return found.low, found.high

  assert ends(50, n=4, questions=[1, 1, 0, 0]) == (0, 100)
  assert ends(82.1, n=4, questions=[1, 1, 0, 0]) == (None, None)
  assert ends(50, n=4) == (None, None)


def test_samples_are_votes_in_the_four_suites_alone():
  rows = [row("RealToxicityPrompts", "toxic prompt", 1, samples=25)]
  assert aggregate.aggregate(rows).benchmarks[0].setting == "toxic prompt"
  (found,) = aggregate.aggregate([row("BBH", "3-shot CoT", 1, samples=25)]).benchmarks
  assert found.setting == "3-shot CoT+self-consistency"


def test_attributes_names_and_json_say_the_same():
  found = aggregate.aggregate(published.rows("PaLM-540B"))
  assert found["normalized_average"] == found.normalized_average
  assert dict(found)["benchmarks"][0]["macro"] == found.benchmarks[0].macro
  read = json.loads(json.dumps(found.as_json(), allow_nan=False))
  assert read["groups"][0]["benchmark"] == found.groups[0].benchmark
  assert read["parts"] == found.parts
  assert found.table()[-1]["macro"] == found.normalized_average
  with pytest.raises(KeyError):
    found["_absent"]


def test_models_are_aggregated_apart():
  rows = published.rows("T5-Small") + published.rows("T5-Base")
  with pytest.raises(errors.UserError, match=r"2 models \(T5-Base, T5-Small\)"):
    aggregate.aggregate(rows)
  found = aggregate.by_model(rows)
  assert list(found) == ["T5-Small", "T5-Base"]
  assert found["T5-Base"] == aggregate.aggregate(published.rows("T5-Base"))


def test_no_rows_are_all_parts_missing():
  found = aggregate.aggregate([])
  assert found.normalized_average is found.partial_average is None
  assert len(found.missing) == 6


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([row("BBH", "3-shot CoT", "n/a")], "row 1: score: 'n/a' found for BBH; .* 0 to 100"),
    ([row("BBH", "3-shot CoT", "nan")], "row 1: score: 'nan'"),
    ([row("BBH/snarks", "3-shot CoT", 101)], "row 1: score: 101 found for BBH/snarks"),
    ([row("BBH", "3-shot CoT", True)], "row 1: score: True"),
    ([{"setting": "3-shot CoT", "score": 1}], "row 1: benchmark: None found"),
    (["model"], "row 1: 'model' found; a row is a mapping"),
    ([row("BBH", None, 1)], "row 1: setting: None found"),
    (
      [row("BBH/snarks", "3-shot CoT", 50), row("BBH/snarks", "CoT, 3-shot", 51)],
      "BBH/snarks, 3-shot CoT: two scores, 50 and 51",
    ),
  ],
)
def test_rows_that_are_none_are_named(rows, message):
  with pytest.raises(errors.UserError, match=message):
    aggregate.aggregate(rows)


@pytest.mark.parametrize("empty", [None, "", " ", float("nan")])
def test_a_row_without_a_score_is_noted(empty):
  found = aggregate.aggregate([row("RealToxicityPrompts", "toxic", empty)])
  assert found.notes == ("RealToxicityPrompts, toxic: left out, for it has no score",)


def test_cells_that_a_data_frame_leaves_empty_are_none():
  """Joined tables have NaN where one of them has no such column."""
  others = dict.fromkeys(("model", "label", "n", "chance", "questions"), float("nan"))
  found = aggregate.by_model([one | others for one in everything()])
  assert found == {"": aggregate.aggregate(everything())}


@pytest.mark.parametrize("rows", [None, "results.json", {"rows": []}, 3])
def test_what_is_no_rows_is_told_from_rows(rows):
  for read in (aggregate.aggregate, aggregate.by_model):
    with pytest.raises(errors.UserError, match=r'^rows: \w+ found; .*"rows" of a'):
      read(rows)


def test_chance_is_that_of_the_tasks_that_are_there():
  """A file of two answers is compared with 50, not with the mean of all 27."""
  found = aggregate.aggregate([row("BBH/snarks", "3-shot direct", 40)])
  assert [one.chance for one in (*found.benchmarks, *found.groups)] == [50, 50]


@pytest.mark.parametrize(("scale", "told"), [(1, False), (0.01, True)])
def test_shares_where_percentages_belong_are_told(scale, told):
  notes = aggregate.aggregate(everything(60 * scale)).notes
  assert any("no score is above 1" in note for note in notes) == told


def test_an_interval_is_that_of_the_mean_beside_it_or_none():
  rows = [one for one in all_tasks("BBH", "3-shot CoT", 60, n=250) if "snarks" not in str(one)]
  (found,) = aggregate.aggregate([*rows, row("BBH", "3-shot CoT", 61)]).benchmarks
  assert (found.macro, found.micro, found.low, found.high) == (61, None, None, None)
