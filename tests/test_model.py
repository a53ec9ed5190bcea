"""A finished run, loaded: generate, score, logits, params; the command line on it."""

import functools
import json

import jax
import numpy as np
import pytest

import flan_tune as ft
from flan_tune import batch, cli, partition, vocab
from flan_tune.model import _Row
from flan_tune.models import palm
from flan_tune.sources import playground

PROMPTS = ["Sort: b a", "", "Where is Ann?\nAnn is in the hall.", "x " * 90]


@pytest.fixture(scope="module")
def model(finished_run) -> ft.Model:
  return ft.load(finished_run)


def test_answers_do_not_depend_on_batch_size_or_neighbours(model):
  together = model.generate(PROMPTS, max_tokens=6)
  assert together == model.generate(PROMPTS, max_tokens=6, batch_size=1)
  assert together[::-1] == model.generate(PROMPTS[::-1], max_tokens=6, batch_size=3)
  assert all(isinstance(answer, str) for answer in together)


WAYS = {
  "greedy": {},
  "sampled": {"temperature": 1.0, "top_k": 50, "num_samples": 2, "seed": 3},
  "beams": {"num_beams": 2, "num_samples": 2},
}


@pytest.fixture(scope="module")
def decoder_only(model) -> ft.Model:
  """A PaLM whose numbers are drawn by NumPy, which compiles nothing."""
  sizes = dict(emb_dim=16, num_heads=3, head_dim=4, mlp_dim=24, num_layers=1)
  network = palm.PaLM(palm.PaLMConfig(vocab_size=model.vocabulary.size, **sizes))
  draw = np.random.default_rng(1)
  number = lambda leaf: draw.normal(len(leaf.shape) == 1, 0.3, leaf.shape).astype(np.float32)
  return ft.Model(network, jax.tree.map(number, network.shapes), model.vocabulary)


@pytest.mark.parametrize(
  ("family", "way"),
  [
    *(("model", way) for way in WAYS),
    pytest.param("decoder_only", "sampled", marks=pytest.mark.slow),
  ],
)
def test_no_answer_hangs_on_batch_size_or_bucket(request, family, way):
  """Prompt by prompt, and all at once in one long bucket; the test above has one left over."""
  ready = request.getfixturevalue(family)
  sizes = [ready.decode(PROMPTS, max_tokens=6, batch_size=size, **WAYS[way]) for size in (1, 32)]
  tokens = [[[one.tokens for one in several] for several in answers] for answers in sizes]
  assert tokens[0] == tokens[1]
  for ours, others in zip(*(sum(answers, []) for answers in sizes), strict=True):
    np.testing.assert_allclose(ours.log_probs, others.log_probs, rtol=1e-3, atol=1e-4)


def test_an_answer_carries_the_log_probabilities_of_its_tokens(model):
  (answer,) = model.decode(["Sort: b a"], max_tokens=6)[0]
  assert len(answer.log_probs) == len(answer.tokens)
  assert answer.log_prob == answer.score == pytest.approx(sum(answer.log_probs))
  assert (answer.ended == "eos") == (answer.tokens[-1] == model.vocabulary.eos_id)
  assert model.generate(["Sort: b a"], max_tokens=6) == [answer.text]


@pytest.fixture(scope="module")
def drawn(model):
  """Answers of some length, and a text of two characters from the middle of one of them."""
  options = {"temperature": 1.0, "max_tokens": 12, "num_samples": 2}
  answers = model.decode(PROMPTS[:2], **options)
  middles = (one.text[start : start + 2] for one in answers[0] for start in range(4, len(one.text)))
  represented = model.vocabulary.can_encode
  return options, answers, next(text for text in middles if represented(f"a{text}a"))


