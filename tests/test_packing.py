"""Packing: nothing lost, limits kept, the same rows whatever happens, and well filled."""

import importlib.util
import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest

from flan_tune.draws import Draws
from flan_tune.packing import Packer, pack
from flan_tune.vocab import Vocabulary

SETTINGS = hypothesis.settings(max_examples=60, deadline=None)


@st.composite
def streams(draw, max_size=120):
  """Limits (one to three sides), settings, and the sizes of a stream of examples."""
  limits = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
  sizes = draw(st.lists(st.tuples(*(st.integers(0, limit) for limit in limits)), max_size=max_size))
  return tuple(limits), draw(st.integers(1, 40)), draw(st.integers(1, 5)), sizes


def mixture(n: int, limits: tuple[int, int]) -> list[tuple[int, int]]:
  """Sizes like those of half few-shot examples: inputs 20-90 or several times that."""
  sizes = []
  for index in range(n):
    draws = Draws("sizes", index)
    exemplars = draws.between(1, 5) if draws.below(2) else 0
    inputs = draws.between(20, 90) + sum(draws.between(50, 150) for _ in range(exemplars))
    sizes.append((min(inputs, limits[0]), min(draws.between(5, 90), limits[1])))
  return sizes


@SETTINGS
@hypothesis.given(streams())
def test_every_example_is_in_one_row(stream):
  limits, lookahead, tries, sizes = stream
  rows = pack(sizes, limits, lookahead=lookahead, tries=tries)
  assert sorted(key for row in rows for key in row) == list(range(len(sizes)))
  assert all(rows)


@SETTINGS
@hypothesis.given(streams())
def test_no_row_passes_a_limit(stream):
  limits, lookahead, tries, sizes = stream
  for row in pack(sizes, limits, lookahead=lookahead, tries=tries):
    for side, limit in enumerate(limits):
      assert sum(sizes[key][side] for key in row) <= limit


@SETTINGS
@hypothesis.given(streams(), st.integers(0, 120))
def test_a_restored_packer_goes_on_as_the_uninterrupted_one(stream, moment):
  limits, lookahead, tries, sizes = stream
  moment = min(moment, len(sizes))
  packer = Packer(limits, lookahead=lookahead, tries=tries)
  rows = [row for key in range(moment) for row in packer.add(key, sizes[key])]
  pending = packer.pending()
  packer = Packer.restore(
    pending, [sizes[key] for key in pending], limits=limits, lookahead=lookahead, tries=tries
  )
  assert packer.pending() == pending
  rows += [row for key in range(moment, len(sizes)) for row in packer.add(key, sizes[key])]
  assert rows + packer.flush() == pack(sizes, limits, lookahead=lookahead, tries=tries)


@SETTINGS
@hypothesis.given(streams())
def test_no_example_waits_for_more_rows_than_the_lookahead(stream):
  limits, lookahead, tries, sizes = stream
  packer = Packer(limits, lookahead=lookahead, tries=tries)
  closed, came = 0, {}
  for key, size in enumerate(sizes):
    came[key] = closed
    for row in packer.add(key, size):
      closed += 1
      assert all(closed - came[member] <= lookahead for member in row)
    assert len(packer) == len(packer.pending()) < max(lookahead, 1)


@SETTINGS
@hypothesis.given(streams())
def test_rows_start_with_the_example_that_waited_longest(stream):
  limits, lookahead, tries, sizes = stream
  left = set(range(len(sizes)))
  for row in pack(sizes, limits, lookahead=lookahead, tries=tries):
    assert row[0] == min(left)
    left -= set(row)


@SETTINGS
@hypothesis.given(streams())
def test_no_waiting_example_would_have_fitted_a_closed_row(stream):
  limits, lookahead, tries, sizes = stream
  packer = Packer(limits, lookahead=lookahead, tries=tries)
  for key, size in enumerate(sizes):
    for row in packer.add(key, size):
      free = [
        limit - sum(sizes[member][side] for member in row) for side, limit in enumerate(limits)
      ]
      for waiting in packer.pending():
        assert any(need > space for need, space in zip(sizes[waiting], free, strict=True))


def test_keys_may_be_any_integers():
  keys = [7, -3, 10**12, 0]
  packer = Packer((4, 4), lookahead=2)
  rows = [row for key in keys for row in packer.add(key, (3, 3))]
  assert rows + packer.flush() == [[key] for key in keys]


