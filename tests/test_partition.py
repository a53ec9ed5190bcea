"""Meshes from one line, placement from tables, sentences for what does not fit."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from flan_tune import errors, partition

AXES = ((r".*/kernel", ("embed", "mlp")), (r".*/scale", ("embed",)))


def _sizes(text: str, count: int = 8) -> tuple[int, ...]:
  return tuple(partition.make_mesh(text, jax.devices()[:count]).shape.values())


@pytest.mark.parametrize(
  ("text", "sizes"),
  [
    ("data=-1", (8, 1, 1)),
    ("data=2,fsdp=2,model=2", (2, 2, 2)),
    (" fsdp = 4 , model=-1", (1, 4, 2)),
    ("model=8", (1, 1, 8)),
  ],
)
def test_a_mesh_is_one_line(text, sizes):
  assert _sizes(text) == sizes


def test_one_device_is_the_mesh_of_ones():
  assert _sizes("data=-1", 1) == _sizes("", 1) == (1, 1, 1)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("data=3", "must multiply to the 8 devices"),
    ("data=-1,fsdp=-1", "must multiply to the 8 devices"),
    ("data=-1,fsdp=3", "must multiply to the 8 devices"),
    ("date=8", "'date' unknown.*did you mean 'data'"),
    ("data=two", "size 'two' of data"),
    ("data", "size '' of data"),
  ],
)
def test_a_wrong_mesh_is_one_sentence(text, message):
  with pytest.raises(errors.UserError, match=message):
    partition.make_mesh(text, jax.devices())


def test_parameters_and_their_optimiser_state_lie_alike():
  mesh = partition.make_mesh("data=2,fsdp=2,model=2", jax.devices())
  params = {"mlp": {"kernel": jnp.zeros((4, 6))}, "norm": {"scale": jnp.zeros(5)}}
  placed = partition.shardings(params, AXES, mesh)
  assert placed["mlp"]["kernel"].spec == PartitionSpec("fsdp", "model")
  assert placed["norm"]["scale"].spec == PartitionSpec(None)  # 5 does not divide


def test_a_parameter_without_a_place_is_an_error():
  with pytest.raises(ValueError, match="no placement for parameter mlp/bias"):
    partition.logical_axes("mlp/bias", AXES)


def test_a_batch_must_divide_over_the_mesh():
  mesh = partition.make_mesh("data=2,fsdp=4", jax.devices())
  partition.check_batch(16, mesh)
  with pytest.raises(errors.UserError, match="multiple of 8"):
    partition.check_batch(12, mesh)