def test_stop_strings_cut_and_their_tokens_only_save_time(model, drawn, monkeypatch):
  options, whole, stop = drawn
  ours = model.decode(PROMPTS[:2], stop=[stop, "never"], **options)
  monkeypatch.setattr(model, "_stop_tokens", lambda stop: ())
  assert ours == model.decode(PROMPTS[:2], stop=[stop, "never"], **options)
  assert any(one.ended == "stop" for several in ours for one in several)
  decode = model.vocabulary.decode
  for one, full in zip(sum(ours, []), sum(whole, []), strict=True):
    assert stop not in one.text
    assert full.tokens[: len(one.tokens)] == one.tokens
    assert full.log_probs[: len(one.tokens)] == pytest.approx(one.log_probs, rel=1e-3)
    if one.ended == "stop":
      assert stop in decode(one.tokens)
      assert stop not in decode(one.tokens[:-1])


def test_tokens_that_only_look_like_a_stop_string_end_nothing(model, drawn, monkeypatch):
  options, whole, _ = drawn
  wrong = (whole[0][0].tokens[:2],)
  monkeypatch.setattr(model, "_stop_tokens", lambda stop: wrong)
  assert model.decode(PROMPTS[:2], stop="never said", **options) == whole


def test_half_an_escape_is_no_stop_string(model):
  """Spelt ^u1f600; its digits must end nothing, those of the text must."""
  escaping = model.with_params(model.params)
  escaping.vocabulary = vocab.Vocabulary(playground.VOCABULARY, escape=True)
  ids = escaping.vocabulary.encode("4 \U0001f600 1f")
  row = _Row(np.array([*ids, escaping.vocabulary.eos_id]), np.zeros(len(ids) + 1), 0.0)
  answer = escaping._generation(row, ["1"], is_beam=False)
  assert (answer.text, answer.ended) == ("4 \U0001f600 ", "stop")
  assert escaping._generation(row, ["u1f6"], is_beam=False).ended == "eos"
  assert escaping._stop_tokens(["1", "u1f6"]) == ()
  assert model._stop_tokens(["1"])


def test_long_prompts_are_refused_or_lose_their_front(model):
  long = PROMPTS[3]
  size = len(model.vocabulary.encode(long)) + 1
  with pytest.raises(ft.UserError, match=f"prompt 2 of 2: has {size} tokens .* is 20"):
    model.decode(["a", long], max_input_tokens=20)
  ids = [*model.vocabulary.encode(long), model.vocabulary.eos_id]
  assert model._prompts([long], 20, "cut") == [ids[-20:]]
  assert len(model.generate([long], max_input_tokens=20, long="cut", max_tokens=2)) == 1


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"stop": [""]}, "stop: ''"),
    ({"stop": [""], "num_beams": 2}, "stop: ''"),
    ({"prompts": "a text"}, "prompts: one text, 'a text'"),
    ({"prompts": ["\udcff"]}, "not UTF-8"),
    ({"temperature": -1}, "temperature: -1"),
    ({"num_beams": 2, "num_samples": 3}, "num_samples: 3"),
    ({"max_input_tokens": 0}, "max_input_tokens: 0"),
    ({"long": "cat"}, "long: 'cat' unknown"),
    ({"batch_size": 0}, "batch_size: 0"),
  ],
)
def test_bad_options_are_told_in_one_sentence(model, options, said):
  with pytest.raises(ft.UserError, match=said):
    model.decode(**{"prompts": ["a"], **options})


def test_a_stop_string_that_no_answer_can_hold_is_refused(model, monkeypatch):
  # The playground's vocabulary spells everything, T5's own does not.
  monkeypatch.setattr(model.vocabulary, "can_encode", lambda text: "\n" not in text)
  with pytest.raises(ft.UserError, match=r"stop: no answer can hold '\\n'"):
    model.decode(["a"], stop=[".", "\n"])


def test_no_prompts_give_no_answers(model):
  assert model.generate([]) == []
  assert model.score([]).shape == (0,)


