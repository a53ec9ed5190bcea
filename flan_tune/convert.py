"""From one checkpoint format to another, tensor by tensor, with a proof that nothing changed."""

import contextlib
import dataclasses
import hashlib
import math
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flan_tune import converters, errors, pretrained, whole
from flan_tune.checkpoint import huggingface, manifest, native, stores, t5x
from flan_tune.models import choices, registry

FORMATS = ("flan_tune", "huggingface", "t5x")
REPORT = "conversion.json"
# Models up to this size are probed without being asked to: two gigabytes are not always free.
PROBED_BYTES = 2**30

_MEMORY_FACTOR = 1.5  # of the parameters' bytes, for the network that computes with them
_SPACE_FACTOR = 1.1
_PROBE_SEED, _PROBE_ROWS, _PROBE_LENGTHS = 0, 2, {"inputs": 16, "targets": 8}

Entries = Mapping[str, manifest.ArrayEntry]


class Row(NamedTuple):
  """One array on both sides.

  Attributes:
    name: Canonical; of the optimiser's state with "optimizer/" in front.
    source, result: Shape and dtype.
    source_sha256, sha256: Of the canonical array's bytes, as it was and as it is read back.
  """

  name: str
  source: manifest.ArrayEntry
  result: manifest.ArrayEntry
  source_sha256: str
  sha256: str

  @property
  def verdict(self) -> str:
    """Whether the bytes are the same; where they are not, the type alone changed."""
    return "equal" if self.sha256 == self.source_sha256 else "changed (dtype)"


class Probe(NamedTuple):
  """Both folders' logits on the same tokens.

  Attributes:
    difference: The largest absolute one; None when it was not measured.
    scale: The largest absolute logit of the source.
    skipped: Why it was not measured.
  """

  difference: float | None = None
  scale: float | None = None
  skipped: str = ""


class Report(NamedTuple):
  """What was converted, and how much of it is the same."""

  source: pathlib.Path
  source_format: str
  result: pathlib.Path
  result_format: str
  architecture: str
  config: Mapping[str, Any]
  step: int | None
  notes: tuple[str, ...]
  rows: tuple[Row, ...]
  parameters: int
  probe: Probe

  def document(self) -> dict[str, Any]:
    """As conversion.json has it."""
    return {
      "source": {"path": str(self.source), "format": self.source_format},
      "result": {"format": self.result_format},
      "architecture": self.architecture,
      "config": dict(self.config),
      "step": self.step,
      "parameters": self.parameters,
      "notes": list(self.notes),
      "probe": self.probe._asdict(),
      "arrays": {
        row.name: {
          "source": {**row.source._asdict(), "sha256": row.source_sha256},
          "result": {**row.result._asdict(), "sha256": row.sha256},
          "verdict": row.verdict,
        }
        for row in self.rows
      },
    }


def convert(
  source: str | os.PathLike[str],
  destination: str | os.PathLike[str],
  *,
  to: str,
  dtype: str | None = None,
  vocabulary: pretrained.Vocabulary | None = None,
  scan: bool = False,
  step: int | None = None,
  probe: bool | None = None,
) -> Report:
  """Writes `destination`; memory is needed for the largest tensor, and for the probe if there is.

  Args:
    source: A checkpoint of any format, as `pretrained.load` takes it.
    destination: A new folder.
    to: One of `FORMATS`.
    dtype: Of the parameters, "float32" or "bfloat16"; as they are by default.
    vocabulary: A SentencePiece model, where the source holds none.
    scan: Stack the layers; not in Hugging Face's format, which has no such form.
    step: Which checkpoint of several.
    probe: Whether to compare logits; None: for small models.

  Raises:
    UserError: The source cannot be read, the destination exists or cannot be written, or what was
      written differs.  Nothing is left behind.
  """
  destination = pathlib.Path(destination).absolute()
  _check_arguments(destination, to, dtype, scan)
  store = whole.Merged.of(whole.open_store(source, step=step))
  _check_apart(store, destination)
  pretrained.configuration(store)  # refuses missing tensors and wrong shapes before any is read
  target = _Target(to, dtype, scan, pretrained.open_vocabulary(store, vocabulary))
  with _working_folder(destination) as work:
    _check_space(work, store)
    result = work / destination.name
    hashed = _Hashed(store, dtype)
    notes = (*store.description.notes, *_write(result, hashed, target))
    written = _open(result, to)
    rows = tuple(_compare(hashed, written))
    compared = _probe(store, written, wanted=probe)
    report = _report(store, written, rows, compared, notes)._replace(result=destination)
    manifest.write_json(result / REPORT, report.document())
    if destination.exists():
      destination.rmdir()  # empty, as was seen above
    result.rename(destination)
  return report


