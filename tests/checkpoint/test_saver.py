"""What is saved while training goes on is what was there when it was asked for; or it is told."""

import errno
import logging
import os
import threading

import jax
import numpy as np
import pytest

from flan_tune import errors
from flan_tune.checkpoint import folders, orbax_io, pieces, saver, unfinished, writing


@pytest.fixture
def held(monkeypatch):
  """Writing waits until this is set."""
  go_on, original = threading.Event(), writing.write_arrays

  def wait(*args):
    assert go_on.wait(20)
    original(*args)

  monkeypatch.setattr(writing, "write_arrays", wait)
  yield go_on
  go_on.set()


def cut(state):
  """The state on a mesh of four devices, its parameters cut or whole on each."""
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]).reshape(2, 2), ("data", "model"))
  spec = jax.sharding.PartitionSpec
  place = lambda x: jax.sharding.NamedSharding(
    mesh, spec("model", "data") if x.shape == (4, 6) else spec()
  )
  return jax.device_put(state, jax.tree.map(place, state))


double = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)


@pytest.mark.parametrize("place", [lambda state: state, cut], ids=["one device", "a mesh"])
def test_a_state_saved_while_training_goes_on_is_the_one_saved_at_once(
  tmp_path, make_state, assert_bits_equal, held, place
):
  state = place(make_state(3))
  with jax.transfer_guard("disallow"), saver.Saver(tmp_path / "later") as writer:
    writer.save(3, state, documents={"data": {"rows": 3}})
    memory = state.params["decoder"]["scale"].unsafe_buffer_pointer if place is not cut else None
    before = memory() if memory else None
    after = double(state)  # takes the memory of `state`, which is not yet written
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    if before is not None:  # the copy is no hindrance: training needs no memory more than without
      assert after.params["decoder"]["scale"].unsafe_buffer_pointer() == before
    assert not (tmp_path / "later" / "checkpoint_3").exists()
    held.set()
  orbax_io.save(tmp_path / "at once", 3, place(make_state(3)), documents={"data": {"rows": 3}})
  for folder in ("later", "at once"):
    restored = orbax_io.restore(tmp_path / folder, make_state(0))
    assert_bits_equal(restored.state, make_state(3))
    assert restored.documents == {"data": {"rows": 3}}


def test_numpy_arrays_and_documents_may_be_changed_meanwhile(tmp_path, held):
  state, documents = {"w": np.ones(3, np.float32)}, {"data": {"rows": [1]}}
  with saver.Saver(tmp_path) as writer:
    writer.save(1, state, documents=documents)
    state["w"][:] = 2
    documents["data"]["rows"].append(2)
    held.set()
  restored = orbax_io.restore(tmp_path, state)
  assert (np.asarray(restored.state["w"]) == 1).all()
  assert restored.documents == {"data": {"rows": [1]}}


def test_the_best_is_marked_and_old_ones_removed_when_the_new_one_is_whole(tmp_path, held):
  state = {"w": np.float32(1)}
  held.set()
  with saver.Saver(tmp_path, keep=1, keep_every=3) as writer:
    for step, score in ((1, 0.5), (2, None), (3, None), (4, None)):
      writer.save(step, state, documents={}, score=score)
    writer.wait()
    assert folders.present(tmp_path) == [1, 3, 4]
    held.clear()
    writer.save(5, state, documents={}, score=0.9)
    assert folders.present(tmp_path) == [1, 3, 4] and orbax_io.best(tmp_path) == (0.5, 1)
    held.set()
  assert folders.present(tmp_path) == [3, 5] and orbax_io.best(tmp_path) == (0.9, 5)


@pytest.fixture
def full_disk(monkeypatch):
  """There is no room, until this is called."""
  monkeypatch.setattr(writing, "free_bytes", lambda folder: 100)
  return lambda: monkeypatch.setattr(writing, "free_bytes", lambda folder: 10**12)


def settled(writer):
  assert writer._under_way.exception(timeout=20)


