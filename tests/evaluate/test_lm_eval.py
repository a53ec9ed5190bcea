"""What lm-evaluation-harness asks, and how its answers are put together; a fake model, no torch."""

import argparse
import json
import os

import numpy as np
import pytest

import flan_tune as ft
from flan_tune import errors, vocab
from flan_tune.commands import lm_eval as command
from flan_tune.model import Generation, Judged
from flan_tune.models import palm
from flan_tune.sources import playground

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when the harness is imported
pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: pip install flan_tune[lm-eval]")

from lm_eval.api.instance import Instance  # noqa: E402

from flan_tune.evaluate.lm_eval import FlanTuneLM  # noqa: E402

VOCABULARY = vocab.Vocabulary(playground.VOCABULARY)
EOS = VOCABULARY.eos_id


class Fake:
  """Each token has a log-probability of its own, whatever stands before it."""

  vocabulary = VOCABULARY

  def __init__(self, answers=None):
    self.answers = answers or {}
    self.judged, self.decoded = [], []

  def can_write(self, text):
    return "\n" not in text

  def judge(self, pairs, *, batch_size=32):
    self.judged += pairs
    return [
      Judged(tuple(-(token % 7) for token in target), target[0] % 2 == 0) for _, target in pairs
    ]

  def decode(self, prompts, *, numbers, **options):
    self.decoded += [
      (prompt, number, options) for prompt, number in zip(prompts, numbers, strict=True)
    ]
    made = [self.answers.get(prompt, VOCABULARY.encode(prompt)) for prompt in prompts]
    return [[Generation("", (*tokens, EOS), (), 0.0, 0.0, "eos")] for tokens in made]


def requests(kind, arguments):
  made = [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]
  for one in made:
    one.task_name = "some_task"
  return made


def judge(lm, *pairs):
  return lm.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)


def generate(lm, *pairs):
  return lm.generate_until(requests("generate_until", pairs), disable_tqdm=True)


def roll(lm, *texts):
  made = requests("loglikelihood_rolling", [(text,) for text in texts])
  return lm.loglikelihood_rolling(made, disable_tqdm=True)


@pytest.mark.parametrize(
  ("context", "continuation", "read", "judged"),
  [
    ("a b", " c", "a b", " c"),
    ("a b  ", "c", "a b", "  c"),
    ("a b\n", "c", "a b", "\nc"),
    ("", "c", "", "c"),
  ],
)
def test_prompts_end_and_continuations_do_not(context, continuation, read, judged):
  fake = Fake()
  judge(FlanTuneLM(fake), (context, continuation))
  assert fake.judged == [([*VOCABULARY.encode(read), EOS], VOCABULARY.encode(judged))]


def test_a_long_prompt_loses_its_front():
  fake = Fake()
  judge(FlanTuneLM(fake, max_length=4), ("a b c d e f g", " h"))
  assert fake.judged[0][0] == [*VOCABULARY.encode("a b c d e f g"), EOS][-4:]


@pytest.mark.parametrize("batch_size", [1, 2, "32"])
def test_answers_come_in_the_order_of_the_requests(batch_size):
  draw = np.random.default_rng(0)
  texts = [" ".join("word" for _ in range(n)) + f" {n}" for n in draw.permutation(40)]
  lm = FlanTuneLM(Fake(), batch_size=batch_size)
  alone = [judge(lm, (text, " x"), ("q", text)) for text in texts]
  together = judge(lm, *(pair for text in texts for pair in ((text, " x"), ("q", text))))
  assert together == [one for pair in alone for one in pair]
  assert len(set(together)) > 2
  assert generate(lm, *((text, {"until": []}) for text in texts)) == texts


def test_a_continuation_without_tokens_is_refused_not_certain():
  with pytest.raises(errors.UserError, match="some_task.*''.*no token"):
    judge(FlanTuneLM(Fake()), ("a", " b"), ("a", ""))


@pytest.mark.parametrize("max_length", [2, 3, 7, 100])
def test_every_token_of_a_long_text_is_judged_once(max_length):
  fake = Fake()
  texts = ["", "a", "some words of a text", "another text " * 9]
  found = roll(FlanTuneLM(fake, max_length=max_length), *texts)
  ids = [[*VOCABULARY.encode(text), EOS] for text in texts]
  assert found == [-sum(token % 7 for token in one) for one in ids]
  assert all(len(read) + len(target) <= max_length + 1 for read, target in fake.judged)


def test_what_a_task_asks_of_generation_is_what_the_model_is_asked():
  fake = Fake()
  given = {"until": ["\n", "", "Q:"], "max_new_tokens": 9, "do_sample": True, "temperature": 0.7}
  generate(FlanTuneLM(fake, batch_size=2, max_length=5, seed=3), ("a", {**given, "top_k": 4}))
  assert fake.decoded[0][2] == {
    "max_tokens": 9,
    "temperature": 0.7,
    "top_k": 4,
    "stop": ("Q:",),  # the fake cannot write a newline
    "max_input_tokens": 5,
    "long": "cut",
    "seed": 3,
    "batch_size": 2,
  }


@pytest.mark.parametrize("given", [{}, {"temperature": 0.7, "do_sample": False}, {"num_beams": 1}])
def test_answers_are_greedy_unless_sampling_is_asked_for(given):
  fake = Fake()
  generate(FlanTuneLM(fake), ("a", {"until": "Q:", **given}))
  assert fake.decoded[0][2]["temperature"] == 0
  assert fake.decoded[0][2]["max_tokens"] == 256  # the harness's own default


