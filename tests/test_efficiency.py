"""Utilisation, tokens a second and memory, as they are logged."""

import types

import jax
import pytest

from flan_tune import chips, efficiency, flops
from flan_tune.models import palm, t5

SIZES = {"vocab_size": 100, "emb_dim": 8, "num_heads": 2, "head_dim": 4, "mlp_dim": 16}
T5 = t5.T5Config(**SIZES, num_encoder_layers=2, num_decoder_layers=3)
PALM = palm.PaLMConfig(**SIZES, num_layers=2)
PEAK = efficiency.Peak(1e9, "stated")
SECONDS = {"data": 1.0, "step": 3.0, "eval": 50.0, "save": 60.0, "compile": 70.0}


def interval(work, slots, *, steps=2, rows=8):
  return types.SimpleNamespace(
    steps=steps, rows=rows, work=work, slots=slots, seconds=SECONDS, training_seconds=4.0
  )


WORK = flops.Work(300, 100, 9_000, 3_000, 5_000)
SLOTS = flops.slots("encoder_decoder", 8, {"inputs": 64, "targets": 16})
LM_WORK = flops.Work(targets=400, decoder_pairs=7_000)
LM_SLOTS = flops.slots("decoder_only", 8, {"inputs": 64, "targets": 16})


@pytest.mark.parametrize(
  ("config", "work", "slots"), [(T5, WORK, SLOTS), (PALM, LM_WORK, LM_SLOTS)], ids=["t5", "palm"]
)
def test_utilisation_is_operations_over_those_possible_in_the_time_of_training(config, work, slots):
  record = efficiency.Meter(config, batch_size=4, peak=PEAK).record(interval(work, slots))
  assert record["utilisation"] == pytest.approx(flops.training(config, slots) / 4e9)
  assert record["useful_utilisation"] == pytest.approx(flops.training(config, work) / 4e9)
  assert record["useful_utilisation"] < record["utilisation"]
  assert record["tokens_per_second"] == 100


def test_the_record_has_its_names():
  record = efficiency.Meter(T5, batch_size=4, peak=PEAK).record(interval(WORK, SLOTS))
  assert {key: record[f"seconds_{key}"] for key in SECONDS} == SECONDS
  assert 0 < record["device_memory_bytes"] <= record["device_memory_peak_bytes"]
  assert set(record) == {
    *(f"seconds_{key}" for key in SECONDS),
    *("utilisation", "useful_utilisation", "tokens_per_second"),
    *("device_memory_bytes", "device_memory_peak_bytes"),
  }


def test_a_process_that_has_half_of_the_rows_tells_of_the_whole_batch():
  """Peak and batch are of all processes; what was recorded is of one."""
  whole = efficiency.Meter(T5, batch_size=4, peak=PEAK).record(interval(WORK, SLOTS))
  half = interval(flops.Work(*(w / 2 for w in WORK)), flops.Work(*(s / 2 for s in SLOTS)), rows=4)
  told = efficiency.Meter(T5, batch_size=4, peak=PEAK).record(half)
  for name in ("utilisation", "useful_utilisation", "tokens_per_second"):
    assert told[name] == pytest.approx(whole[name])


def test_frozen_parameters_need_fewer_operations():
  all_learn, few = (
    efficiency.Meter(T5, batch_size=4, peak=PEAK, trained_share=share).record(interval(WORK, SLOTS))
    for share in (1.0, 0.01)
  )
  assert 0.67 < few["utilisation"] / all_learn["utilisation"] < 0.9


def test_without_a_peak_there_is_no_utilisation():
  record = efficiency.Meter(T5, batch_size=4, peak=None).record(interval(WORK, SLOTS))
  assert "utilisation" not in record and "useful_utilisation" not in record
  assert record["tokens_per_second"] == 100


def devices(kind: str, platform: str, processes=(0, 0, 1, 1)):
  return [
    types.SimpleNamespace(device_kind=kind, platform=platform, process_index=index)
    for index in processes
  ]


def test_a_known_chip_has_the_peak_of_its_data_sheet():
  found = efficiency.peak(None, devices("TPU v4", "tpu"))
  assert found and found.flops == 4 * chips.find("tpu_v4").flops
  assert "tpu_v4" in found.source and "bfloat16" in found.source


def test_a_stated_peak_is_of_one_device():
  found = efficiency.peak(2e12, devices("TPU v4", "tpu"))
  assert found and found.flops == 8e12 and "PEAK_FLOPS" in found.source


def test_an_unknown_accelerator_has_no_peak():
  assert efficiency.peak(None, devices("Abacus 3000", "gpu")) is None


def test_devices_of_one_cpu_share_its_peak():
  """Eight of them are no faster than one; two hosts are."""
  one = efficiency.peak(None, jax.devices())
  assert one and one.flops == efficiency.measured() and "measured" in one.source
  two = efficiency.peak(None, devices("cpu", "cpu"))
  assert two and two.flops == 2 * one.flops
  # Between a watch and the fastest CPU there is.
  assert 1e8 < one.flops < 1e14


def test_memory_is_of_the_fullest_device():
  def device(used, peak):
    return types.SimpleNamespace(
      memory_stats=lambda: {"bytes_in_use": used, "peak_bytes_in_use": peak}
    )

  assert efficiency.memory_of([device(5, 20), device(7, 9)]) == (7, 20)
