"""What devices exchange is read from compiled programs: kinds, axes, counts and bytes."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from flan_tune import partition
from flan_tune.plan import exchanges

SIZES = {"data": 2, "fsdp": 2, "model": 2}
N = 64


def read(function, *specs):
  """The exchanges of a function of N x N float32 matrices that lie as told."""
  mesh = partition.make_mesh(",".join(f"{axis}={n}" for axis, n in SIZES.items()))
  args = [
    jax.ShapeDtypeStruct((N, N), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec)))
    for spec in specs
  ]
  with jax.set_mesh(mesh):
    text = jax.jit(function, out_shardings=PartitionSpec()).lower(*args).compile().as_text()
  assert text is not None
  return [tuple(vars(one).values()) for one in exchanges.read(text, dict(mesh.shape))]


@pytest.mark.parametrize("axis", SIZES)
def test_a_gathered_matrix_is_sent_but_for_the_slice_that_is_there(axis):
  """Each of two devices sends its half."""
  assert read(lambda x: x + 1, (axis,)) == [("all-gather", axis, 1, N * N * 4 // 2)]


@pytest.mark.parametrize(("axes", "ways"), [(("fsdp",), 2), (("data", "model"), 4)])
def test_a_sum_over_devices_goes_round_the_ring_twice(axes, ways):
  found = read(lambda x, y: x @ y, (None, axes), (axes,))
  assert found == [("all-reduce", "+".join(axes), 1, 2 * N * N * 4 * (ways - 1) // ways)]


def test_turns_of_a_loop_are_counted():
  lie = jax.lax.with_sharding_constraint

  def turn(carry, _):
    whole = lie(jnp.tanh(carry), PartitionSpec())
    return lie(jnp.cumsum(whole, axis=0), PartitionSpec("model")), None

  found = read(lambda x: jnp.sum(jax.lax.scan(turn, x, None, length=7)[0]), ("model",))
  assert ("all-gather", "model", 7, 7 * N * N * 4 // 2) in found


def test_a_sum_of_which_each_device_goes_on_with_a_slice_is_a_reduce_scatter():
  lie = jax.lax.with_sharding_constraint

  def sliced(x, y):
    whole = lie(x @ y, PartitionSpec())
    return lie(jnp.cumsum(whole, axis=1), PartitionSpec("fsdp"))

  found = read(sliced, (None, "fsdp"), ("fsdp",))
  half = N * N * 4 // 2
  assert found == [("reduce-scatter", "fsdp", 1, half), ("all-gather", "fsdp", 1, half)]


@pytest.mark.parametrize(
  ("told", "group"),
  [
    ("{{0,1},{2,3}}", [0, 1]),
    ("{}", [0, 1, 2, 3, 4, 5, 6, 7]),
    ("[4,2]<=[8]", [0, 1]),
    ("[4,2]<=[2,4]T(1,0)", [0, 4]),
    ("mesh['a'=2,'b'=4] {'a'}", [0, 4]),
    ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", [0, 4]),
    ("mesh['a'=2,'b'=4] {'b':(1)2}", None),
  ],
)
def test_groups_are_read_in_every_way_in_which_xla_writes_them(told, group):
  found = exchanges._group(f"%x = f32[] all-reduce(%y), replica_groups={told}, to_apply=%add", 8)
  assert found == group
