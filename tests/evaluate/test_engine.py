"""Asking and judging: what is recorded depends on the questions and the model alone."""

import collections
import dataclasses
import hashlib
from typing import Any, NamedTuple

import pytest

from flan_tune import errors
from flan_tune.benchmarks.exam import RANK, Exam, Question
from flan_tune.evaluate import engine, judging, outcomes, vote
from flan_tune.text.fields import BadRow

LETTERS = ("(A)", "(B)", "(C)")


class Text(NamedTuple):
  text: str
  ended: str = "eos"
  log_prob: float = -1.0

  @property
  def tokens(self) -> tuple[int, ...]:
    return tuple(range(len(self.text.split()) + 1))


class Judged(NamedTuple):
  log_probs: tuple[float, ...]
  greedy: bool = False


class Fake:
  """Answers by a rule of prompt and draw, and remembers what it was asked."""

  def __init__(self, rule):
    self.rule = rule
    self.calls: list[dict[str, Any]] = []
    self.counted = 0

  def decode(self, prompts, *, num_samples=1, seed=0, numbers=None, **options):
    self.calls.append(
      {"prompts": prompts, "num_samples": num_samples, "numbers": numbers} | options
    )
    drawn = numbers or [0] * len(prompts)
    return [
      [_text(self.rule(prompt, (seed, number, j))) for j in range(num_samples)]
      for prompt, number in zip(prompts, drawn, strict=True)
    ]

  def judge(self, pairs, *, eos=True, **options):
    self.calls.append({"prompts": [prompt for prompt, _ in pairs], "pairs": pairs} | options)
    return [Judged(self.rule(*pair)) for pair in pairs]

  def count_tokens(self, text):
    self.counted += 1
    return len(text.split()) + 1

  def can_write(self, text):
    return "\n" not in text

  @property
  def asked(self) -> collections.Counter[str]:
    return collections.Counter(prompt for call in self.calls for prompt in call["prompts"])


def _text(made: str | Text) -> Text:
  return Text(made) if isinstance(made, str) else made


class Rows(list):
  """Questions, some of them bad."""

  def __getitem__(self, index):
    if isinstance(found := super().__getitem__(index), Exception):
      raise found
    return found


def question(number: int, name: str = "x", **changes: Any) -> Question:
  right = LETTERS[0 if number % 2 else number % 3]
  prompt = f"{name} {number} " + "word " * (number * 7 % 11)
  return Question(str(number), prompt, (right,), LETTERS)._replace(**changes)


def exam(name: str = "x", count: int = 40, **changes: Any) -> Exam:
  made = Exam(
    name=f"bbh_{name}",
    setting="direct",
    suite="bbh",
    benchmark=f"BBH/{name}",
    label="3-shot direct",
    questions=Rows(question(number, name) for number in range(count)),
    metric="exact_match",
    extract="option",
    fingerprint="0" * 64,
  )
  return dataclasses.replace(made, **changes)


def oracle(*exams: Exam) -> Fake:
  right = {one.prompt: one.answers[0] for each in exams for one in each.questions}
  return Fake(lambda prompt, draw: right[prompt])


def gambler() -> Fake:
  """Draws an answer, (A) in half of the cases, with wrong forms among them."""

  def rule(prompt, draw):
    word = hashlib.sha256(repr((prompt, draw)).encode()).digest()[0]
    return (
      "no idea"
      if word < 16
      else f"it must be {LETTERS[1]}"
      if word < 32
      else (LETTERS[0] if word < 160 else LETTERS[word % 3])
    )

  return Fake(rule)


def records(results) -> dict[str, dict[str, Any]]:
  return {f"{one['exam']} {one['id']}": one for each in results.records.values() for one in each}


def rows(exams, results):
  return outcomes.table(exams, results.records, problems=results.problems)


def test_an_oracle_scores_100_and_a_constant_the_share_of_its_answer():
  exams = [exam("x"), exam("y", 10)]
  for row in rows(exams, engine.answer(exams, oracle(*exams))):
    assert row["score"] == row["scores"]["loose"] == row["low"] == row["high"] == 100
  for row, each in zip(
    rows(exams, engine.answer(exams, Fake(lambda *_: "(A)"))), exams, strict=True
  ):
    counts = collections.Counter(one.answers[0] for one in each.questions)
    assert row["score"] == pytest.approx(100 * counts["(A)"] / len(each.questions))
    assert row["low"] < row["score"] < row["high"]


