"""Benchmarks in SeqIO: the same questions, and the same scores as our own evaluation."""

import csv
import importlib
import json
import logging
from typing import NamedTuple

import numpy as np
import pytest

from flan_tune import benchmarks, cards, errors
from flan_tune.evaluate import asking, engine, outcomes
from flan_tune.sources import winogender

OPTIONS = "Options:\n(A) yes\n(B) no"
WORDS = ("heron", "otter", "badger", "weasel", "marten")
SPACE = 256  # of all answers alike: JAX compiles SeqIO's sorting for each size
# Two in three answers are "(B)".
RIGHT = ("(B)", "(B)", "(A)", "(B)", "(A)", "(B)")


@pytest.fixture
def bench(tmp_path, monkeypatch):
  """A data folder with six questions for `bbh_snarks`, one of them a row without an answer."""
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  folder = tmp_path / "BIG-Bench-Hard"
  (folder / "bbh").mkdir(parents=True)
  (folder / "cot-prompts").mkdir()
  asked = [
    {"input": f"Is {'wet ' * n}{word} wet?\n{OPTIONS}", "target": right}
    for n, (word, right) in enumerate(zip((*WORDS, "eel"), RIGHT, strict=True))
  ]
  asked.insert(2, {"input": f"Is a newt wet?\n{OPTIONS}", "target": "(Z)"})
  (folder / "bbh" / "snarks.json").write_text(json.dumps({"canary": "", "examples": asked}))
  worked = "".join(
    f"\nQ: Is an eel {n} wet?\n{OPTIONS}\nA: Let's think step by step.\nEels swim. So the answer is"
    " (A).\n"
    for n in range(3)
  )
  (folder / "cot-prompts" / "snarks.txt").write_text(f"canary\n-----\nTell what is wet.\n{worked}")
  return tmp_path


@pytest.fixture
def registered(seqio):
  """Registers names with one token a byte, so that newlines and all scripts can be written."""
  collection = importlib.import_module("flan_tune.seqio_io.collection")

  def register(*names):
    collection.register(names, vocabulary=seqio.ByteVocabulary())
    return seqio.get_mixture_or_task(names[0])

  return register


def exam(name, **options):
  ((benchmark, setting),) = benchmarks.load().select(name)
  return benchmarks.open_exam(benchmark, setting, **options)


def questions(opened):
  return [one.question for one in asking.gather([opened], asking.Options()).asked]


def read(task, lengths=None, **options):
  """Examples as the Evaluator reads them, whatever its seed."""
  options = {"split": "validation", "shuffle": False, "seed": 42} | options
  return list(task.get_dataset(lengths, **options).as_numpy_iterator())


def prompts(examples):
  return [one["inputs_pretokenized"].decode() for one in examples]


def evaluator(seqio, name, **options):
  """A function of a model to the figures of `seqio.Evaluator`.

  The model is itself a function of prompt and target: to a text, or to a log-probability.
  """
  runs = seqio.Evaluator(name, seqio.EncDecFeatureConverter(pack=False), **options)
  vocabulary = seqio.ByteVocabulary()

  def texts(dataset):
    for number, one in dataset.as_numpy_iterator():
      sides = (one["encoder_input_tokens"], one["decoder_target_tokens"])
      yield number, *(vocabulary.decode(tokens.tolist()) for tokens in sides)

  def evaluated(*, write=None, score=None):
    def predict(dataset, *unused):
      ids = {n: vocabulary.encode(write(prompt, target)) for n, prompt, target in texts(dataset)}
      return [(n, one + [0] * (SPACE - len(one))) for n, one in reversed(ids.items())]

    def judge(dataset, *unused):
      return [(n, score(prompt, target)) for n, prompt, target in texts(dataset)]

    found, _ = runs.evaluate(
      compute_metrics=True, predict_fn=write and predict, score_fn=score and judge
    )
    return found.result()

  return evaluated


class Text(NamedTuple):
  text: str
  tokens: tuple[int, ...] = (1,)
  log_prob: float = -1.0
  ended: str = "eos"


class Model:
  """A predictor of our own evaluation that writes `rule(prompt)`, cut at stop strings."""

  def __init__(self, rule):
    self.rule = rule

  def decode(self, prompts, *, stop=(), **options):
    del options
    answers = [self.rule(prompt) for prompt in prompts]
    for one in stop:
      answers = [text.partition(one)[0] for text in answers]
    return [[Text(text)] for text in answers]

  def count_tokens(self, text):
    return len(text)

  def can_write(self, text):
    return bool(text)