def _check_arguments(destination: pathlib.Path, to: str, dtype: str | None, scan: bool) -> None:
  errors.one_of(to, FORMATS, "--to")
  if dtype is not None:
    choices.check_dtype(dtype, "--dtype")
  if scan and to == "huggingface":
    raise errors.UserError("--scan: Hugging Face's folders have no stacked layers")
  if os.path.lexists(destination) and not (
    destination.is_dir() and not destination.is_symlink() and not any(destination.iterdir())
  ):
    raise errors.UserError(f"{destination}: exists already and is not empty; name a new folder")


def _check_apart(store: stores.Store, destination: pathlib.Path) -> None:
  """Raises UserError where the result would become a part of the checkpoint that is read."""
  if destination.resolve().is_relative_to(store.path.resolve()):
    raise errors.UserError(
      f"{destination}: is inside {store.path}, which is converted; name a folder outside it"
    )


def _report(
  store: stores.Store,
  written: stores.Store,
  rows: tuple[Row, ...],
  probe: Probe,
  notes: tuple[str, ...],
) -> Report:
  return Report(
    source=store.path,
    source_format=store.format,
    result=written.path,
    result_format=written.format,
    architecture=store.description.architecture,
    config=written.description.config,
    step=store.step,
    notes=notes,
    rows=rows,
    parameters=sum(math.prod(entry.shape) for entry in store.tensors.values()),
    probe=probe,
  )


class _Target(NamedTuple):
  to: str
  dtype: str | None
  scan: bool
  vocabulary: Any


class _Hashed:
  """Reads from a store, and remembers the SHA-256 of what it read and of what should be stored."""

  def __init__(self, store: stores.Store, dtype: str | None):
    self.store = store
    self.dtype = dtype
    self._sums: dict[str, tuple[str, str]] = {}

  def read(self, name: str) -> np.ndarray:
    array = self.store.read(name)
    if name not in self._sums:
      found = _sha256(array)
      same = self.dtype in (None, array.dtype.name)
      cast = found if same else _sha256(array.astype(jax.numpy.dtype(str(self.dtype))))
      self._sums[name] = (found, cast)
    return array

  def read_optimizer(self, name: str) -> np.ndarray:
    array = self.store.read_optimizer(name)
    found = _sha256(array)
    self._sums[_OPTIMIZER + name] = (found, found)
    return array

  def sums(self, name: str) -> tuple[str, str]:
    """Of a parameter, or of an array of the optimiser's state with "optimizer/" in front."""
    if name not in self._sums:  # the writer had no need of it: it is equal to another
      if name.startswith(_OPTIMIZER):
        self.read_optimizer(name.removeprefix(_OPTIMIZER))
      else:
        self.read(name)
    return self._sums[name]


_OPTIMIZER = "optimizer/"


def _sha256(array: np.ndarray) -> str:
  whole = np.ascontiguousarray(array).reshape(-1)
  return hashlib.sha256(whole.view(np.uint8).data).hexdigest()


def _write(folder: pathlib.Path, hashed: _Hashed, target: _Target) -> tuple[str, ...]:
  store = hashed.store
  config = {**store.description.config, "scan_layers": target.scan}
  settings = {
    "description": store.description._replace(config=config),
    "optimizer": (store.optimizer, hashed.read_optimizer) if store.optimizer else None,
    "step": store.step,
    "vocabulary": target.vocabulary,
    "dtype": target.dtype,
  }
  if target.to == "huggingface":
    return huggingface.write(folder, store.tensors, hashed.read, **settings)
  if target.to == "flan_tune":
    native.write(folder, store.tensors, hashed.read, **settings)
    if target.vocabulary is None:
      return ("there is no vocabulary: whatever uses the result must name one",)
    return ()
  inner = folder / f"checkpoint_{store.step or 0}"
  t5x.write(inner, store.tensors, hashed.read, **settings, scan_layers=target.scan)
  notes = ()
  if not store.optimizer:
    notes = ("the optimiser's state in the result is Adafactor's first, all zeros: T5X wants one",)
  if target.vocabulary is not None and target.vocabulary.escape:
    notes += (
      "texts were spelled with the vocabulary's escape, of which T5X's format knows nothing",
    )
  return notes


def _open(folder: pathlib.Path, to: str) -> stores.Store:
  if to == "flan_tune":
    return native.open_store(folder, hashes=False)  # made a moment ago; each tensor is read again
  return t5x.open_store(folder) if to == "t5x" else huggingface.open_store(folder)


