"""The kernels for GPUs compute what the XLA path does; here they are interpreted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_tune import errors, partition
from flan_tune.models import attention, cudnn, flash, parallel

ROWS, HEADS, WIDTH = 2, 2, 8


def segments(length, ends):
  """Rows of segments that end there; padding behind."""
  rows = [np.searchsorted(row, np.arange(length), side="right") + 1 for row in ends]
  return jnp.asarray(np.where(np.array(rows) > len(ends[0]), 0, rows), jnp.int32)


def problem(name, dtype):
  """Queries, keys, values and bias, sight and mask; lengths are no powers of 2."""
  draw = np.random.default_rng(0)
  number = lambda *shape: jnp.asarray(draw.normal(size=shape), dtype)
  t = 40
  s = 50 if name == "cross" else t
  queries_of = segments(t, [[3, 20, 37], [18, 19, 20]])
  keys_of = segments(s, [[30, 34, 48], [1, 2, 3]]) if name == "cross" else queries_of
  causal = name in ("causal", "prefix")
  prefix = jnp.zeros_like(queries_of)
  if name == "prefix":
    prefix = prefix.at[:, 3:14].set(1)
  mask = attention.segment_mask(queries_of, keys_of)
  if causal:
    mask = parallel.visible(queries_of, prefix)[:, None]
  bias = None if name == "cross" else number(1, HEADS, t, s).astype(jnp.float32)
  heads = 1 if name == "prefix" else HEADS  # one head of keys
  of_keys = (ROWS, heads, s, WIDTH)
  arrays = (number(ROWS, HEADS, t, WIDTH), number(*of_keys), number(*of_keys), bias)
  return arrays, flash.Sight(queries_of, keys_of, prefix, causal), mask


def wanted(arrays, mask):
  """A gradient of the outputs: 0 for queries that see nothing, padding which nobody reads."""
  d_out = jnp.asarray(np.random.default_rng(1).normal(size=arrays[0].shape), arrays[0].dtype)
  return jnp.where(jnp.any(mask, axis=-1)[:, 0, :, None][:, None], d_out, 0)


def attend_plainly(queries, keys, values, bias, *, mask):
  share = lambda y: jnp.broadcast_to(y, (ROWS, HEADS, *y.shape[2:]))
  return attention.attend(queries, attention.Memory(share(keys), share(values)), bias, mask)


@pytest.mark.parametrize(
  ("name", "dtype"),
  [
    ("prefix", jnp.float32),
    ("cross", jnp.float32),
    ("causal", jnp.bfloat16),
  ],
)
def test_outputs_and_gradients_are_those_of_the_plain_path(name, dtype, quick_jit):
  arrays, sight, mask = problem(name, dtype)
  d_out = wanted(arrays, mask)
  plain = functools.partial(attend_plainly, mask=mask)

  @quick_jit
  def compute():
    out, back = jax.vjp(functools.partial(flash.attend, sight=sight, block=16), *arrays)
    expected, plain_back = jax.vjp(plain, *arrays)
    seen = jnp.where(d_out != 0, out, 0), jnp.where(d_out != 0, expected, 0)
    return (seen[0], back(d_out)), (seen[1], plain_back(d_out))

  # An entry of bfloat16 that rounds the other way is off by 2**-8 of itself.
  off = 2e-2 if dtype == jnp.bfloat16 else 1e-5
  for ours, theirs in zip(*map(jax.tree.leaves, compute()), strict=True):
    ours, theirs = (np.asarray(y, np.float32) for y in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=off * np.abs(theirs).max())


def test_blocks_of_other_segments_and_after_a_causal_query_are_not_read(quick_jit):
  """Seen by what they would do: even at weight 0, values that are no numbers leave none."""
  (queries, keys, values, bias), _, _ = problem("causal", jnp.float32)
  places = jnp.arange(40)
  ids = jnp.where(places < 16, 1, 2)[None].repeat(2, axis=0)  # 1: a block of 16; 2: the rest
  prefix = jnp.zeros_like(ids)

  @quick_jit
  def compute():
    def attend(first, causal):
      bad = jnp.where((places >= first)[:, None], jnp.nan, values)
      return flash.attend(queries, keys, bad, bias, flash.Sight(ids, ids, prefix, causal), block=16)

    return attend(16, False)[:, :, :16], attend(32, True)[:, :, :32]

  assert all(np.all(np.isfinite(out)) for out in compute())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["make_model", "make_palm"])
def test_losses_and_gradients_of_networks_are_those_of_the_plain_path(
  family, request, make_batch, examples, quick_jit
):
  layers = (
    {"num_layers": 1}
    if family == "make_palm"
    else {"num_encoder_layers": 1, "num_decoder_layers": 1}
  )
  make = request.getfixturevalue(family)
  plain, params = make(**layers)
  kernel, _ = make(**layers, attention_kernel="pallas")
  batch = make_batch([examples[:2], examples[2:]], 20, 12)
  if family == "make_palm":
    batch["decoder_causal_attention"] = (batch["decoder_positions"] < 2).astype(jnp.int32)
  of = lambda network: jax.value_and_grad(lambda p: network.loss(p, batch)[0])
  (loss, grads), (expected, expected_grads) = quick_jit(lambda p: (of(kernel)(p), of(plain)(p)))(
    params
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
  jax.tree.map(close, grads, expected_grads)


@pytest.mark.slow
def test_rows_and_heads_on_several_devices_change_nothing(quick_jit):
  arrays, sight, _ = problem("self", jnp.float32)

  def gradient(*arrays):
    call = lambda q, k, v, bias: jnp.sum(jnp.sin(flash.attend(q, k, v, bias, sight, block=32)))
    return jax.grad(call, argnums=(0, 3))(*arrays)  # cut, and added up over rows

  mesh = jax.make_mesh(
    (2, 1, 2),
    ("data", "fsdp", "model"),
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[:4],
  )
  alone = quick_jit(gradient)(*arrays)
  with jax.set_mesh(mesh):
    together = quick_jit(gradient)(*arrays)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
  jax.tree.map(close, together, alone)


@pytest.mark.parametrize(
  ("name", "dtype", "width"), [("self", jnp.float32, 64), ("prefix", jnp.bfloat16, 256)]
)
def test_the_kernels_can_be_lowered_for_cuda(name, dtype, width):
  """All that can be seen of them without a GPU."""
  arrays, sight, _ = problem(name, dtype)
  arrays = jax.tree.map(
    lambda y: y if y.ndim == 4 and y.shape[0] == 1 else jnp.repeat(y, width // WIDTH, axis=-1),
    arrays,
  )
  shape = flash._Shape(32, 32, sight.causal, interpret=False)

  def both(*arrays):
    ids = (sight.queries, sight.keys, sight.prefix)
    out, back = jax.vjp(lambda q, k, v, bias: flash._attend(shape, q, k, v, bias, *ids), *arrays)
    return back(out)

  lowered = jax.jit(both).trace(*arrays).lower(lowering_platforms=("cuda",))
  assert lowered.as_text().count("triton") >= 3


def test_cudnn_is_refused_with_the_reason_where_it_cannot_be():
  (queries, keys, values, bias), _, mask = problem("self", jnp.bfloat16)
  with pytest.raises(errors.UserError, match="ATTENTION_KERNEL = 'cudnn'.* a cpu"):
    cudnn.attend(queries, keys, values, bias, mask)


@pytest.mark.parametrize("name", ["self", "prefix"])  # heads of keys: as of queries, and one
def test_cudnn_is_asked_by_each_device_for_what_the_plain_path_computes(
  name, monkeypatch, quick_jit
):
  """JAX's own reference takes the place of cuDNN, with cuDNN's demand that nothing be cut."""
  arrays, _, mask = problem(name, jnp.bfloat16)
  plain = jax.nn.dot_product_attention
  asked = []

  def stand_in(*given, implementation, **settings):
    asked.append((implementation, given[0].shape))
    return plain(*given, implementation="xla", **settings)

  @quick_jit
  def both(*arrays):
    calls = (functools.partial(call, mask=mask) for call in (cudnn.attend, attend_plainly))
    return [jax.vjp(call, *arrays)[1](wanted(arrays, mask)) for call in calls]

  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
  with jax.set_mesh(partition.make_mesh("data=2,model=2", jax.devices()[:4])):
    ours, expected = both(*arrays)
  assert asked == [("cudnn", (ROWS // 2, 40, HEADS // 2, WIDTH))]
  for one, other in zip(ours, expected, strict=True):
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    np.testing.assert_allclose(one, other, rtol=0, atol=3e-2 * np.abs(other).max())