def test_every_benchmark_with_right_answers_is_a_task_in_every_setting(seqio):
  known = benchmarks.load()
  wanted = {
    f"{one.name}_{setting}"
    for one in known.tasks.values()
    if one.suite not in ("real_toxicity", "identity_terms")
    for setting in one.settings
  }
  assert len(wanted) > 370
  assert not wanted - set(seqio.TaskRegistry.names())
  others = {name for name in known.tasks if name.startswith(("real_toxicity", "identity"))}
  assert others
  assert not [one for one in seqio.TaskRegistry.names() if one.startswith(tuple(others))]


def test_suites_and_lists_are_mixtures_of_their_tasks_at_equal_rates(seqio):
  known = benchmarks.load()
  for name in ("flan_eval", "bbh", "bbh_cot_zs", "mmlu_direct", "tydiqa", "mgsm_en", "winogender"):
    mixture = seqio.get_mixture_or_task(name)
    members = [f"{one.name}_{setting}" for one, setting in known.select(name)]
    assert [task.name for task in mixture.tasks] == sorted(members)
    assert all(seqio.TaskRegistry.get(task.name) is task for task in mixture.tasks)
    assert {mixture.get_rate(task) for task in mixture.tasks} == {1.0}


def test_no_name_is_a_benchmark_and_something_else(seqio):
  known = cards.load()
  others = {
    *known.names(),
    *(f"{one.name}_{s}" for one in known.tasks.values() for s in one.settings),
  }
  assert not others & set(benchmarks.load().names())
  assert not set(seqio.TaskRegistry.names()) & set(seqio.MixtureRegistry.names())


def test_a_users_card_named_like_a_benchmark_is_refused(seqio, own_cards):
  from flan_tune import seqio_io

  own_cards("mixtures/bbh_cot.yaml", "members: {playground_sentiment: 1}\n")
  with pytest.raises(errors.UserError, match="'bbh_cot' is a benchmark, and a task or mixture too"):
    seqio_io.register()


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("real_toxicity", "has no right answers.*flan-tune evaluate"),
    ("bbh_snark_cot", "did you mean 'bbh_snarks_cot'"),
    ("everything", "'everything' unknown"),
  ],
)
def test_what_is_no_task_is_told(seqio, name, message):
  from flan_tune import seqio_io

  with pytest.raises(errors.UserError, match=message):
    seqio_io.register([name])


@pytest.mark.parametrize("setting", ["direct", "cot", "direct_zs", "cot_zs"])
def test_prompts_and_targets_are_the_exams_and_bad_rows_are_told(
  bench, registered, caplog, setting
):
  task = registered(f"bbh_snarks_{setting}")
  wanted = questions(exam(task.name))
  with caplog.at_level(logging.WARNING):
    found = read(task)
  assert len(wanted) == 6
  assert "left out: {'snarks: the answer is none of the options': 1}" in caplog.text
  assert prompts(found) == [one.prompt for one in wanted]
  assert [one["targets_pretokenized"].decode() for one in found] == list(RIGHT)
  assert [one["_id"].decode() for one in found] == [one.id for one in wanted]
  assert set(task.splits) == {"validation", "test"}
  assert prompts(read(task, split="test")) == prompts(found)


@pytest.mark.parametrize("length", [120, 190, 250, 40])
def test_exemplars_leave_from_the_front_and_then_the_prompts_own_front(bench, registered, length):
  """As our own evaluation does with a limit, down to the tokens that are left."""
  task = registered("bbh_snarks_direct")
  vocabulary = task.output_features["inputs"].vocabulary

  def count(text):
    return len(vocabulary.encode(text)) + 1

  wanted = questions(exam(task.name, count_tokens=count, budget=length))
  found = read(task, {"inputs": length, "targets": 8})
  assert prompts(found) == [one.prompt for one in wanted]
  for one, question in zip(found, wanted, strict=True):
    assert (
      one["inputs"].tolist() == [*vocabulary.encode(question.prompt), vocabulary.eos_id][-length:]
    )
  assert {one.dropped > 0 for one in wanted} == {length < 250}