@pytest.mark.parametrize(
  "options",
  [{}, {"temperature": 1.0}, {"samples": 19}, {"samples": 19, "early_stop": True}],
  ids=["greedy", "drawn", "vote", "early stop"],
)
def test_neither_batches_nor_shards_change_a_record(options):
  exams = [exam("x"), exam("y", 13, max_tokens=5)]
  whole = records(engine.answer(exams, gambler(), engine.Options(**options)))
  assert len(whole) == 53
  for batch_size in (1, 7):
    other = engine.Options(batch_size=batch_size, **options)
    assert records(engine.answer(exams[::-1], gambler(), other)) == whole
  parts = [engine.Options(shard=(k, 2), **options) for k in range(2)]
  first, second = (records(engine.answer(exams, gambler(), part)) for part in parts)
  assert not first.keys() & second.keys()
  assert first | second == whole


def test_another_seed_draws_other_samples():
  first, second = (
    records(engine.answer([exam()], gambler(), engine.Options(samples=3, seed=seed)))
    for seed in (0, 1)
  )
  assert first != second


def test_questions_asked_alike_share_batches_the_longest_first():
  exams = [exam("x", 5), exam("y", 4), exam("z", 3, stop=(".",)), exam("v", 3, max_tokens=9)]
  model = Fake(lambda *_: "(A)")
  engine.answer(exams, model, engine.Options(batch_size=6))
  assert [len(call["prompts"]) for call in model.calls] == [6, 3, 3, 3]
  assert [call["stop"] for call in model.calls] == [(), (), (".",), ()]
  assert [call["max_tokens"] for call in model.calls] == [128, 128, 128, 9]
  alike = [len(prompt) for call in model.calls[:2] for prompt in call["prompts"]]
  assert alike == sorted(alike, reverse=True)
  assert model.counted == 15


def test_stop_strings_that_no_answer_can_hold_are_left_out_and_told():
  model = Fake(lambda *_: "(A)")
  results = engine.answer([exam(stop=("\n\n", "Q:"))], model)
  assert model.calls[0]["stop"] == ("Q:",)
  assert [note for note in results.notes if "'\\n\\n'" in note]


def test_every_draw_of_every_question_has_a_number_of_its_own():
  model = gambler()
  engine.answer([exam("x"), exam("y")], model, engine.Options(samples=20, batch_size=80))
  numbers = [number for call in model.calls for number in call["numbers"]]
  assert len(numbers) == len(set(numbers)) == 80 * 3
  assert all(0 <= number < 2**31 for number in numbers)
  assert [call["num_samples"] for call in model.calls] == [8, 8, 4]
  assert {(call["temperature"], call["top_k"]) for call in model.calls} == {(0.7, 40)}
  # Rows the model sees together are samples, so there are fewer prompts.
  assert [call["batch_size"] for call in model.calls] == [10, 10, 20]


def test_stopping_early_changes_no_vote_and_saves_samples():
  exams = [exam(count=60)]
  full, early = (
    engine.answer(exams, gambler(), engine.Options(samples=40, early_stop=stop))
    for stop in (False, True)
  )
  sizes = [len(one["samples"]) for one in records(early).values()]
  assert min(sizes) < 40 and max(sizes) == 40
  for key, one in records(early).items():
    whole = records(full)[key]
    assert one["samples"] == whole["samples"][: len(one["samples"])]
    assert (one["extracted"], one["score"]) == (whole["extracted"], whole["score"])
  (complete,), (stopped,) = rows(exams, full), rows(exams, early)
  assert complete["scores"] == stopped["scores"]
  assert complete["extra"]["samples_asked"] == 60 * 40 > stopped["extra"]["samples_asked"]
  assert "curve" not in stopped["extra"]


@pytest.mark.parametrize(("strict", "decided"), [("(A)", True), (None, False)])
def test_no_vote_is_stopped_before_all_its_readings_are_decided(strict, decided):
  samples = [{"extracted": {"strict": strict, "loose": "(A)"}}] * 5
  assert judging.decided(samples, 9) == judging.decided(_swapped(samples), 9) == decided


