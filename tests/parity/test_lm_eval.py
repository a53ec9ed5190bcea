"""lm-evaluation-harness gives our models the scores of its own HFLM on the converted weights."""

import json

import jax
import numpy as np
import optax
import pytest

from flan_tune import convert, converters, vocab
from flan_tune.checkpoint import manifest, native, stores
from flan_tune.models import t5
from flan_tune.sources import playground

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
MAX_LENGTH = 40  # tokens; short, so that prompts are cut and texts have several windows
THINGS = ["apple", "sky", "grass", "coal", "sun", "rose", "sea", "snow"]
THINGS += ["plum", "crow", "leaf", "brick", "cloud", "lemon", "night", "moss"]
COLOURS = ("red", "dark blue", "light green", "gold")
ROWS = [
  {
    # Every fifth question has a front that is cut off.
    "question": "Here is something long to read first. " * (10 * (i % 5 == 4))
    + f"What colour is the {thing}?",
    "choices": list(COLOURS),
    "gold": i * 7 % 4,
    "answer": COLOURS[i * 7 % 4],
    "text": f"The {thing} is {COLOURS[i * 7 % 4]}. " * (1 + 3 * (i % 4)),
  }
  for i, thing in enumerate(THINGS)
]
LEARNT = ROWS[:11]  # the others are guessed, some wrongly
PROMPT = "Question: {question}\nAnswer:"
TASKS = {
  "choosing": {
    "output_type": "multiple_choice",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
  },
  "writing": {
    "output_type": "generate_until",
    "doc_to_target": "answer",
    # T5's vocabulary cannot write the first.
    "generation_kwargs": {"until": ["\n\n", "."], "max_gen_toks": 24, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
  },
  "reading": {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "text",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
  },
}


@pytest.fixture(scope="module")
def lm_eval(transformers):
  reason = "needs lm-evaluation-harness: pip install flan_tune[lm-eval,parity]"
  pytest.importorskip("accelerate", reason=reason)
  return pytest.importorskip("lm_eval", reason=reason)


def t5_vocabulary(data_dir):
  path = data_dir / "t5-vocab" / "cc_all.32000" / "sentencepiece.model"
  if not path.is_file():
    pytest.skip("FLAN_TUNE_DATA has no t5-vocab")
  return vocab.Vocabulary(path)


FAMILIES = {
  "t5_1_1": dict(mlp_activations=("gelu", "linear"), logits_via_embedding=False),  # and Flan-T5
  "t5_1_0": dict(mlp_activations=("relu",), logits_via_embedding=True),
}


@pytest.fixture(scope="module", params=["t5_1_1-bpe", "t5_1_0-bpe", "t5_1_1-t5_own"])
def case(request):
  """A vocabulary, and what its models are like."""
  family, _, which = request.param.partition("-")
  if which == "bpe":
    return vocab.Vocabulary(playground.VOCABULARY), FAMILIES[family]
  return t5_vocabulary(request.getfixturevalue("data_dir")), FAMILIES[family]


def trained(network, vocabulary):
  """Parameters that have learnt some of the rows, and to end."""
  eos = [vocabulary.eos_id]
  encode = lambda text: vocabulary.encode(text) + eos
  pairs = [
    (encode(PROMPT.format(**row))[-MAX_LENGTH:], encode(f"{row['answer']}. So it is."))
    for row in LEARNT
  ]
  lengths = {"inputs": MAX_LENGTH, "targets": max(len(targets) for _, targets in pairs)}
  batch = converters.CONVERTERS[network.features].unpacked(pairs, lengths)
  tx = optax.adam(1e-2)

  @jax.jit
  def learn(params):
    def step(carry, _):
      params, state = carry
      loss, grads = jax.value_and_grad(lambda p: network.loss(p, batch)[0])(params)
      updates, state = tx.update(grads, state)
      return (optax.apply_updates(params, updates), state), loss

    return jax.lax.scan(step, (params, tx.init(params)), length=60)

  (params, _), losses = learn(network.init(jax.random.key(0)))
  assert losses[-1] < losses[0] / 4
  return params


@pytest.fixture(scope="module")
def both(transformers, lm_eval, case, tmp_path_factory):
  """The same weights: ours and theirs."""
  from lm_eval.models.huggingface import HFLM

  from flan_tune import harness

  vocabulary, family = case
  config = dict(
    family,
    vocab_size=-(-vocabulary.size // 128) * 128,
    emb_dim=32,
    num_heads=2,
    head_dim=16,
    mlp_dim=64,
    num_encoder_layers=2,
    num_decoder_layers=2,
  )
  params = trained(t5.T5(t5.T5Config(**config)), vocabulary)
  arrays = {
    jax.tree_util.keystr(keys, simple=True, separator="/"): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  folder = tmp_path_factory.mktemp("both")
  native.write(
    folder / "ours",
    {name: manifest.ArrayEntry(one.shape, "float32") for name, one in arrays.items()},
    arrays.__getitem__,
    description=stores.Description("t5", config),
    vocabulary=vocabulary,
  )
  convert.convert(folder / "ours", folder / "theirs", to="huggingface", probe=False)
  ours = harness.CheckpointLM.create_from_arg_string(
    f"checkpoint={folder / 'ours'},batch_size=5,max_length={MAX_LENGTH}"
  )
  model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "theirs")
  # HFLM calls it, and with transformers 5 it puts the embedding in the place of T5 1.1's own logits
  # layer, whatever the folder holds: see docs/lm_eval.md.
  model.tie_weights = lambda: None
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "theirs")
  theirs = HFLM(model, tokenizer=tokenizer, device="cpu", batch_size=3, max_length=MAX_LENGTH)
  return ours, theirs


def scores(lm_eval, lm, folder):
  (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  shared = {
    "dataset_path": "json",
    "dataset_kwargs": {
      "data_files": {"test": str(folder / "rows.jsonl")},
      "cache_dir": str(folder / "cache"),
    },
    "test_split": "test",
    "doc_to_text": PROMPT.replace("{question}", "{{question}}"),
    "num_fewshot": 0,
  }
  tasks = [{**shared, "task": name, **rest} for name, rest in TASKS.items()]
  results = lm_eval.simple_evaluate(lm, tasks=tasks, bootstrap_iters=0, verbosity="ERROR")
  numbers = {
    (task, metric): number
    for task, row in results["results"].items()
    for metric, number in row.items()
    if metric.endswith(",none") and not metric.partition(",")[0].endswith("_stderr")
  }
  by_row = lambda sample: sample["doc_id"]
  answers = {
    task: [one["filtered_resps"] for one in sorted(samples, key=by_row)]
    for task, samples in results["samples"].items()
  }
  return numbers, answers


def test_scores_and_every_answer_are_theirs(lm_eval, both, tmp_path):
  (ours, our_answers), (theirs, their_answers) = (scores(lm_eval, lm, tmp_path) for lm in both)
  assert ours.keys() == theirs.keys()
  for key, number in theirs.items():
    assert ours[key] == pytest.approx(number, rel=TOLERANCE), key
  # None of these is all right or all wrong, which a mistake could be, too.
  for key in (("choosing", "acc,none"), ("choosing", "acc_norm,none")):
    assert 0 < ours[key] < 1
  assert 0 < ours["writing", "exact_match,none"] < 1
  assert our_answers["writing"] == their_answers["writing"]
  for row, their_row in zip(our_answers["choosing"], their_answers["choosing"], strict=True):
    assert [greedy for _, greedy in row] == [greedy for _, greedy in their_row]
    np.testing.assert_allclose(
      [number for number, _ in row], [number for number, _ in their_row], atol=TOLERANCE, rtol=0
    )
  np.testing.assert_allclose(our_answers["reading"], their_answers["reading"], rtol=1e-5)


PAIRS = [
  ("", "red"),
  ("   ", " red"),
  ("The colour is ", "red"),
  ("The colour is", " red"),
  ("The colour is\n", "dark  blue\n"),
  ("colour(", "red)"),
  ("A very long one. " * 20, " gold"),
  ("naïve ½ ﬁ — 日本語", " {x}"),
]


@pytest.mark.parametrize("context, continuation", PAIRS, ids=range(len(PAIRS)))
def test_awkward_pairs_are_judged_as_theirs(both, context, continuation):
  from lm_eval.api.instance import Instance

  request = Instance("loglikelihood", {}, (context, continuation), 0)
  ((ours, our_greedy),), ((theirs, their_greedy),) = (
    lm.loglikelihood([request], disable_tqdm=True) for lm in both
  )
  assert our_greedy == their_greedy
  assert ours == pytest.approx(theirs, abs=TOLERANCE)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 100])
def test_texts_of_any_number_of_windows_are_judged_as_theirs(both, length):
  from lm_eval.api.instance import Instance

  text = " ".join(THINGS[i % len(THINGS)] for i in range(length))
  request = Instance("loglikelihood_rolling", {}, (text,), 0)
  ours, theirs = (lm.loglikelihood_rolling([request], disable_tqdm=True) for lm in both)
  np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=TOLERANCE)