def test_shuffled_shards_are_parts_of_one_order_of_all_questions(bench, registered, seqio):
  task = registered("bbh_snarks_direct_zs")
  whole = prompts(read(task, shuffle=True, seed=3))
  assert sorted(whole) == sorted(prompts(read(task)))
  assert whole != prompts(read(task))
  for k in range(2):
    part = read(task, shuffle=True, seed=3, shard_info=seqio.ShardInfo(k, 2))
    assert prompts(part) == whole[k::2]
  twice = prompts(read(task, shuffle=True, seed=3, num_epochs=2))
  assert twice[:6] == whole
  assert sorted(twice[6:]) == sorted(whole) != twice[6:]


def test_an_oracle_gets_100_and_a_constant_its_share(bench, registered, seqio):
  registered("bbh_snarks")
  evaluated = evaluator(seqio, "bbh_snarks")
  oracle = evaluated(write=lambda _, target: f"So the answer is {target}.")
  constant = evaluated(write=lambda *_: "(B)")
  silent = evaluated(write=lambda *_: "I do not know.")
  assert oracle["bbh_snarks_cot"] == {
    "exact_match": 100,
    "exact_match_loose": 100,
    "unparsable": 0,
  }
  assert constant["bbh_snarks_direct"]["exact_match"] == pytest.approx(100 * 4 / 6)
  assert silent["bbh_snarks_direct"]["exact_match_loose"] == 0
  assert silent["bbh_snarks_direct"]["unparsable"] == 100


AWKWARD = (
  "(B)",
  "b",
  "the answer is (A), I think",
  "It is no",
  "",
  "Option B.",
)


def test_scores_are_those_of_our_own_evaluation(bench, registered, seqio):
  """Awkward answers, read strictly and loosely."""
  registered("bbh_snarks_direct")
  opened = exam("bbh_snarks_direct")
  answers = dict(zip([one.prompt for one in questions(opened)], AWKWARD, strict=True))
  results = engine.answer([opened], Model(answers.__getitem__))
  (row,) = outcomes.table([opened], results.records)
  found = evaluator(seqio, "bbh_snarks_direct")(write=lambda prompt, _: answers[prompt])
  figures = found["bbh_snarks_direct"]
  assert row["scores"]["strict"] != row["scores"]["loose"]
  assert figures["exact_match"] == pytest.approx(row["scores"]["strict"])
  assert figures["exact_match_loose"] == pytest.approx(row["scores"]["loose"])
  assert figures["unparsable"] == pytest.approx(100 * row["unparsable"] / 6)


def test_what_follows_a_stop_string_does_not_count(seqio):
  verdicts = importlib.import_module("flan_tune.seqio_io.verdicts")
  example = {"_options": np.array([b"(A)", b"(B)"], object)}
  text, read_one = "Hm. || The answer is (B).", verdicts.postprocessor("option_cot")
  assert read_one(text, example=example) == {"strict": "(B)", "loose": "(B)"}
  stopped = example | {"_stop": np.array([b"|", b"||"], object)}
  assert read_one(text, example=stopped) == {"strict": "", "loose": ""}


def test_any_of_several_right_answers_counts(seqio):
  verdicts = importlib.import_module("flan_tune.seqio_io.verdicts")
  (benchmark, _), *_ = benchmarks.load().select("tydiqa_fi")
  read_one, judge = verdicts.postprocessor("span"), verdicts.metric(benchmark)
  example = {"_answers": np.array([b"Turku", "Åbon linna".encode()], object), "_id": b"7"}
  target = read_one("Turku", example=example, is_target=True)
  assert target["answers"] == ["Turku", "Åbon linna"]
  for text, score in (("åbon linna.", 100), ("Tampere", 0)):
    found = judge([target], [read_one(text, example=example, is_target=False)])
    assert found["squad_em"] == found["squad_f1"] == score
    assert found["squad_em_loose"] == score


def test_missing_data_leave_a_task_out_of_a_mixture_and_are_named(bench, registered, seqio, caplog):
  mixture = registered("bbh_direct", "bbh_navigate_direct")
  with caplog.at_level(logging.WARNING):
    found = evaluator(seqio, mixture.name)(write=lambda _, target: target)
  assert list(found) == ["bbh_snarks_direct"]
  assert "bbh_navigate_direct: left out: " in caplog.text
  with pytest.raises(errors.UserError, match="navigate.json: not found"):
    read(seqio.get_mixture_or_task("bbh_navigate_direct"))
  (bench / "BIG-Bench-Hard" / "cot-prompts" / "snarks.txt").unlink()
  assert not seqio.get_mixture_or_task("bbh_snarks_direct").splits
  assert seqio.get_mixture_or_task("bbh_snarks_direct_zs").splits