@pytest.mark.parametrize("moment", ["wait", "leave"])
def test_a_failure_in_the_background_is_told_once_at_the_next_occasion(
  tmp_path, full_disk, moment, two
):
  text = f"{two}/checkpoint_9 cannot be saved: {os.strerror(errno.ENOSPC)}; it needs"
  with pytest.raises(errors.UserError, match=text), saver.Saver(two) as writer:
    writer.save(9, {"w": np.ones(100)}, documents={})
    settled(writer)
    assert writer.has_failed()
    if moment != "leave":
      with pytest.raises(errors.UserError, match=text):
        writer.wait()
      assert not writer.has_failed()
      writer.wait()
      raise errors.UserError(text)
  assert sorted(os.listdir(two)) == ["checkpoint_4", "checkpoint_8"]


def test_after_a_failure_the_next_state_is_saved_before_it_is_told(tmp_path, full_disk):
  writer = saver.Saver(tmp_path)
  writer.save(1, {"w": np.ones(100)}, documents={})
  settled(writer)
  full_disk()
  with pytest.raises(
    errors.UserError, match="checkpoint_1 cannot be .*; checkpoint_2 has been saved"
  ):
    writer.save(2, {"w": np.ones(100)}, documents={})
  assert orbax_io.steps(tmp_path) == [2]
  writer.wait()


def test_a_failure_does_not_hide_why_the_run_ends(tmp_path, full_disk, caplog):
  with pytest.raises(ZeroDivisionError), saver.Saver(tmp_path) as writer:
    writer.save(1, {"w": np.ones(100)}, documents={})
    raise ZeroDivisionError
  assert "checkpoint_1 cannot be saved" in caplog.text


def test_an_end_by_exception_waits_for_the_files(tmp_path, held):
  with pytest.raises(KeyboardInterrupt), saver.Saver(tmp_path) as writer:
    writer.save(1, {"w": np.ones(100)}, documents={})
    threading.Timer(0.05, held.set).start()
    raise KeyboardInterrupt
  assert orbax_io.steps(tmp_path) == [1]


def test_other_errors_of_the_background_pass_through_once(tmp_path, monkeypatch):
  def fail(*args, **kwargs):
    raise RuntimeError("a mistake of ours")

  monkeypatch.setattr(pieces, "merge", fail)
  writer = saver.Saver(tmp_path)
  writer.save(1, {"w": np.ones(3)}, documents={})
  with pytest.raises(RuntimeError, match="a mistake of ours"):
    writer.wait()
  writer.wait()
  assert os.listdir(tmp_path) == []


def test_without_background_it_is_done_on_return(tmp_path):
  writer = saver.Saver(tmp_path, keep=1, background=False)
  for step in (1, 2):
    writer.save(step, {"w": np.ones(3)}, documents={}, score=None)
    assert orbax_io.steps(tmp_path) == [step]


@pytest.mark.parametrize("rule", ["keep", "keep_every"])
def test_a_rule_of_less_than_one_is_refused_at_the_start(tmp_path, rule):
  with pytest.raises(errors.UserError, match=f"{rule} is 0; it must be at least 1"):
    saver.Saver(tmp_path, **{rule: 0})


def test_removals_are_told_and_only_of_temporaries(tmp_path, caplog):
  dead = tmp_path / "checkpoint_1.tmp-elsewhere-1-00c0ffee"
  for path in (
    dead,
    tmp_path / "checkpoint_0",
    tmp_path / "checkpoint_1.damaged-1",
    tmp_path / "x",
  ):
    path.mkdir()
    (path / "file").write_text("mine")
  unfinished._SEEN[dead] = (hash(tuple(unfinished._stamps(dead))), -1e9)
  with caplog.at_level(logging.WARNING), saver.Saver(tmp_path, keep=1) as writer:
    for step in (2, 3, 4):
      writer.save(step, {"w": np.ones(3)}, documents={})
  assert f"removing what an interrupted save left: {dead}" in caplog.text
  left = ["checkpoint_0", "checkpoint_1.damaged-1", "checkpoint_4", "x"]
  assert sorted(os.listdir(tmp_path)) == left
