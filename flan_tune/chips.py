"""What accelerators can do, by published figures: for utilisation and for plans.

Figures are of one device as JAX counts them, which is half a chip on TPU v2 and v3.  Memory of TPUs
is what XLA leaves to a program, as its messages say that run out of it ("of 30.75G hbm").
"""

from typing import NamedTuple

from flan_tune import errors

_GIB = 2**30
_GB = 10**9  # GPUs are sold by this one; a little more is there


class Chip(NamedTuple):
  """One kind of device.

  Attributes:
    name: As `--chip` takes it.
    kinds: What `jax.Device.device_kind` says.
    flops: FLOP/s of dense matrix products in `dtype`, at most.
    memory: Bytes of its own memory.
    bandwidth: Bytes/s between that memory and the chip.
    interconnect: Bytes/s that it can send to its neighbours over all links together, one way; of a
      GPU to others in its machine.
    per_chip: Devices of a chip.
    dtype: What `flops` holds for: bfloat16 wherever there are units for it.
  """

  name: str
  kinds: tuple[str, ...]
  flops: float
  memory: int
  bandwidth: float
  interconnect: float
  per_chip: int = 1
  dtype: str = "bfloat16"


_ALL = (
  # v2, v3: Jouppi et al. 2020, "A domain-specific supercomputer for training deep neural networks",
  # table 3: 46 and 123 TFLOP/s, 700 and 900 GB/s, four links of 496 and 656 Gbit/s.
  Chip("tpu_v2", ("TPU v2",), 23e12, int(7.48 * _GIB), 350e9, 124e9, per_chip=2),
  Chip("tpu_v3", ("TPU v3",), 61.5e12, int(15.48 * _GIB), 450e9, 164e9, per_chip=2),
  # v4: Jouppi et al. 2023, "TPU v4: an optically reconfigurable supercomputer", table 4: six links
  # of 50 GB/s.
  Chip("tpu_v4", ("TPU v4",), 275e12, int(30.75 * _GIB), 1200e9, 300e9),
  # v5e, v5p, v6e: docs.cloud.google.com/tpu/docs/{v5e,v5p,v6e}, "System architecture"; of the
  # bidirectional 400, 1,200 and 800 GB/s between chips, half.
  Chip("tpu_v5e", ("TPU v5 lite", "TPU v5e"), 197e12, int(15.75 * _GIB), 819e9, 200e9),
  Chip("tpu_v5p", ("TPU v5p", "TPU v5"), 459e12, int(95.74 * _GIB), 2765e9, 600e9),
  Chip("tpu_v6e", ("TPU v6 lite", "TPU v6e"), 918e12, int(31.25 * _GIB), 1638e9, 400e9),
  # GPUs: NVIDIA's data sheets, without sparsity; half of the two-way NVLink figure, or of PCIe's
  # for cards, of which bridges join two at most.
  Chip("a100_40gb", ("NVIDIA A100-SXM4-40GB",), 312e12, 40 * _GB, 1555e9, 300e9),
  Chip("a100_80gb", ("NVIDIA A100-SXM4-80GB",), 312e12, 80 * _GB, 2039e9, 300e9),
  Chip("h100", ("NVIDIA H100 80GB HBM3",), 989e12, 80 * _GB, 3350e9, 450e9),
  Chip("h100_pcie", ("NVIDIA H100 PCIe",), 756e12, 80 * _GB, 2000e9, 64e9),
  Chip("h200", ("NVIDIA H200",), 989e12, 141 * _GB, 4800e9, 450e9),
  Chip("l4", ("NVIDIA L4",), 121e12, 24 * _GB, 300e9, 32e9),
  # Older than bfloat16.
  Chip("v100_16gb", ("Tesla V100-SXM2-16GB",), 125e12, 16 * _GB, 900e9, 150e9, dtype="float16"),
  Chip("v100_32gb", ("Tesla V100-SXM2-32GB",), 125e12, 32 * _GB, 900e9, 150e9, dtype="float16"),
  Chip("t4", ("Tesla T4",), 65e12, 16 * _GB, 320e9, 16e9, dtype="float16"),
)
CHIPS = {chip.name: chip for chip in _ALL}


def find(name: str) -> Chip:
  """The chip of a name.

  Raises:
    UserError: Unknown; the known ones are given.
  """
  return CHIPS[errors.one_of(name, CHIPS, "--chip")]


def of_device(kind: str) -> Chip | None:
  """The chip of a `jax.Device.device_kind`; None for a CPU and for what the table lacks.

  The whole text decides: "TPU v4 lite" is no v4, and "NVIDIA H100 80GB HBM3 MIG 1g.10gb" is a
  seventh of an H100.
  """
  return next((chip for chip in _ALL if kind in chip.kinds), None)