def test_scores_are_log_probabilities_of_the_logits(model):
  """Float32, EOS included, the same for any batch size."""
  pairs = [("2 + 2 =", "4"), ("Sort: b a", "a b"), ("a longer prompt than others", "yes")]
  scores = model.score(pairs)
  assert scores.dtype == np.float32
  np.testing.assert_allclose(scores, model.score(pairs, batch_size=1), rtol=1e-5)
  eos = model.vocabulary.eos_id
  for (inputs, targets), score in zip(pairs, scores, strict=True):
    ids = [[*model.vocabulary.encode(text), eos] for text in (inputs, targets)]
    arrays = batch.unpacked_batch([ids], {"inputs": 24, "targets": 12})
    log_probs = jax.nn.log_softmax(model.logits(arrays)[0, : len(ids[1])])
    expected = sum(float(log_probs[place, token]) for place, token in enumerate(ids[1]))
    assert score == pytest.approx(expected, rel=1e-4)


def test_scores_of_long_inputs_take_no_logits_for_them(model, monkeypatch):
  """Nor rows that nobody asked for."""
  shapes = []
  look = lambda params, batch: shapes.append({name: x.shape for name, x in batch.items()})
  judge = model._judge
  monkeypatch.setattr(model, "_judge", lambda *args: look(*args) or judge(*args))
  model.score([("x " * 90, "yes"), ("a", "no")])
  (shape,) = shapes
  assert shape["decoder_target_tokens"] == (2, 16) and shape["encoder_input_tokens"][1] > 90
  with pytest.raises(ft.UserError, match="batch_size: 0"):
    model.score([("a", "b")], batch_size=0)


def test_judging_tells_tokens_apart_and_whether_each_is_the_best(model):
  answer = model.decode(["Is a fig a fruit?"], max_tokens=3)[0][0]
  best, other = model.judge(
    [([*model.vocabulary.encode("Is a fig a fruit?"), 1], answer.tokens), ("a", [7, 8])]
  )
  assert best.greedy and not other.greedy
  np.testing.assert_allclose(best.log_probs, answer.log_probs, atol=1e-5)
  whole, open_end = (model.judge([("a", "yes")], eos=eos)[0] for eos in (True, False))
  assert len(whole.log_probs) == len(open_end.log_probs) + 1 == model.count_tokens("yes")
  np.testing.assert_allclose(whole.log_probs[:-1], open_end.log_probs, atol=1e-6)


@pytest.mark.slow  # the engine's tests hold the same of a fake
def test_numbers_decide_what_is_drawn_whatever_the_order(model):
  draw = functools.partial(model.generate, max_tokens=6, temperature=1.0)
  one, two = draw(["a", "b"], numbers=[5, 9])
  assert draw(["b", "x", "a"], numbers=[9, 1, 5])[::2] == [two, one]
  assert draw(["a"]) == draw(["a"], numbers=[0])
  with pytest.raises(ft.UserError, match="numbers: 1 for 2 prompts"):
    draw(["a", "b"], numbers=[1])


@pytest.mark.parametrize(
  "mesh", [pytest.param("data=-1", marks=pytest.mark.slow), "data=2,fsdp=2,model=2"]
)
def test_a_mesh_changes_no_answer(model, mesh):
  prompts = [f"Sort these: {word}" for word in ("pear", "fig", "apple", "kiwi")]
  spread = model.on(partition.make_mesh(mesh))
  assert spread.generate(prompts, max_tokens=5) == model.generate(prompts, max_tokens=5)
  pairs = [(prompt, "fig") for prompt in prompts]
  np.testing.assert_allclose(spread.score(pairs), model.score(pairs), rtol=1e-5)


def test_params_are_a_nested_dict_under_t5x_names(model):
  kernel = model.params["encoder"]["layers_0"]["attention"]["query"]["kernel"]
  assert kernel.ndim == 2
  assert {"token_embedder", "encoder", "decoder"} == set(model.params)


def test_the_best_and_any_other_checkpoint_can_be_named(finished_run):
  first, last = (ft.load(finished_run, step=step) for step in (2, 4))
  by_path = ft.load(finished_run / "checkpoints" / "checkpoint_2")
  name = ("token_embedder", "embedding")
  arrays = [np.asarray(one.params[name[0]][name[1]]) for one in (first, last, by_path)]
  assert np.array_equal(arrays[0], arrays[2])
  assert not np.array_equal(arrays[0], arrays[1])
  with pytest.raises(ft.UserError, match=r"there are 2, 4|'3' unknown"):
    ft.load(finished_run, step=3)


