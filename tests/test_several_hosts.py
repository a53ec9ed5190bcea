"""Several real processes: killed, stopped and resumed on fewer or more; the run stays the same."""

import shutil
import signal
import subprocess
import sys

import pytest

from flan_tune.checkpoint import orbax_io
from tests import several_hosts

# Sums over devices are rounded otherwise with another number of them; measured: see the docs.
_ROUNDING = 1e-4

_JOINED = """
import sys, time
from flan_tune import hosts
with hosts.joined(sys.argv[1], 2, int(sys.argv[2])):
  import jax, jax.numpy as jnp
  hosts.resumes_from(lambda: 7)
  mesh = jax.make_mesh((2,), ("data",))
  placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  ones = jax.make_array_from_callback((2,), placed, lambda index: jnp.ones(2)[index])
  total = jax.jit(jnp.sum, out_shardings=whole)
  assert float(total(ones)) == 2.0
  print("together", hosts.everyone(hosts.number()), file=sys.stderr, flush=True)
  while len(sys.argv) == 3:
    total(ones).block_until_ready()
"""

_ANSWERS = """
import json, sys
from flan_tune import hosts
count = int(sys.argv[2])
given = (sys.argv[1], count, int(sys.argv[3])) if count > 1 else ()
with hosts.joined(*given):
  import jax, numpy as np
  import flan_tune as ft
  from flan_tune import partition, vocab
  from flan_tune.models import palm
  from flan_tune.sources import playground
  vocabulary = vocab.Vocabulary(playground.VOCABULARY)
  sizes = dict(emb_dim=16, num_heads=4, head_dim=4, mlp_dim=24, num_layers=1)
  network = palm.PaLM(palm.PaLMConfig(vocab_size=vocabulary.size, **sizes))
  draw = np.random.default_rng(1)
  number = lambda leaf: draw.normal(len(leaf.shape) == 1, 0.3, leaf.shape).astype(np.float32)
  model = ft.Model(network, jax.tree.map(number, network.shapes), vocabulary)
  model = model.on(partition.make_mesh(sys.argv[4]))
  prompts = ["Sort: b a", "", "Where is Ann?", "x " * 20, "five"]
  answers = [
    model.generate(prompts, max_tokens=6),
    model.generate(prompts, max_tokens=6, temperature=1.0, top_k=50, seed=3),
    model.score([(prompt, "yes") for prompt in prompts]).round(3).tolist(),
  ]
  print("answers", json.dumps(answers), file=sys.stderr, flush=True)
"""


def _start(code: str, *arguments: object) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-c", code, *map(str, arguments)],
    env=several_hosts.environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_the_death_of_a_process_ends_the_other_with_a_sentence():
  address = several_hosts.free_address()
  first, second = (_start(_JOINED, address, number) for number in range(2))
  try:
    for one in (first, second):
      assert one.stderr and one.stderr.readline() == "together [0, 1]\n"
    second.kill()
    told = first.communicate(timeout=60)[1]
  finally:
    for one in (first, second):
      one.kill()
    second.communicate()
  assert first.returncode == 69
  assert told.startswith("flan-tune: host ") and told.count("\n") == 1
  assert "(process 1 of 2) is gone" in told and "goes on from step 7" in told


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  folder = tmp_path_factory.mktemp("uninterrupted") / "run"
  several_hosts.complete(folder, 2)
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "counts"), [(0, (2,)), (1, (1, 4))])
def test_a_run_goes_on_with_fewer_and_more_processes(victim, counts, uninterrupted, tmp_path):
  """Bit for bit with as many; to rounding with others, and with the same examples in order."""
  killed = tmp_path / "killed"
  ended = several_hosts.kill_one(killed, 2, victim=victim, step=6)
  for code, output, seconds in ended.values():
    assert code == 69 and seconds < 60
    assert f"(process {victim} of 2) is gone" in output
    # Step 8 is being saved when step 4 is whole.
    assert "goes on from step 4" in output or "goes on from step 8" in output
    assert "Traceback" not in output
  for count in counts:
    folder = tmp_path / f"resumed_{count}"
    shutil.copytree(killed, folder)
    several_hosts.complete(folder, count)
    assert several_hosts.data_order(folder) == several_hosts.data_order(uninterrupted)
    if count == 2:
      left, right = map(several_hosts.arrays, (folder, uninterrupted))
      assert all(left[name].tobytes() == right[name].tobytes() for name in right)
    else:
      assert several_hosts.difference(folder, uninterrupted) < _ROUNDING
    steps = [one["step"] for one in several_hosts.logged(folder, "train")]
    assert steps == list(range(1, several_hosts.STEPS + 1))


@pytest.mark.slow
def test_a_signal_to_one_saves_and_stops_all_after_the_same_step(uninterrupted, tmp_path):
  settings = {"CHECKPOINT_PERIOD": 1000}
  run = several_hosts.Run(tmp_path, 2, settings)
  run.wait_for(lambda: run.logged(2))
  run.processes[1].send_signal(signal.SIGTERM)
  ended = run.end()
  (step,) = orbax_io.steps(tmp_path / "checkpoints")
  assert [code for code, _ in ended] == [75, 75]
  assert all(f"stopped after step {step}" in output for _, output in ended)
  several_hosts.complete(tmp_path, 2, settings)
  assert several_hosts.difference(tmp_path, uninterrupted) == 0.0
  assert several_hosts.data_order(tmp_path) == several_hosts.data_order(uninterrupted)


@pytest.mark.slow
def test_several_processes_evaluate_and_train_adapters_of_a_base_that_none_has_whole(tmp_path):
  settings = {
    "LORA_RANK": 2,
    "TRAINABLE": "'lora'",
    "SCAN_LAYERS": True,
    "MESH": "'fsdp=2'",
    "TRAIN_STEPS": 3,
    "CHECKPOINT_PERIOD": 2,
    "EVAL_PERIOD": 3,
    "EVAL_MIXTURE": "playground_opinion",
    "EVAL_BATCH_SIZE": 2,
    "MAX_DECODE_TOKENS": 2,
    "LOG_NORMS": True,
  }
  several_hosts.complete(tmp_path, 2, settings)
  events = several_hosts.logged(tmp_path, "event")
  (average,) = [one["average"] for one in events if one["what"] == "evaluated"]
  assert orbax_io.best(tmp_path / "checkpoints") == (average, 3)
  alone = {"MESH": "'data=-1'", "EVAL_PERIOD": 0, "TRAIN_STEPS": 4}
  several_hosts.complete(tmp_path, 1, settings | alone)
  assert orbax_io.steps(tmp_path / "checkpoints") == [2, 3, 4]


@pytest.mark.slow
def test_a_model_on_several_processes_answers_all_of_them_alike():
  address = several_hosts.free_address()
  alone = _start(_ANSWERS, address, 1, 0, "data=1").communicate(timeout=200)[1]
  started = [_start(_ANSWERS, address, 2, number, "model=2") for number in range(2)]
  assert "answers" in alone
  assert [one.communicate(timeout=200)[1] for one in started] == [alone] * 2
