"""The loop: pure steps, one run on any mesh, hooks called when due, trouble noticed."""

import os
import signal
import time
import types

import jax
import numpy as np
import pytest

import flan_tune as ft
from flan_tune import optim, partition
from flan_tune.models import t5
from flan_tune.train import loop, recorder, step, stopping

LENGTHS = {"inputs": 96, "targets": 32}
CONFIG = t5.T5Config(
  vocab_size=2112,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dropout_rate=0.1,
)


def _fit(mesh_text: str = "data=1", *, devices: int = 1, num_steps: int = 3, seed=0, **more):
  """Losses of a short run, and its final state."""
  network = t5.T5(CONFIG)
  tx = optim.adafactor(0.01, axes=network.axes)
  mesh = partition.make_mesh(mesh_text, jax.devices()[:devices])
  create = lambda: step.create(network.init(jax.random.key(0)), tx)
  sharding = partition.shardings(jax.eval_shape(create), network.axes, mesh)
  state = jax.jit(create, out_shardings=sharding)()
  losses = []
  recording = recorder.Recorder(1, lambda number, interval: losses.append(interval.means()["loss"]))
  state = loop.fit(
    state,
    more.pop("batches", None) or ft.batches("playground", lengths=LENGTHS, batch_size=8, shots=1),
    loss_fn=more.pop("loss_fn", network.loss),
    tx=tx,
    mesh=mesh,
    batch_sharding=jax.sharding.NamedSharding(mesh, partition.BATCH),
    state_sharding=sharding,
    num_steps=num_steps,
    seed=seed,
    hooks=(recording, *more.pop("hooks", ())),
    **more,
  )
  return losses, state


def _recorder() -> recorder.Recorder:
  return recorder.Recorder(1, lambda *_: None)


@pytest.fixture(scope="module")
def losses() -> list[float]:
  """Of the short run on one device, with seed 0."""
  return _fit()[0]


@pytest.mark.slow
def test_loss_falls():
  longer, _ = _fit(num_steps=40)
  assert np.mean(longer[-5:]) < 0.75 * longer[0]


def test_eight_devices_give_the_run_of_one(losses):
  """Losses with dropout, to rounding; on every mesh: test_mesh_losses.py.

  Parameters are not compared: Adafactor moves an entry by a full step whatever the size of its
  gradient, so an entry whose gradient is only rounding noise may go either way.
  """
  sharded_losses, sharded = _fit("data=2,fsdp=2,model=2", devices=8)
  np.testing.assert_allclose(sharded_losses, losses, rtol=1e-5)
  assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(sharded.params))


def test_the_seed_decides_the_dropout(losses):
  assert _fit()[0] == losses
  assert _fit(seed=1)[0] != losses


def test_hooks_are_called_when_due_and_after_the_last_step():
  seen = []
  every = recorder.Every(
    3, lambda number, state: seen.append((number, int(state.step))), _recorder()
  )
  _fit(num_steps=5, hooks=(every,))
  assert seen == [(3, 3), (5, 5)]


def test_a_period_of_zero_means_never():
  never = recorder.Every(0, lambda *_: pytest.fail("called"), _recorder())
  _fit(num_steps=2, hooks=(never,))


def test_a_signal_records_and_saves_after_the_step_and_stops():
  done = []
  recording = recorder.Recorder(9, lambda number, one: done.append(("record", number, one.steps)))
  before = signal.getsignal(signal.SIGTERM)
  with (
    stopping.StopOnSignal(lambda number, _: done.append(("save", number)), recording) as stop,
    pytest.raises(stopping.Stopped),
  ):
    kill = recorder.Every(2, lambda *_: os.kill(os.getpid(), signal.SIGTERM), _recorder())
    _fit(num_steps=9, hooks=(recording, kill, stop))
  assert done == [("record", 2, 2), ("save", 2)]
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_step_makes_no_hidden_copy_between_host_and_device():
  """The loop's transfer guard would raise; numpy batches reach the device by one explicit put."""
  network = t5.T5(CONFIG)
  hidden = lambda params, batch, key: network.loss(params, jax.tree.map(np.asarray, batch), key)
  with pytest.raises(Exception):  # noqa: B017  # JAX's own kind of error for a traced array
    _fit(num_steps=1, loss_fn=hidden)


def test_the_step_is_traced_and_compiled_once():
  network = t5.T5(CONFIG)
  traced, compiled = [], []

  def loss_fn(params, batch, key):
    traced.append(1)
    return network.loss(params, batch, key)

  def hear(event, seconds, *, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration" and "train_step" in fun_name:
      compiled.append(fun_name)

  jax.monitoring.register_event_duration_secs_listener(hear)
  try:
    _fit(num_steps=4, loss_fn=loss_fn)
  finally:
    jax.monitoring.unregister_event_duration_listener(hear)
  assert (len(traced), len(compiled)) == (1, 1)


class _Drawn:
  """Batches of a feed, with a count of those drawn, as its state would say."""

  def __init__(self):
    self.count = 0
    self._feed = ft.batches("playground", lengths=LENGTHS, batch_size=8, shots=1)

  def __iter__(self):
    return self

  def __next__(self):
    self.count += 1
    return next(self._feed)


def test_a_hook_finds_the_feed_where_the_state_is():
  """Or a checkpoint would skip the batches drawn ahead, or repeat some."""
  drawn, seen = _Drawn(), []
  save = recorder.Every(
    1, lambda number, state: seen.append((number, int(state.step), drawn.count)), _recorder()
  )
  _fit(batches=drawn, hooks=(save,))
  assert seen == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_the_loss_gets_the_groups_of_a_batch_that_has_them():
  network, got = t5.T5(CONFIG), []

  def loss_fn(params, batch, key):
    got.append(batch["loss_groups"].shape)
    return network.loss(params, {k: v for k, v in batch.items() if k != "loss_groups"}, key)

  batch = next(ft.batches("playground", lengths=LENGTHS, batch_size=8, shots=1))
  grouped = types.SimpleNamespace(arrays=batch.arrays, groups=np.zeros((8, 32), np.int32))
  _fit(num_steps=1, batches=iter([grouped]), loss_fn=loss_fn)
  assert got == [(8, 32)]
  assert "loss_groups" not in batch.arrays


def test_time_goes_to_what_the_loop_did():
  """A slow feed, a slow evaluation and a slow save are told apart; sums miss nothing."""
  batch = next(ft.batches("playground", lengths=LENGTHS, batch_size=8, shots=1))

  def slow():
    while True:
      time.sleep(0.15)
      yield batch

  recording = recorder.Recorder(3, lambda *_: None)
  sleep = lambda seconds: lambda *_: time.sleep(seconds)
  hooks = (
    recorder.Every(3, sleep(0.2), recording),
    recorder.Every(3, sleep(0.1), recording, "save"),
  )
  recording.clock.take()
  begun = time.monotonic()
  _fit(batches=slow(), hooks=hooks, clock=recording.clock)
  whole, seconds = time.monotonic() - begun, recording.clock.take()
  assert seconds["eval"] >= 0.2 and seconds["save"] >= 0.1 and seconds["compile"] > 0
  assert 0.15 <= seconds["data"] <= whole - 0.3
  assert abs(sum(seconds.values()) - whole) < 0.05
