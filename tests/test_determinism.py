"""What DETERMINISTIC sets, and that two processes then agree to the bit."""

import hashlib
import os
import subprocess
import sys

import pytest

from flan_tune import determinism, errors

FLAGS = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"
SCRIPT = """
import functools, hashlib, sys
import jax, numpy as np
from flan_tune import determinism
determinism.require()
from flan_tune import optim
from flan_tune.models import t5
from flan_tune.train import step
sizes = dict(vocab_size=128, emb_dim=64, num_heads=2, head_dim=32, mlp_dim=128, dropout_rate=0.1)
network = t5.T5(t5.T5Config(**sizes, num_encoder_layers=1, num_decoder_layers=1))
tx = optim.adafactor(0.01, axes=network.axes)
draw = np.random.default_rng(0).integers(2, 128, (3, 8, 64)).astype(np.int32)
names = ("encoder_input_tokens", "decoder_target_tokens", "decoder_input_tokens")
state = step.create(network.init(jax.random.key(0)), tx)
run = jax.jit(functools.partial(step.train_step, loss_fn=network.loss, tx=tx, seed=0))
for _ in range(4):
  state, _ = run(state, dict(zip(names, draw)))
digest = hashlib.sha256()
for leaf in jax.tree.leaves(state):
  digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest())
"""


def test_flags_are_added_to_what_is_there_once(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
  determinism.require()
  determinism.require()
  assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=here {FLAGS}"


@pytest.mark.parametrize("given", ["", FLAGS, "--xla_gpu_deterministic_ops"])
def test_flags_that_say_the_same_are_left_alone(monkeypatch, given):
  monkeypatch.setenv("XLA_FLAGS", given)
  determinism.require()
  words = os.environ["XLA_FLAGS"].split()
  assert len(words) == 2 and given in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize(
  ("given", "says"),
  [
    ("--xla_gpu_deterministic_ops=false", "set it to true"),
    ("--xla_gpu_autotune_level=4", "set it to 0"),
    ("flags.txt", "flags.txt"),
    ("--xla_dump_to='here", "cannot be read: No closing quotation"),
  ],
)
def test_flags_that_say_otherwise_are_named(monkeypatch, given, says):
  monkeypatch.setenv("XLA_FLAGS", given)
  with pytest.raises(errors.UserError, match=f"DETERMINISTIC = True: .*{says}"):
    determinism.require()
  assert os.environ["XLA_FLAGS"] == given


def test_gpus_that_were_started_without_the_flags_are_an_error(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setattr(determinism, "_is_too_late", lambda: True)
  with pytest.raises(errors.UserError, match="before Python starts"):
    determinism.require()
  monkeypatch.setenv("XLA_FLAGS", FLAGS)
  determinism.require()


@pytest.mark.slow
def test_two_processes_agree_to_the_bit_and_xla_knows_the_flags(users_environment):
  """With all the threads the machine has: what a user's process would use."""
  run = lambda: subprocess.run(
    [sys.executable, "-c", SCRIPT],
    env=users_environment,
    capture_output=True,
    text=True,
    check=True,
    timeout=300,
  ).stdout.strip()
  first, second = run(), run()
  assert first == second
  assert len(first) == len(hashlib.sha256().hexdigest())