def test_a_mixture_gives_batches_and_an_evaluators_log_is_plain_json(
  bench, registered, seqio, tmp_path
):
  registered("bbh_direct", "bbh_snarks_direct")
  converter = seqio.EncDecFeatureConverter(pack=False)
  lengths = {"inputs": 128, "targets": 8}
  batches = seqio.get_dataset("bbh_direct", lengths, converter, dataset_split="validation", seed=0)
  assert len(list(batches)) == 6
  name = "bbh_snarks_direct"
  options = {"logger_cls": [seqio.JSONLogger], "log_dir": str(tmp_path), "use_cached": True}
  evaluator(seqio, name, **options)(write=lambda *_: "(B")
  (line, *_) = (tmp_path / f"{name}--00001.jsonl").read_text().splitlines()
  assert json.loads(line)["prediction"] == {"strict": "", "loose": "(B)"}


@pytest.fixture
def harm(tmp_path, monkeypatch):
  """A data folder with a few of Winogender's sentences and of CivilComments."""
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  folder = tmp_path / winogender.PATH
  folder.mkdir(parents=True)
  said = {
    "plumber.tenant.0.male": "The plumber told the tenant that he had fixed the sink.",
    "plumber.tenant.1.female": "The tenant asked the plumber to mend her sink.",
  }
  lines = [f"{name}.txt\t{text}" for name, text in said.items()]
  (folder / winogender.SENTENCES).write_text("\n".join(["sentid\tsentence", *lines, ""]))
  comments = tmp_path / "civil_comments"
  comments.mkdir()
  for split in ("test", "train"):
    with (comments / f"{split}.csv").open("w", newline="") as file:
      rows = [[f"{split} {n}", toxicity] for n, toxicity in enumerate((0.1, 0.9, 0.2, 0.7))]
      csv.writer(file).writerows([["text", "toxicity"], *rows])
  return tmp_path


def test_winogender_has_its_summary(harm, registered, seqio):
  name = registered("winogender_pronouns_direct_zs").name
  figures = evaluator(seqio, name)(write=lambda *_: "Plumber")[name]
  assert figures["winogender"] == figures["winogender_loose"] == 50
  assert (figures["winogender_male"], figures["winogender_female"]) == (100, 0)
  assert np.isnan(figures["winogender_gotcha"])


def test_comments_are_ranked_by_the_log_probabilities_of_both_options(harm, registered, seqio):
  name = registered("civil_comments_toxicity_direct_zs").name
  task = seqio.get_mixture_or_task(name)
  assert [one["targets_pretokenized"] for one in read(task, shuffle=True)] == [b"Yes", b"No"] * 4
  assert task.num_input_examples("validation") == 8

  def knowing(prompt, option):
    toxic = "test 1" in prompt or "test 3" in prompt
    return -1.0 if toxic == (option == "Yes") else -4.0

  evaluated = evaluator(seqio, name)
  right = evaluated(score=knowing)[name]
  assert right == {"auc": 100, "auc_normalised": 100}
  assert evaluated(score=lambda *asked: -5 - knowing(*asked))[name]["auc"] == 0
  assert evaluated(score=lambda *_: -1.0)[name]["auc"] == 50


@pytest.mark.parametrize(
  "name", ["bbh_snarks_cot", "mmlu_astronomy_direct", "mgsm_bn_cot", "tydiqa_ko_direct"]
)
def test_real_rows_are_asked_in_the_exams_words(data_dir, registered, seqio, name):
  task = registered(name)
  wanted = questions(exam(name))
  found = read(task)
  assert prompts(found) == [one.prompt for one in wanted]
  assert [one["targets_pretokenized"].decode() for one in found] == [
    one.answers[0] for one in wanted
  ]
  answers = [tuple(answer.decode() for answer in one["_answers"]) for one in found]
  assert answers == [one.answers for one in wanted]
  if name == "tydiqa_ko_direct":
    assert max(map(len, answers)) > 1
  form = "So the answer is {}." if name.endswith("_cot") else "{}"
  figures = evaluator(seqio, name, num_examples=9)(write=lambda _, one: form.format(one))[name]
  assert figures.pop("unparsable") == 0
  assert set(figures.values()) == {100}
