"""Batch arrays: T5X's conventions, and SeqIO's very numbers."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from flan_tune import batch as batches
from flan_tune.batch import ARRAYS, Fill

LENGTHS = {"inputs": 24, "targets": 16}
TOKENS = st.lists(st.integers(1, 99), min_size=1, max_size=6)
ROWS = st.lists(st.lists(st.tuples(TOKENS, TOKENS), max_size=2), min_size=1, max_size=4)
SETTINGS = hypothesis.settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def golden(golden_dir):
  """SeqIO's packed and unpacked batches, and the examples in them."""
  folder = golden_dir / "t5x/t5_1_1"
  with np.load(folder / "examples.npz") as file:
    numbers = sorted(name.split("/")[1] for name in file.files if name.startswith("inputs/"))
    examples = [(file[f"inputs/{n}"], file[f"targets/{n}"]) for n in numbers]
  arrays = {}
  for kind in ("packed", "unpacked"):
    with np.load(folder / f"{kind}.npz") as file:
      names = [name for name in file.files if name.startswith("batch/")]
      arrays[kind] = {name.removeprefix("batch/"): file[name] for name in names}
  return examples, arrays


def lengths_of(arrays):
  return {
    "inputs": arrays["encoder_input_tokens"].shape[1],
    "targets": arrays["decoder_target_tokens"].shape[1],
  }


def test_packed_rows_are_those_of_seqio(golden):
  examples, arrays = golden
  expected = arrays["packed"]
  counts = expected["encoder_segment_ids"].max(axis=1)
  remaining = iter(examples)
  rows = [[next(remaining) for _ in range(count)] for count in counts]
  ours = batches.packed_batch(rows, lengths_of(expected))
  assert ours.keys() == expected.keys() == ARRAYS.keys()
  for name, values in expected.items():
    np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_unpacked_rows_are_those_of_seqio(golden):
  examples, arrays = golden
  expected = arrays["unpacked"]
  ours = batches.unpacked_batch(examples, lengths_of(expected))
  assert ours.keys() == expected.keys()
  for name, values in expected.items():
    np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_a_row_written_out():
  row = batches.row_arrays([([5, 6, 1], [7, 1]), ([8, 1], [9, 3, 1])], {"inputs": 6, "targets": 7})
  expected = {
    "encoder_input_tokens": [5, 6, 1, 8, 1, 0],
    "encoder_segment_ids": [1, 1, 1, 2, 2, 0],
    "encoder_positions": [0, 1, 2, 0, 1, 0],
    "decoder_input_tokens": [0, 7, 0, 9, 3, 0, 0],
    "decoder_target_tokens": [7, 1, 9, 3, 1, 0, 0],
    "decoder_loss_weights": [1, 1, 1, 1, 1, 0, 0],
    "decoder_segment_ids": [1, 1, 2, 2, 2, 0, 0],
    "decoder_positions": [0, 1, 0, 1, 2, 0, 0],
  }
  assert {name: values.tolist() for name, values in row.items()} == expected


@SETTINGS
@hypothesis.given(ROWS)
def test_examples_come_back_out_of_their_segments(rows):
  batch = batches.packed_batch(rows, LENGTHS)
  for row, examples in enumerate(rows):
    for segment, (inputs, targets) in enumerate(examples, start=1):
      here = batch["encoder_segment_ids"][row] == segment
      assert batch["encoder_input_tokens"][row][here].tolist() == inputs
      assert batch["encoder_positions"][row][here].tolist() == list(range(len(inputs)))
      here = batch["decoder_segment_ids"][row] == segment
      assert batch["decoder_target_tokens"][row][here].tolist() == targets
      assert batch["decoder_input_tokens"][row][here].tolist() == [0, *targets[:-1]]
      assert batch["decoder_positions"][row][here].tolist() == list(range(len(targets)))
      assert (batch["decoder_loss_weights"][row][here] == 1).all()


@SETTINGS
@hypothesis.given(ROWS)
def test_everything_is_zero_at_padding(rows):
  batch = batches.packed_batch(rows, LENGTHS)
  for name, values in batch.items():
    side = "encoder" if ARRAYS[name].side == "inputs" else "decoder"
    assert not values[batch[f"{side}_segment_ids"] == 0].any()


@SETTINGS
@hypothesis.given(ROWS)
def test_a_batch_is_its_rows_stacked(rows):
  batch = batches.packed_batch(rows, LENGTHS)
  stacked = batches.stack([batches.row_arrays(row, LENGTHS) for row in rows])
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(stacked[name], batch[name])
    assert batch[name].dtype == stacked[name].dtype == array.dtype
    assert batch[name].shape == (len(rows), LENGTHS[array.side])


def test_an_empty_row_is_a_row_without_examples():
  empty = batches.empty_row(LENGTHS)
  for name, values in batches.row_arrays([], LENGTHS).items():
    np.testing.assert_array_equal(empty[name], values)
    assert not values.any()


def test_ids_may_be_lists_or_arrays():
  as_lists = [([5, 1], [6, 7, 1])]
  as_arrays = [tuple(np.array(ids, np.int32) for ids in pair) for pair in as_lists]
  for build in (batches.packed_batch, batches.unpacked_batch):
    rows = (as_lists, as_arrays) if build is batches.unpacked_batch else ([as_lists], [as_arrays])
    first, second = (build(row, LENGTHS) for row in rows)
    for name in first:
      np.testing.assert_array_equal(first[name], second[name])


def test_an_example_may_lack_inputs_or_targets():
  row = batches.row_arrays([([], [5, 1]), ([6, 1], [])], LENGTHS)
  assert row["encoder_segment_ids"][:3].tolist() == [2, 2, 0]
  assert row["decoder_input_tokens"][:3].tolist() == [0, 5, 0]


def test_unpacked_batches_are_padded_to_their_size():
  batch = batches.unpacked_batch([([5, 1], [6, 1])], LENGTHS, batch_size=3)
  assert all(len(values) == 3 and not values[1:].any() for values in batch.values())
  with pytest.raises(ValueError, match="2 examples for 1 rows"):
    batches.unpacked_batch([([5], [6])] * 2, LENGTHS, batch_size=1)


@pytest.mark.parametrize("side", ["inputs", "targets"])
def test_what_does_not_fit_is_refused_not_cut(side):
  ids = {"inputs": [1], "targets": [1], side: [1] * (LENGTHS[side] + 1)}
  example = ids["inputs"], ids["targets"]
  with pytest.raises(ValueError, match=f"row 0: .* {side} tokens do not fit"):
    batches.row_arrays([example], LENGTHS)
  with pytest.raises(ValueError, match=f"row 0: .* {side} tokens do not fit"):
    batches.unpacked_batch([example], LENGTHS)


def test_fill_counts_tokens_and_adds_up():
  first = batches.fill(batches.packed_batch([[([5, 1], [6, 7, 1])]], LENGTHS))
  second = batches.fill(batches.unpacked_batch([([5, 1], [6, 1])], LENGTHS, batch_size=2))
  assert first == Fill(2, 24, 3, 16)
  assert first + second == Fill(4, 72, 5, 48)
  assert (first.tokens, first.inputs, first.targets, first.both) == (5, 2 / 24, 3 / 16, 5 / 40)
  assert Fill().both == 0
