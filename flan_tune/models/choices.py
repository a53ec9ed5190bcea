"""What the configurations of all families choose alike."""

import dataclasses

from flan_tune import errors
from flan_tune.models import layers, lora
from flan_tune.models.stack import REMAT_POLICIES

ATTENTION_KERNELS = ("xla", "cudnn", "pallas")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
  """How a network is trained and held, whatever its family and size."""

  dropout_rate: float = 0.0
  dtype: str = "float32"  # of activations
  param_dtype: str = "float32"  # of parameters; bfloat16 is for inference
  scan_layers: bool = False
  remat: str = "none"  # or dots, full: what layers compute again for the gradient
  attention_kernel: str = "xla"  # or cudnn, pallas, on GPUs
  shard_length: bool = False  # cut activations between layers along length, too, over `model`
  lora_rank: int = 0  # of the adapters; 0 for none
  lora_pattern: str = r".*attention/(query|value)"  # whole paths of the layers that have them
  lora_alpha: float = 16.0  # adapters are scaled by alpha / rank

  def __post_init__(self):
    where = type(self).__name__
    errors.one_of(self.remat, REMAT_POLICIES, f"{where}.remat")
    errors.one_of(self.attention_kernel, ATTENTION_KERNELS, f"{where}.attention_kernel")
    check_dtype(self.dtype, f"{where}.dtype")
    check_dtype(self.param_dtype, f"{where}.param_dtype")
    lora.check(rank=self.lora_rank, pattern=self.lora_pattern, alpha=self.lora_alpha, where=where)
    if not 0.0 <= self.dropout_rate < 1.0:
      raise errors.UserError(
        f"{where}.dropout_rate: {self.dropout_rate} is not at least 0 and below 1"
      )


def check_dtype(name: str, where: str) -> str:
  """Returns the name of a floating point type if networks can be run in it.

  Raises:
    UserError: It is none of `layers.DTYPES`; of float16 it says why.
  """
  if str(name).lower() in ("float16", "fp16", "half", "f2"):
    raise errors.UserError(
      f"{where}: {name!r} ends at 65504, which activations of these networks exceed, so that losses"
      " become infinite or NaN; use 'bfloat16', which is as small and as fast, or 'float32'"
    )
  return errors.one_of(name, layers.DTYPES, where)
