"""What a plan says of the data is what the feed then does."""

import collections
import dataclasses
import itertools

import pytest

from flan_tune import batch, config, gin_files, vocab
from flan_tune.data import feed, mixing
from flan_tune.draws import Draws
from flan_tune.models import palm, t5
from flan_tune.plan import filling, lengths, mixture, sample
from flan_tune.sources import playground

LENGTHS = (64, 14)
VOCABULARY = vocab.Vocabulary(playground.VOCABULARY)


def recipe(name: str = "playground", **settings):
  given = {"vocabulary": VOCABULARY, "lengths": LENGTHS, "seed": 3, "shots": 3} | settings
  return feed.recipe(mixing.plan(name), **given)


def take(made, count: int, *, features: str = "encoder_decoder") -> sample.Sampled:
  return sample.take(made, features=features, count=count, seconds=100)


def run_of(**bindings) -> config.Run:
  given = {"MODEL_DIR": "unused", "LOOKAHEAD": 64, **bindings}
  told = [f"{name}={value!r}" for name, value in given.items()]
  return gin_files.resolve(config.Run, ["experiments/quickstart.gin"], told)[0]


def examine(count: int = 300, **bindings) -> mixture.Mixture:
  return mixture.examine(run_of(**bindings), count=count, seconds=100, most_lost=0.01)


@pytest.mark.parametrize("long", ["drop", "trim"])
def test_a_sample_says_of_every_example_what_the_feed_does_with_it(long):
  made = recipe(long=long)
  batches = feed.Feed(made, batch_size=8, lookahead=1)
  drawn = [next(batches) for _ in range(20)]
  counts = batches.counts
  seen = sum(counts.seen.values())
  dropped = collections.Counter()
  for reasons in counts.dropped.values():
    dropped.update(reasons)
  read = seen + sum(number for why, number in dropped.items() if why != "trimmed")
  sampled = take(made, read)
  long_ones = collections.Counter(one.too_long(LENGTHS) for one in sampled.examples)
  assert sum(dropped.values())
  if long == "drop":
    assert dropped == {why: number for why, number in long_ones.items() if why}
  else:
    assert dropped == {"trimmed": sum(long_ones.values()) - long_ones[""]}
  used = [position for one in drawn for row in one.examples for position in row]
  sizes = dict(
    zip(
      [one.position for one in sampled.examples if long == "trim" or not one.too_long(LENGTHS)],
      sampled.sizes(sampled.examples),
      strict=True,
    )
  )
  fill = sum((batch.fill(one.arrays) for one in drawn), batch.Fill())
  assert sum(sizes[position][0] for position in used) == fill.inputs_tokens
  assert sum(sizes[position][1] for position in used) == fill.targets_tokens


@pytest.mark.parametrize("inputs", [48, 80, 160])
def test_examples_under_other_lengths_are_those_that_a_run_with_them_reads(inputs):
  other = take(recipe(lengths=(inputs, 24)), 400)
  sampled = take(recipe(), 400)
  assert sampled.under((200, 16)).examples != sampled.examples  # also by way of larger ones
  found = sampled.under((inputs, 24))
  assert found.examples == other.examples
  assert found.lost == other.lost


def test_a_sample_ends_when_its_time_is_up():
  ticks = itertools.count()
  taken = sample.take(
    recipe(), features="decoder_only", count=50, seconds=9.5, clock=lambda: next(ticks)
  )
  assert len(taken.examples) == 9
  assert taken.examples == take(recipe(), 9).examples


@pytest.mark.parametrize("features", ["encoder_decoder", "decoder_only"])
def test_the_expected_fill_is_that_of_a_long_run(features):
  made = recipe(shared_row=features == "decoder_only")
  batches = feed.Feed(made, batch_size=32, lookahead=64, features=features)
  drawn = [next(batches) for _ in range(15)][5:]  # the first rows choose among the easy ones
  real = sum((batch.fill(one.arrays) for one in drawn), batch.Fill())
  in_row = sum(len(row) for one in drawn for row in one.examples) / (32 * len(drawn))
  sampled = take(made, 400)
  found = filling.measure(
    sampled.sizes(sampled.examples), features=features, lengths=sampled.named, lookahead=64
  )
  assert 0 < found.error < 0.05
  assert found.both == pytest.approx(real.both, abs=found.error + 0.01)
  assert found.examples == pytest.approx(in_row, rel=0.05)
  assert found.tokens == pytest.approx(found.both * sum(LENGTHS))
  if features == "encoder_decoder":
    assert (found.inputs, found.targets) == pytest.approx((real.inputs, real.targets), abs=0.03)


def test_rows_without_packing_hold_one_example():
  pairs = [(10, 2), (30, 6)]
  found = filling.measure(
    pairs, features="encoder_decoder", lengths={"inputs": 40, "targets": 8}, lookahead=None
  )
  assert found.examples == 1
  assert found.both == pytest.approx(found.inputs) == pytest.approx(found.targets)
  assert 0.25 < found.both < 0.75