def test_limits_too_large_for_the_table_of_costs_keep_every_promise():
  limits = (40_000, 9_999)  # counted in steps of several tokens, which do not divide the limits
  sizes = [limits, (39_999, 1), (0, 9_999), (1, 0), (0, 0)]
  sizes += [(Draws("a", i).between(1, 9_000), Draws("b", i).between(1, 2_000)) for i in range(900)]
  rows = pack(sizes, limits)
  assert sorted(key for row in rows for key in row) == list(range(len(sizes)))
  for side, limit in enumerate(limits):
    assert max(sum(sizes[key][side] for key in row) for row in rows) <= limit
    filled = sum(size[side] for size in sizes) / len(rows) / limit
  assert filled > 0.8


@pytest.mark.parametrize("sizes", [(513, 1), (1, 129), (-1, 1)])
def test_a_size_outside_the_limits_is_refused_and_changes_nothing(sizes):
  packer = Packer((512, 128))
  packer.add(1, (5, 5))
  with pytest.raises(ValueError, match="example 2 .* does not fit"):
    packer.add(2, sizes)
  assert packer.pending() == [1]
  assert packer.flush() == [[1]]


def test_an_example_must_have_a_size_for_every_side():
  with pytest.raises(ValueError, match="argument"):
    Packer((512, 128)).add(1, (5,))


@pytest.mark.parametrize(
  "settings",
  [{"limits": ()}, {"limits": (512, 0)}, {"lookahead": 0}, {"tries": 0}],
)
def test_settings_must_be_positive(settings):
  with pytest.raises(ValueError, match="positive"):
    Packer(**settings)


def test_more_pending_examples_than_the_lookahead_holds_are_refused():
  with pytest.raises(ValueError, match="lookahead of 2"):
    Packer.restore([1, 2], [(1, 1), (1, 1)], limits=(4, 4), lookahead=2, tries=1)


def test_fill_of_a_mixture_of_zero_and_few_shot_examples():
  limits = (512, 128)
  sizes = mixture(6_000, limits)
  rows = pack(sizes, limits)
  tokens = sum(map(sum, sizes))
  fewest = max(-(-sum(size[side] for size in sizes) // limits[side]) for side in (0, 1))
  assert tokens / (len(rows) * sum(limits)) > 0.8 * tokens / (fewest * sum(limits))


def test_more_tries_and_more_lookahead_fill_better():
  sizes = mixture(6_000, (512, 128))
  plain, tried, far = (
    len(pack(sizes, lookahead=lookahead, tries=tries))
    for lookahead, tries in ((64, 1), (64, 8), (256, 8))
  )
  assert far < tried < plain


@pytest.fixture(scope="module")
def bench():
  """scripts/bench_packing.py as a module."""
  path = pathlib.Path(__file__).parents[1] / "scripts/bench_packing.py"
  spec = importlib.util.spec_from_file_location("bench_packing", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def counts(bench, data_dir):
  """Token counts of every third chain-of-thought row."""
  vocabulary = Vocabulary(data_dir / "t5-vocab/cc_all.32000/sentencepiece.model")
  return bench.tokens_of_rows(data_dir / "FLAN/flan/v2/cot_data", vocabulary)[::3]


@pytest.mark.parametrize(
  ("limits", "kind", "least"),
  [((512, 128), "mix", 0.91), ((512, 128), "cut", 0.885), ((2048, 512), "mix", 0.955)],
)
def test_fill_of_the_chain_of_thought_rows_half_of_them_few_shot(
  bench, counts, limits, kind, least
):
  """The last rows, packed from an emptying pool, cost more here than in the whole set."""
  sizes = bench.sample(counts, limits, kind)
  ours = bench.measure(pack, sizes, limits, 1)
  seqio = bench.measure(bench.next_fit, sizes, limits, 1)
  assert ours.both > least
  assert seqio.both < 0.85
  assert ours.both <= bench.volume_bound(sizes, limits)


def test_rows_of_a_known_stream_never_change():
  """A checkpoint's position in the data means something only while this holds."""
  sizes = [(5, 2), (7, 7), (3, 1), (6, 3), (2, 5), (4, 4), (8, 1), (1, 1), (3, 3), (9, 2)]
  rows = pack(sizes, (10, 8), lookahead=5, tries=2)
  assert rows == [[0, 4, 2], [1, 7], [3, 5], [6], [8], [9]]
