"""A step whose loss or gradient is not finite changes nothing but the count of steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flan_tune import optim
from flan_tune.train import norms, step

ROWS, WIDTH = 4, 6


def loss_fn(params, batch, key):
  """Squared errors of a linear map, with noise from the key."""
  noise = 0.01 * jax.random.normal(key, batch["y"].shape)
  errors = batch["x"] @ params["decoder"]["mlp"]["kernel"] + params["decoder"]["mlp"]["bias"]
  each = jnp.square(errors + noise - batch["y"])
  # A root whose value is fine and whose gradient is not where "steep" is 0.
  steep = jnp.sqrt(batch["steep"] * jnp.exp(params["decoder"]["mlp"]["bias"]))
  loss = jnp.sum(each) + jnp.sum(steep)
  return loss, {"loss": (jnp.sum(each), jnp.float32(each.size))}


def batch(**changes):
  draw = np.random.default_rng(0)
  made = {
    "x": draw.normal(size=(ROWS, WIDTH)).astype(np.float32),
    "y": draw.normal(size=(ROWS, 1)).astype(np.float32),
    "steep": np.ones((ROWS, 1), np.float32),
  }
  for name, value in changes.items():
    made[name][-1] = value  # one row of one microbatch
  return made


def state(tx):
  kernel = 0.3 * jnp.ones((WIDTH, 1))
  params = {"decoder": {"mlp": {"kernel": kernel, "bias": jnp.zeros((1, 1))}}}
  return step.create(params, tx)


OPTIMIZERS = {
  "adafactor": optim.adafactor(0.1, beta1=0.9),
  "adam": optax.adam(0.1),
  "descent": optax.sgd(0.1),
}
BAD = {
  "loss is nan": {"y": np.nan},
  "loss is infinite": {"x": np.inf},
  "gradient alone is infinite": {"steep": 0.0},
  "gradient overflows": {"x": 1e15, "y": 0.0},
}


@functools.cache
def compiled(name="adafactor", microbatches=1, groups=None):
  run = functools.partial(
    step.train_step,
    loss_fn=loss_fn,
    tx=OPTIMIZERS[name],
    seed=0,
    microbatches=microbatches,
    norm_groups=groups,
  )
  return jax.jit(run, donate_argnames="state")


def assert_same_bits(one, other):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(
  ("name", "microbatches"), [("adafactor", 1), ("adafactor", 2), ("adam", 1)]
)
def test_a_step_that_is_not_finite_keeps_every_bit_but_counts(name, what, microbatches):
  run = compiled(name, microbatches)
  before, _ = run(state(OPTIMIZERS[name]), batch())  # moments that are not zeros
  kept = jax.tree.map(np.array, before)
  after, metrics = run(before, batch(**BAD[what]))
  assert_same_bits((after.params, after.opt_state), (kept.params, kept.opt_state))
  assert (int(kept.step), int(after.step)) == (1, 2)
  assert tuple(map(float, metrics["skipped"])) == (1.0, 1.0)


def test_a_good_step_is_the_plain_one():
  tx = OPTIMIZERS["adam"]
  key = jax.random.fold_in(jax.random.key(0), 0)

  @jax.jit
  def plain(before, arrays):
    grads = jax.grad(lambda params: loss_fn(params, arrays, key)[0])(before.params)
    updates, opt_state = tx.update(grads, before.opt_state, before.params)
    return optax.apply_updates(before.params, updates), opt_state, optax.tree.norm(grads)

  params, opt_state, norm = plain(state(tx), batch())
  after, metrics = compiled("adam")(state(tx), batch())
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
  jax.tree.map(close, (after.params, after.opt_state), (params, opt_state))
  close(metrics["grad_norm"][0], norm)
  assert tuple(map(float, metrics["skipped"])) == (0.0, 1.0)


def test_after_a_skipped_step_the_run_goes_on_as_if_it_had_never_been():
  """But for the random key, which is the step's."""
  run = compiled()
  skipped, _ = run(state(OPTIMIZERS["adafactor"]), batch(y=np.nan))
  went_on, _ = run(skipped, batch())
  alone, _ = run(state(OPTIMIZERS["adafactor"])._replace(step=jnp.int32(1)), batch())
  assert_same_bits(went_on, alone)
  assert int(went_on.opt_state.step) == 1 and int(went_on.step) == 2


def test_skipping_needs_no_second_copy_of_the_state():
  """Every array of the state is updated in the buffer it was in, and the step has no branch."""
  before = state(OPTIMIZERS["adafactor"])
  program = compiled().lower(before, batch()).compile()
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(before))
  memory = program.memory_analysis()
  assert memory and memory.alias_size_in_bytes >= size
  assert "conditional" not in (program.as_text() or "")


def test_prepare_sees_the_whole_batch_once():
  seen = []

  def prepare(arrays):
    seen.append(arrays["steep"].shape)
    return arrays | {"steep": 0.0 * arrays["steep"]}  # whose gradient is not finite

  run = functools.partial(
    step.train_step, loss_fn=loss_fn, tx=OPTIMIZERS["descent"], seed=0, prepare=prepare
  )
  _, metrics = jax.jit(functools.partial(run, microbatches=2))(
    state(OPTIMIZERS["descent"]), batch()
  )
  assert seen == [(ROWS, 1)]
  assert float(metrics["skipped"][0]) == 1.0


def test_norms_are_measured_only_when_asked_for():
  plain = compiled()(state(OPTIMIZERS["adafactor"]), batch())[1]
  asked = compiled(groups=norms.GROUPS)(state(OPTIMIZERS["adafactor"]), batch())[1]
  assert set(asked) - set(plain) == {f"{prefix}decoder/mlp" for prefix in norms.PREFIXES}
  np.testing.assert_allclose(asked["grad_norm/decoder/mlp"][0], asked["grad_norm"][0], rtol=1e-6)