def _swapped(samples):
  pairs = [one["extracted"] for one in samples]
  return [{"extracted": {"strict": one["loose"], "loose": one["strict"]}} for one in pairs]


def test_the_vote_is_recorded_with_its_share_and_the_sample_that_shows_it():
  results = engine.answer([exam()], gambler(), engine.Options(samples=9))
  for one in records(results).values():
    for reading in ("strict", "loose"):
      wanted = vote.majority([sample["extracted"][reading] for sample in one["samples"]])
      assert one["extracted"][reading] == one["vote"][reading]["answer"] == wanted.answer
      assert one["vote"][reading]["share"] == wanted.share
    shown = [
      s["extracted"]["loose"] for s in one["samples"] if s["generation"] == one["generation"]
    ]
    assert one["extracted"]["loose"] in shown
  (row,) = rows([exam()], results)
  assert 0 < row["confidence"] < 1 and row["samples"] == 9
  assert list(row["extra"]["curve"]["strict"]) == ["1", "2", "4", "8", "9"]
  singles = [
    100 * (sample["extracted"]["strict"] == one["target"])
    for one in records(results).values()
    for sample in one["samples"]
  ]
  assert row["extra"]["curve"]["strict"]["1"] == pytest.approx(sum(singles) / len(singles))


def test_ranking_compares_sums_and_means_and_takes_the_first_of_equals():
  likely = {"(A)": (-4.0,), "(B)": (-1.0, -1.0, -1.0), "(C)": (-1.5, -1.5)}
  each = exam(count=12)
  results = engine.answer(
    [each], Fake(lambda _, option: likely[option]), engine.Options(method=RANK)
  )
  for one in records(results).values():
    assert one["extracted"] == {"plain": "(B)", "normalised": "(B)"}
    assert one["score"]["plain"] == float(one["target"] == "(B)")
    assert one["options"][1] == {"text": "(B)", "log_prob": -3.0, "tokens": 3}
  likely |= {"(A)": (-2.5,)}
  results = engine.answer(
    [each], Fake(lambda _, option: likely[option]), engine.Options(method=RANK)
  )
  assert {tuple(one["extracted"].values()) for one in records(results).values()} == {("(A)", "(B)")}
  likely |= dict.fromkeys(LETTERS, (-1.0,))
  results = engine.answer(
    [each], Fake(lambda _, option: likely[option]), engine.Options(method=RANK)
  )
  assert {one["extracted"]["plain"] for one in records(results).values()} == {"(A)"}
  (row,) = rows([each], results)
  assert row["method"] == "rank" and row["scores"].keys() == {"plain", "normalised"}


def test_ranking_counts_answers_outside_the_options_and_leaves_free_answers_to_generation():
  odd = exam("x", 2, method=RANK)
  odd.questions.append(question(7, answers=("(E)",)))
  odd.questions.append(question(8, options=()))
  free = exam("y", 0, questions=Rows([question(1, "y", options=())]))
  model = Fake(lambda prompt, _: "(A)" if prompt.startswith("y") else (-1.0,))
  results = engine.answer([odd, free], model, engine.Options(method=RANK))
  assert results.problems[odd.key] == {"answer outside the options": 1, "no options to rank": 1}
  assert [row["method"] for row in rows([odd, free], results)] == ["rank", "generate"]
  assert [note for note in results.notes if free.key in note]


def test_what_went_wrong_is_counted_by_name():
  each = exam("x", 3, problems={"no answer": 2})
  each.questions.insert(0, BadRow("no answer"))
  each.questions.insert(2, BadRow("not four choices"))
  each.questions.insert(3, question(0))
  each.questions.append(question(9, prompt="one two three four five six", dropped=2))
  each.questions.append(BadRow("behind the limit"))
  model = Fake(lambda prompt, _: Text("hm", "length") if prompt.startswith("one") else "hm")
  results = engine.answer([each], model, engine.Options(limit=4, max_input_tokens=6, batch_size=1))
  (row,) = rows([each], results)
  assert row["problems"] == {"no answer": 3, "not four choices": 1, "id of an earlier question": 1}
  assert (row["n"], row["unparsable"], row["truncated"]) == (4, 4, 1)
  assert (row["dropped_exemplars"], row["cut_prompts"], row["score"]) == (2, 2, 0.0)
  assert records(results)["bbh_x 9"]["cut"] == 1
  # Only where a prompt is too long need a model know how to cut it.
  assert [call.get("long") for call in model.calls] == ["cut", "cut", None, None]


