# pyright: reportMissingImports=false
"""Who takes part in `bench_train`: our training and Hugging Face's, with one interface."""

import argparse
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

TASKS = ("aqua", "creak", "ecqa", "gsm8k", "qasc", "sensemaking", "strategyqa")
LENGTHS = {"inputs": 512, "targets": 128}
ROWS = 8
INPUTS, TARGETS = "encoder_input_tokens", "decoder_target_tokens"
DROPOUT, LEARNING_RATE = 0.1, 1e-3
# T5 1.1: emb_dim, num_heads, head_dim, mlp_dim, num_encoder_layers = num_decoder_layers.
SIZES = {
  "tiny": (64, 4, 16, 128, 2),
  "small": (512, 6, 64, 1024, 8),
  "base": (768, 12, 64, 2048, 12),
  "large": (1024, 16, 64, 2816, 24),
}


def recipe(vocabulary: str | None) -> Any:
  """The examples: half zero-shot, half few-shot, of the chain-of-thought files."""
  from flan_tune.data import mixing, tokens
  from flan_tune.vocab import Vocabulary

  found = os.environ.get("FLAN_TUNE_DATA")
  if not found:
    raise SystemExit("bench_train: set FLAN_TUNE_DATA to the folder of FLAN's rows")
  path = vocabulary or pathlib.Path(found) / "t5-vocab/cc_all.32000/sentencepiece.model"
  chosen = [
    one
    for one in mixing.plan("flan_cot").components
    if one.task.partition("_")[2] in TASKS and not one.inverted
  ]
  totals = {
    few: sum(one.rate for one in chosen if one.setting.startswith(few)) for few in ("zs", "fs")
  }
  halved = [one._replace(rate=0.5 * one.rate / totals[one.setting[:2]]) for one in chosen]
  lengths = (LENGTHS["inputs"], LENGTHS["targets"])
  return tokens.Recipe(tuple(halved), Vocabulary(path), lengths, seed=0)


def write_examples(path: pathlib.Path, vocabulary: str | None, *, count: int) -> None:
  """The first `count` usable examples of the stream, as two [count, length] arrays."""
  from flan_tune.data import feed

  one_by_one = feed.Feed(recipe(vocabulary), batch_size=count, pack=False)
  np.savez(path, **next(one_by_one).arrays)  # pyright: ignore[reportArgumentType]


def config_of(arguments: argparse.Namespace) -> Any:
  """The network's sizes."""
  from flan_tune.models.transformer import T5Config

  width, heads, head, hidden, layers = SIZES[arguments.size]
  return T5Config(
    emb_dim=width,
    num_heads=heads,
    head_dim=head,
    mlp_dim=hidden,
    num_encoder_layers=layers,
    num_decoder_layers=layers,
    dropout_rate=DROPOUT,
    dtype=arguments.dtype,
    attention_kernel=arguments.attention,
  )


class Ours:
  """flan_tune's training, as its loop does it."""

  def __init__(self, arguments: argparse.Namespace):
    from flan_tune.train import allocator

    allocator.keep_pages()
    import functools

    import jax

    from flan_tune import optim
    from flan_tune.data import feed
    from flan_tune.models import registry
    from flan_tune.train import step

    self.config, self._jax = config_of(arguments), jax
    network = registry.build(self.config)
    tx = optim.adafactor(LEARNING_RATE, axes=network.axes)
    params = jax.jit(network.init)(jax.random.key(0))
    self._state = jax.jit(functools.partial(step.create, tx=tx))(params)
    loss = functools.partial(network.loss, chunk=arguments.chunk)
    train = functools.partial(step.train_step, loss_fn=loss, tx=tx, seed=0, prepare=network.prepare)
    self._step = jax.jit(train, donate_argnames="state")
    packed = arguments.peer == "packed"
    self._feed = feed.Feed(recipe(arguments.vocabulary), batch_size=ROWS, pack=packed)
    self._product = self._make_product(arguments.dtype)

  def steps(self, count: int) -> list[dict[str, np.ndarray]]:
    """Trains; the batches, drawn while the step before runs."""
    used, metrics = [], None
    for _ in range(count):
      arrays = next(self._feed).arrays
      self._state, metrics = self._step(self._state, self._jax.device_put(arrays))
      used.append(arrays)
    loss = float(self._jax.block_until_ready((self._state, metrics))[1]["objective"][0])
    if not np.isfinite(loss):
      raise RuntimeError("the loss is no number: this is no measurement")
    return used

  def _make_product(self, dtype: str) -> Callable[[], None]:
    jax = self._jax
    square = jax.numpy.ones((2048, 2048), dtype)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: multiply(square, square).block_until_ready()

  def product(self) -> float:
    """Operations a second of a matrix product, best of 8."""
    self._product()
    times = []
    for _ in range(8):
      began = time.perf_counter()
      self._product()
      times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)

  def about(self) -> dict[str, Any]:
    """Device, versions and the peak of memory."""
    device = self._jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if "torch" in sys.modules:
      raise RuntimeError("torch was imported beside ours: this is no measurement")
    return {
      "software": f"jax {self._jax.__version__}",
      "device": device.device_kind,
      "memory": stats["peak_bytes_in_use"] if stats else peak(),
    }