def test_the_share_of_missing_data_goes_to_the_others(tmp_path, monkeypatch):
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  folder = tmp_path / "tasks" / "mixtures"
  folder.mkdir(parents=True)
  (folder / "half.yaml").write_text("mixture: half\nmembers: [flan_cot: 3, playground_cot: 1]\n")
  monkeypatch.setenv("FLAN_TUNE_PATH", str(tmp_path))
  from flan_tune import cards

  cards.load.cache_clear()
  try:
    found = examine(MIXTURE_OR_TASK_NAME="half", count=60)
  finally:
    cards.load.cache_clear()
  (group,) = found.groups  # both are of the group cot
  tasks = {part.name: part for part in found.tasks}
  assert (group.tasks, group.present) == (17, 8)
  assert len(found.missing) == 9 and not found.stops
  assert tasks["cot_gsm8k"].rate == 0 < tasks["cot_gsm8k"].nominal
  assert tasks["playground_units"].rate == pytest.approx(4 * tasks["playground_units"].nominal)
  assert sum(part.nominal for part in found.tasks) == pytest.approx(1)


def test_without_any_data_a_plan_says_what_would_stop_the_run(monkeypatch):
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  found = examine(MIXTURE_OR_TASK_NAME="flan_cot")
  assert "9 data sets are missing" in found.stops
  assert found.flow is None and found.unsampled
  assert found.groups[0].nominal == pytest.approx(1) and found.groups[0].rate == 0


def test_epochs_steps_and_tokens_agree():
  found = examine(TRAIN_STEPS=700, BATCH_SIZE=8)
  flow = found.flow
  assert flow.epoch_examples == sum(part.counted for part in found.tasks)
  assert flow.epochs * flow.epoch_steps == pytest.approx(700)
  assert flow.run_examples == pytest.approx(flow.epochs * flow.epoch_examples * flow.used)
  # Two ways to the same number: mean sizes of examples, and rows packed with them.
  assert flow.run_tokens == pytest.approx(flow.epochs * flow.epoch_tokens, rel=0.02)
  assert flow.run_slots == 700 * 8 * (256 + 96) > flow.run_tokens
  assert flow.work.tokens == pytest.approx(flow.step_tokens, rel=0.02)
  drawn = flow.run_examples / flow.used
  for part in found.tasks:
    assert part.passes == pytest.approx(drawn * part.rate / part.rows)
  assert sum(part.sampled for part in found.tasks) == found.sampled == 300


def test_a_vocabulary_that_is_not_known_leaves_the_shares():
  found = examine(VOCABULARY="")
  assert "VOCABULARY" in found.unsampled and not found.stops
  assert sum(part.rate for part in found.tasks) == pytest.approx(1)


def _zero_shot(count: int = 300) -> sample.Sampled:
  """Sizes as of chains of thought without exemplars, means 50 and 40."""
  draws = Draws("zero-shot")
  made = recipe("playground_cot_zs_opt", lengths=(512, 128))
  sizes = [(draws.between(20, 80), draws.between(15, 65)) for _ in range(count)]
  examples = tuple(sample.Sized(n, 0, *pair, "", 0, 9, False) for n, pair in enumerate(sizes))
  return sample.Sampled(made, "encoder_decoder", examples, count)


def test_proposed_lengths_fill_what_a_ratio_of_four_to_one_leaves_empty():
  found = lengths.propose(_zero_shot(), model=t5.T5Config(), lookahead=256, most_lost=0.01)
  assert found.now.filling.both < 0.5
  assert found.best.filling.both > 0.9
  assert found.best.inputs + found.best.targets == 640
  assert found.best.flops < 0.6 * found.now.flops


def test_proposed_lengths_lose_no_more_than_asked():
  # A tenth of the targets is long: the fullest rows are those that leave them out.
  sampled = _zero_shot()
  long = tuple(
    one._replace(targets=300) if one.position % 10 == 0 else one for one in sampled.examples
  )
  sampled = dataclasses.replace(sampled, examples=long, recipe=recipe(lengths=(320, 320)))
  free, strict = (
    lengths.propose(sampled, model=t5.T5Config(), lookahead=256, most_lost=share)
    for share in (0.2, 0.01)
  )
  assert strict.best.lost <= 0.01 and strict.best.targets >= 300
  assert free.best.lost == pytest.approx(0.1) and free.best.filling.both > strict.best.filling.both


def test_lengths_that_fill_as_well_as_any_are_kept():
  """One example a row fills any pair alike."""
  found = lengths.propose(_zero_shot(100), model=t5.T5Config(), lookahead=1, most_lost=0.01)
  assert found.best == found.now


def test_a_decoder_only_row_is_no_longer_than_it_needs_to_be():
  sampled = dataclasses.replace(_zero_shot(), features="decoder_only")
  found = lengths.propose(sampled, model=palm.PaLMConfig(), lookahead=256, most_lost=0.01)
  assert found.best.filling.slots <= found.now.filling.slots == 640
  assert found.best.filling.both > 0.97 and found.best.lost <= 0.01


def test_real_chains_of_thought_without_exemplars_want_longer_targets(data_dir):
  vocabulary = data_dir / "t5-vocab" / "cc_all.32000" / "sentencepiece.model"
  if not vocabulary.is_file():
    pytest.skip(f"{vocabulary.name} of T5 is not there")
  found = examine(
    500,
    MIXTURE_OR_TASK_NAME="flan_cot_zs_opt",
    VOCABULARY=str(vocabulary),
    VOCAB_SIZE=32128,
    TASK_FEATURE_LENGTHS={"inputs": 512, "targets": 128},
  )
  assert found.proposed.now.filling.both < 0.65
  assert found.proposed.best.filling.both > 0.9
