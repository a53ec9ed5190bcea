"""A process is told from another that was given its number; no clock is asked."""

import os
import subprocess
import time

import pytest

from flan_tune.checkpoint import owner


def test_a_process_lives_until_it_ends_also_before_its_parent_looks():
  assert owner.is_alive(owner.this())
  with subprocess.Popen(["sleep", "60"]) as child:
    found = owner.Owner(owner.MACHINE, child.pid, owner._life(child.pid))
    assert owner.is_alive(found) and found.life
    child.kill()
    end = time.monotonic() + 10
    while owner.is_alive(found) and time.monotonic() < end:  # a zombie is dead
      time.sleep(0.01)
    assert owner.is_alive(found) is False
  assert owner.is_alive(found) is False


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({}, True),
    ({"life": ""}, True),
    ({"life": "0badc0de"}, False),
    ({"process": 2**22 + 1}, False),
    ({"process": 10**30}, False),
    ({"machine": "elsewhere"}, None),
  ],
)
def test_another_number_life_or_machine_is_another_process(change, expected):
  assert owner.is_alive(owner.this()._replace(**change)) is expected


def test_a_life_is_the_same_whatever_the_clock_says(monkeypatch):
  monkeypatch.setattr(time, "time", lambda: 0.0)
  assert owner._life(os.getpid()) == owner.this().life