def test_the_packages_names_work_as_documented(finished_run):
  assert [one.name for one in ft.tasks("playground_cot")][0].startswith("playground_")
  examples = list(ft.examples("playground", seed=0, limit=5))
  assert len(examples) == 5
  assert all(one.inputs and one.targets and one.kind for one in examples)
  lengths = {"inputs": 128, "targets": 32}
  drawn = next(ft.batches("playground", lengths=lengths, batch_size=4, seed=0))
  logits = ft.load(finished_run).logits(drawn.arrays)
  assert logits.shape == (4, 32, 2112)
  assert logits.dtype == np.float32
  with pytest.raises(AttributeError, match="no attribute 'exmples'"):
    ft.exmples  # noqa: B018


def test_generate_answers_prompts_and_a_conversation(finished_run, capsys, monkeypatch):
  arguments = ["generate", "--checkpoint", str(finished_run), "--max_tokens", "4"]
  assert cli.main([*arguments, "first", "second"]) == 0
  assert len(capsys.readouterr().out.splitlines()) == 2
  lines = iter(["hello", "", "again\\nline two"])

  def ask(prompt: str) -> str:
    try:
      return next(lines)
    except StopIteration:
      raise EOFError from None

  monkeypatch.setattr("builtins.input", ask)
  assert cli.main(arguments) == 0


def test_generate_reads_a_file_and_writes_answers_as_json(finished_run, tmp_path, capsys):
  source, out = tmp_path / "prompts.txt", tmp_path / "deep" / "answers.jsonl"
  source.write_text("first\nsecond\\nline\n")
  arguments = ["generate", "--checkpoint", str(finished_run), "--max_tokens", "4"]
  arguments += ["--input", str(source)]
  flags = ["--temperature", "1", "--num_samples", "2"]
  assert cli.main([*arguments, *flags, "--output", str(out)]) == 0
  entries = [json.loads(line) for line in out.read_text().splitlines()]
  assert [entry["prompt"] for entry in entries] == ["first", "second\nline"]
  assert all(len(entry["answers"]) == 2 for entry in entries)
  answer = entries[0]["answers"][0]
  assert len(answer["tokens"]) == len(answer["log_probs"])
  capsys.readouterr()
  assert cli.main([*arguments, "--log_probs"]) == 0
  assert capsys.readouterr().out.count("log-probability") == 2
  assert cli.main([*arguments, "third"]) == 2
  assert "--input" in capsys.readouterr().err


def test_generate_refuses_what_it_cannot_read_or_write(tmp_path, capsys):
  """Before it loads a model: there is none."""
  latin = tmp_path / "latin.txt"
  latin.write_bytes("caf\u00e9".encode("latin-1"))
  for flags, said in (
    (["--input", str(latin)], "cannot be read as text"),
    (["a", "--output", str(tmp_path)], "is a folder"),
    (["a", "--output", str(latin / "deep.jsonl")], "cannot be written"),
    (["--output", "answers.jsonl"], "needs prompts"),
  ):
    assert cli.main(["generate", "--checkpoint", "nowhere", *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_run_leaves_everything_the_readme_lists(finished_run):
  present = {path.name for path in finished_run.iterdir()}
  assert present >= {
    "report.html",
    "scores.json",
    "metrics.jsonl",
    "samples.jsonl",
    "config.gin",
    "environment.json",
    "data.json",
    "checkpoints",
    "tensorboard",
    "vocabulary.model",
  }
  scores = json.loads((finished_run / "scores.json").read_text())
  assert {row["held_out"] for row in scores["rows"]} == {True, False}
  data = json.loads((finished_run / "data.json").read_text())
  assert abs(sum(data["planned"].values()) - 1) < 1e-9
  assert set(data["seen"]) <= set(data["planned"])
  assert 0.3 < data["fill"] <= 1