def test_equal_prompts_draw_for_themselves_and_other_options_are_kept_apart():
  fake = Fake()
  drawn, short = {"until": [], "temperature": 1.0}, {"until": [], "max_gen_toks": 3}
  generate(FlanTuneLM(fake), ("a", drawn), ("a", short), ("a", drawn))
  found = sorted((number, options["max_tokens"]) for _, number, options in fake.decoded)
  assert found == [(0, 256), (1, 3), (2, 256)]


def test_an_answer_ends_before_its_first_stop_string_and_has_no_special_tokens():
  tokens = [
    *VOCABULARY.encode("one two"),
    VOCABULARY.extra_id(0),
    VOCABULARY.unk_id,
    *VOCABULARY.encode("three. Q: four\nfive"),
  ]
  lm = FlanTuneLM(Fake({"a": tokens}))
  until = {"until": ["\n", "Q:"]}
  assert generate(lm, ("a", until)) == ["one two three. "]


@pytest.mark.parametrize(
  ("given", "told"),
  [
    ({"num_beams": 4}, "some_task.*num_beams: 4"),
    ({"repetition_penalty": 1.2}, "some_task.*'repetition_penalty' unknown"),
  ],
)
def test_a_way_of_generating_that_we_lack_is_refused(given, told):
  with pytest.raises(errors.UserError, match=told):
    generate(FlanTuneLM(Fake()), ("a", {"until": [], **given}))


@pytest.mark.parametrize("options", [{"batch_size": "auto"}, {"batch_size": 0}, {"max_length": 0}])
def test_bad_arguments_are_refused(options):
  (name,) = options
  with pytest.raises(errors.UserError, match=name):
    FlanTuneLM(Fake(), **options)


def test_the_harness_keeps_each_answer_under_the_words_of_its_request():
  kept = {}

  class Hook:
    def add_partial(self, kind, given, result):
      kept[kind, json.dumps(given)] = result

  lm = FlanTuneLM(Fake())
  lm.set_cache_hook(Hook())
  expected = {
    ("loglikelihood", '["a ", "b"]'): judge(lm, ("a ", "b"))[0],
    ("loglikelihood_rolling", '["a b"]'): roll(lm, "a b")[0],
    ("generate_until", '["c", {"until": []}]'): generate(lm, ("c", {"until": []}))[0],
  }
  assert kept == expected


@pytest.mark.slow
def test_decoder_only_models_read_prompts_as_they_were_trained_to():
  sizes = dict(emb_dim=16, num_heads=3, head_dim=4, mlp_dim=24, num_layers=1)
  network = palm.PaLM(palm.PaLMConfig(vocab_size=VOCABULARY.size, **sizes))
  import jax

  model = ft.Model(network, network.init(jax.random.key(0)), VOCABULARY)
  lm = FlanTuneLM(model, batch_size=2)
  (found,) = judge(lm, ("The sky is", " blue"))
  (expected,) = model.judge([("The sky is", " blue")], eos=False)
  assert found == (pytest.approx(expected.log_prob), expected.greedy)
  assert roll(lm, "blue") == [pytest.approx(model.score([("", "blue")])[0])]


TASK = """
task: parrot
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}, cache_dir: FOLDER/cache}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 4}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture
def task_folder(tmp_path):
  rows = [{"question": "one", "answer": "one"}, {"question": "two. three", "answer": "three"}]
  (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  folder = tmp_path / "tasks"
  folder.mkdir()
  (folder / "parrot.yaml").write_text(TASK.replace("FOLDER", str(tmp_path)))
  return folder


@pytest.mark.slow
def test_a_local_task_is_scored(task_folder):
  import lm_eval
  from lm_eval.tasks import TaskManager

  manager = TaskManager(include_path=str(task_folder), include_defaults=False)
  results = lm_eval.simple_evaluate(
    FlanTuneLM(Fake()), tasks=["parrot"], task_manager=manager, bootstrap_iters=0
  )
  assert results["results"]["parrot"]["exact_match,none"] == 0.5


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_what_it_found(
  task_folder, finished_run, tmp_path, capsys
):
  parser = argparse.ArgumentParser()
  command.add(parser.add_subparsers())
  output = tmp_path / "results.json"
  given = ["lm-eval", f"--checkpoint={finished_run}", f"--include_path={task_folder}"]
  parsed = parser.parse_args([*given, "--tasks=parrot", "--limit=1", f"--output={output}"])
  assert parsed.act(parsed, []) == 0
  assert "exact_match" in capsys.readouterr().out
  found = json.loads(output.read_text())
  assert found["n-samples"]["parrot"]["effective"] == 1
  assert found["config"]["model_args"]["checkpoint"] == str(finished_run)
  for changed, message in (
    ("--tasks=parot, parrot,", "'parot' unknown .did you mean 'parrot'"),
    ("--tasks=,", "--tasks=,: names no task"),
    ("--include_path=absent", "--include_path=absent: is not a folder"),
    (f"--output={tmp_path}", "is a folder; name a file"),
  ):
    parsed = parser.parse_args([*given, "--tasks=parrot", changed])
    with pytest.raises(errors.UserError, match=message):
      parsed.act(parsed, [])
