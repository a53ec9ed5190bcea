"""Draws are pure functions of their key, and fair enough."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan_tune.draws import Draws, permuted


def test_the_stream_is_the_same_for_ever():
  """Golden: another value would silently change the data of every run."""
  draws = Draws(7, "task", 3)
  assert [draws.below(1000) for _ in range(10)] == [550, 88, 698, 268, 1, 994, 151, 419, 964, 630]
  assert [permuted(i, 1000, 42) for i in range(6)] == [515, 632, 372, 621, 279, 324]


def test_keys_that_differ_give_streams_that_differ():
  streams = {tuple(Draws(*key).below(1 << 30) for _ in range(3)) for key in _KEYS}
  assert len(streams) == len(_KEYS)


_KEYS = [(0,), (1,), ("0",), (0, 0), (0, "a"), ("a", 0), (0, "a", 0), (-1,), ("a0",)]


@given(st.integers(1, 2000), st.integers(0, 2**62))
def test_permuted_is_a_bijection(n, key):
  assert sorted(permuted(i, n, key) for i in range(n)) == list(range(n))


def test_permuted_refuses_what_is_outside():
  with pytest.raises(IndexError):
    permuted(5, 5, 0)


def test_draws_are_even():
  counts = collections.Counter(Draws(0, i).below(6) for i in range(6000))
  assert set(counts) == set(range(6))
  assert all(abs(count - 1000) < 150 for count in counts.values())


def test_weights_are_kept():
  draws = Draws(1)
  counts = collections.Counter(draws.weighted("abc", (1, 0, 3)) for _ in range(4000))
  assert counts["b"] == 0
  assert abs(counts["c"] / 4000 - 0.75) < 0.03


@given(st.lists(st.integers(), max_size=30), st.integers(0, 30), st.integers())
def test_a_sample_has_no_position_twice(items, k, key):
  k = min(k, len(items))
  numbered = list(enumerate(items))
  chosen = Draws(key).sample(numbered, k)
  assert len(set(chosen)) == len(chosen) == k
  assert set(chosen) <= set(numbered)