def test_no_question_is_no_score():
  each = exam("x", 0, questions=Rows([BadRow("no answer")]))
  results = engine.answer([each], Fake(lambda *_: "(A)"))
  (row,) = rows([each], results)
  assert (row["n"], row["score"], row["low"], row["problems"]) == (0, None, None, {"no answer": 1})
  assert [note for note in results.notes if each.key in note]
  document = outcomes.document([each], results, engine.Options().lasting())
  assert document["aggregate"]["partial_average"] is None


def test_a_summary_judges_all_records_together():
  each = exam("x", metric="auc", method=RANK)
  each.questions[:] = [
    Question(str(i), f"{i}", ("Yes" if i % 2 else "No",), ("Yes", "No")) for i in range(20)
  ]
  model = Fake(lambda prompt, option: (-1.0,) if (option == "Yes") == int(prompt) % 2 else (-2.0,))
  results = engine.answer([each], model, engine.Options(method="generate"))
  (row,) = rows([each], results)
  assert row["score"] == 100 and row["extra"]["positives"] == 10
  assert all(one["score"] == {} for one in records(results).values())


def test_a_benchmark_made_of_draws_is_drawn_as_it_says():
  each = exam(count=2, samples=3, temperature=1.0, top_k=7, metric="toxicity", extract="whole")
  model = gambler()
  results = engine.answer([each], model, engine.Options(samples=40, early_stop=True))
  assert [(call["num_samples"], call["temperature"], call["top_k"]) for call in model.calls] == [
    (3, 1.0, 7)
  ]
  assert {len(one["samples"]) for one in records(results).values()} == {3}


@pytest.mark.parametrize(
  ("bad", "told"),
  [
    ({"limit": 0}, "limit: 0 is below 1"),
    ({"method": "guess"}, "method: 'guess' unknown"),
    ({"samples": 0}, "samples: 0 is below 1"),
    ({"temperature": float("nan")}, "temperature: nan is below 0"),
    ({"temperature": float("inf"), "samples": 2}, "temperature: inf is above"),
    ({"top_k": 5}, "top_k: 5 needs a temperature above 0 or several samples"),
    ({"max_tokens": 10**11}, "max_tokens: 100000000000 is above 65536"),
    ({"seed": -1}, "seed: -1 is below 0"),
    ({"seed": 2**32}, "seed: 4294967296 is above"),
    ({"shard": (2, 2)}, "shard: 2 of 2 unknown; shards are numbered from 0 to 1"),
  ],
)
def test_options_out_of_range_are_refused(bad, told):
  with pytest.raises(errors.UserError, match=told):
    engine.Options(**bad)


@pytest.mark.parametrize("method", ["generate", RANK])
def test_answers_of_a_damaged_model_are_told(method):
  nan = float("nan")
  each = exam(count=3, method=method)
  model = Fake(lambda _, draw: Text("(A)", log_prob=nan) if method != RANK else (-1.0, nan))
  for made, count in ((model, 3), (Fake(lambda _, draw: "" if method != RANK else (-1.0,)), 0)):
    (row,) = rows([each], engine.answer([each], made))
    assert [one for one in row["notes"] if f"{count} answers have a log-prob" in one] == (
      row["notes"] if count else []
    )
    assert len(row["notes"]) == bool(count)


def test_an_exam_asked_for_twice_is_refused():
  with pytest.raises(errors.UserError, match="bbh_x_direct: asked for twice"):
    engine.answer([exam(), exam()], gambler())


def test_right_answers_that_no_vocabulary_writes_are_told():
  asked = exam(count=4)
  lines = [one._replace(answers=("a\nb",)) for one in asked.questions[:3]]
  found = engine.answer(
    [dataclasses.replace(asked, questions=[*lines, asked.questions[3]])], Fake(lambda *_: "(A)")
  )
  (note,) = [note for note in found.notes if "vocabulary" in note]
  assert note.startswith("bbh_direct: 3 of 4 right answers")