def _compare(hashed: _Hashed, written: stores.Store) -> Iterator[Row]:
  """A row for every array, in the order in which the result reads them.

  Raises:
    UserError: The result has another array than it should.
  """
  store = hashed.store
  if other := set(store.tensors) ^ set(written.tensors):
    raise _differs(written, min(other), "is on one side only")
  for name, entry in written.tensors.items():
    expected = store.tensors[name]._replace(dtype=hashed.dtype or store.tensors[name].dtype)
    array = written.read(name)
    yield _row(hashed, written, name, (store.tensors[name], expected, entry), array)
  for name in written.optimizer if store.optimizer else ():
    entry, place = written.optimizer[name], _OPTIMIZER + name
    # An array that Adafactor does not use need not be in the source.
    if name in store.optimizer:
      expected = store.optimizer[name]
      array = written.read_optimizer(name)
      yield _row(hashed, written, place, (expected, expected, entry), array)


def _row(
  hashed: _Hashed,
  written: stores.Store,
  name: str,
  entries: tuple[manifest.ArrayEntry, manifest.ArrayEntry, manifest.ArrayEntry],
  array: np.ndarray,
) -> Row:
  source, expected, result = entries
  before, wanted = hashed.sums(name)
  after = _sha256(array)
  if (tuple(result.shape), result.dtype) != (tuple(expected.shape), expected.dtype):
    shown = f"{result.dtype}{list(result.shape)}, not {expected.dtype}{list(expected.shape)}"
    raise _differs(written, name, f"is {shown}")
  if after != wanted:
    raise _differs(written, name, f"has the SHA-256 {after[:12]}, not {wanted[:12]}")
  return Row(name, source, result, before, after)


def _differs(written: stores.Store, name: str, what: str) -> errors.UserError:
  return errors.UserError(
    f"{name} {what} when it is read back as {written.format}; nothing was kept: if the disk is"
    " sound, this is an error of flan_tune, to be reported"
  )


def _probe(source: stores.Store, written: stores.Store, *, wanted: bool | None) -> Probe:
  """Logits of both on the same tokens, drawn once from a fixed seed."""
  if wanted is False:
    return Probe(skipped="not wanted")
  size = max(_num_bytes(source), _num_bytes(written))
  if wanted is None and size > PROBED_BYTES:
    shown = f"{size / 1e9:.1f} GB of parameters; --probe compares logits all the same"
    return Probe(skipped=shown)
  free = _available_bytes()
  if free is not None and size * _MEMORY_FACTOR > free:
    needed = f"{size * _MEMORY_FACTOR / 1e9:.1f} GB of memory are needed"
    return Probe(skipped=f"{needed}, and {free / 1e9:.1f} GB are free")
  before = _logits(source)
  difference, scale = np.abs(_logits(written) - before).max(), np.abs(before).max()
  if not np.isfinite([difference, scale]).all():
    return Probe(skipped="they are not finite: some of the parameters are not, or are very large")
  return Probe(float(difference), float(scale))


def _logits(store: stores.Store) -> np.ndarray:
  config = pretrained.configuration(store)
  network = registry.build(dataclasses.replace(config, scan_layers=False, dtype="float32"))
  rng = np.random.default_rng(_PROBE_SEED)
  draw = lambda side: rng.integers(2, config.vocab_size, _PROBE_LENGTHS[side] - 1).tolist() + [1]
  examples = [(draw("inputs"), draw("targets")) for _ in range(_PROBE_ROWS)]
  batch = converters.CONVERTERS[network.features].unpacked(examples, _PROBE_LENGTHS)
  params = pretrained.read(store, network.shapes)
  return np.asarray(jax.jit(network.logits)(params, dict(batch)))


def _num_bytes(store: stores.Store) -> int:
  entries = (*store.tensors.values(), *store.optimizer.values())
  return sum(math.prod(e.shape) * (2 if e.dtype == "bfloat16" else 4) for e in entries)


def _available_bytes() -> int | None:
  """Memory that can still be had; None where the system does not say."""
  with contextlib.suppress(OSError, ValueError, StopIteration):
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(one for one in lines if one.startswith("MemAvailable:")).split()[1])
  with contextlib.suppress(OSError, ValueError, AttributeError):
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
  return None


def _check_space(work: pathlib.Path, store: stores.Store) -> None:
  needed, free = _num_bytes(store) * _SPACE_FACTOR, shutil.disk_usage(work).free
  if needed > free:
    raise errors.UserError(
      f"{work.parent}: the result needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    )


@contextlib.contextmanager
def _working_folder(destination: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder beside the destination for everything unfinished; it is gone in the end."""
  work = destination.parent / f".{destination.name}.tmp-{secrets.token_hex(4)}"
  try:
    work.mkdir(parents=True)
    yield work
  except OSError as error:
    raise errors.UserError(
      f"{destination}: cannot be written: {error.strerror or error}; nothing of it was kept"
    ) from error
  finally:
    shutil.rmtree(work, ignore_errors=True)