class HuggingFace:
  """T5ForConditionalGeneration and Adafactor of transformers, in torch."""

  def __init__(self, arguments: argparse.Namespace):
    import torch
    import transformers
    from transformers.optimization import Adafactor

    self.config, self._torch = config_of(arguments), torch
    config = self.config
    made = transformers.T5Config(
      vocab_size=config.vocab_size,
      d_model=config.emb_dim,
      d_kv=config.head_dim,
      d_ff=config.mlp_dim,
      num_layers=config.num_encoder_layers,
      num_heads=config.num_heads,
      feed_forward_proj="gated-gelu",
      dropout_rate=DROPOUT,
      tie_word_embeddings=False,  # pyright: ignore[reportCallIssue]
      decoder_start_token_id=0,  # pyright: ignore[reportCallIssue]
    )
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.T5ForConditionalGeneration(made)
    # Some versions tie it whatever the configuration says.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    self._model = model.to(torch.device(self._device)).train()  # pyright: ignore
    self._optimizer = Adafactor(
      model.parameters(),
      lr=LEARNING_RATE,
      scale_parameter=True,
      relative_step=False,
      warmup_init=False,
    )
    self._autocast = arguments.dtype == "bfloat16"
    self._batches = self._read(arguments.examples)
    self._software = f"transformers {transformers.__version__}, torch {torch.__version__}"

  def _read(self, path: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(path) as file:
      inputs, targets = file[INPUTS], file[TARGETS]
    short = lambda y: y[:, : int((y > 0).sum(axis=1).max())]
    for start in range(0, len(inputs) - ROWS + 1, ROWS):
      yield {
        INPUTS: short(inputs[start : start + ROWS]),
        TARGETS: short(targets[start : start + ROWS]),
      }

  def steps(self, count: int) -> list[dict[str, np.ndarray]]:
    """Trains; the batches."""
    torch, used, loss = self._torch, [], None
    for _ in range(count):
      arrays = next(self._batches)
      ids, labels = (torch.from_numpy(y).long().to(self._device) for y in arrays.values())
      with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._autocast):
        loss = self._model(
          input_ids=ids, attention_mask=ids > 0, labels=labels.masked_fill(labels == 0, -100)
        ).loss
      loss.backward()
      self._optimizer.step()
      self._optimizer.zero_grad()
      used.append(arrays)
    if loss is None or not np.isfinite(loss.item()):  # waits for a GPU
      raise RuntimeError("the loss is no number: this is no measurement")
    return used

  def about(self) -> dict[str, Any]:
    """Device, versions and the peak of memory."""
    cuda = self._torch.cuda
    on_gpu = self._device == "cuda"
    return {
      "software": self._software,
      "device": cuda.get_device_name() if on_gpu else "cpu",
      "memory": cuda.max_memory_allocated() if on_gpu else peak(),
    }


def peak() -> int:
  """Most bytes that this process held."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
