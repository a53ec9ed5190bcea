"""MANIFEST.json: the size and SHA-256 of every file of a checkpoint, and what arrays it holds.

It is the last file written, so a folder without it is an unfinished save.
"""

import concurrent.futures
import errno
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

FILE_NAME = "MANIFEST.json"
FORMAT = 1
_OWN_SHA256 = "sha256"  # of all else that the manifest says


class FileEntry(NamedTuple):
  """Length and SHA-256 (hexadecimal) of one file."""

  num_bytes: int
  sha256: str


class ArrayEntry(NamedTuple):
  """Shape and dtype name of one array."""

  shape: tuple[int, ...]
  dtype: str


class Manifest(NamedTuple):
  """Files by path inside the folder ("/" between parts), arrays by name, both in order."""

  files: dict[str, FileEntry]
  arrays: dict[str, ArrayEntry]


class Problem(NamedTuple):
  """What is wrong with one file of a checkpoint folder."""

  folder: pathlib.Path
  file: str
  what: str
  fatal: bool = True  # whether the checkpoint must not be used

  def __str__(self) -> str:
    return f"{self.folder}: {self.file}: {self.what}"


class Verified(NamedTuple):
  """A manifest, None when the checkpoint must not be used, and every problem found."""

  manifest: Manifest | None
  problems: list[Problem]


def write(
  folder: pathlib.Path,
  *,
  arrays: Mapping[str, ArrayEntry],
  known: Mapping[str, FileEntry] | None = None,
) -> None:
  """Lists every file under `folder` in its MANIFEST.json and brings all of it to the disk.

  Args:
    arrays: What the files hold.
    known: Files that somebody else has brought to the disk, from `entries`: they need not be read.

  Raises:
    OSError: A known file is not there, or has another length.
  """
  files = dict(known or {})
  for name, entry in files.items():
    if (size := (folder / name).stat().st_size) != entry.num_bytes:
      raise OSError(errno.EIO, f"{name} has {size} bytes here and had {entry.num_bytes}", name)
  rest = [name for name in _files(folder) if name not in files]
  files |= _entries(folder, rest)
  document = {
    "format": FORMAT,
    "files": {
      n: {"bytes": one.num_bytes, "sha256": one.sha256} for n, one in sorted(files.items())
    },
    "arrays": {name: {"shape": a.shape, "dtype": a.dtype} for name, a in arrays.items()},
  }
  document[_OWN_SHA256] = _sha256_of_document(document)
  (folder / FILE_NAME).write_text(json.dumps(document, indent=1), encoding="utf-8")
  sync(folder / FILE_NAME)
  _sync_folders(folder)


def entries(folder: pathlib.Path, *, under: pathlib.Path) -> dict[str, FileEntry]:
  """Of the files in `folder` that are under another folder in it, brought to the disk."""
  if not under.is_dir():
    return {}
  prefix = under.relative_to(folder).as_posix() + "/"
  found = _entries(folder, [prefix + name for name in _files(under)])
  _sync_folders(under)
  return found


def _files(folder: pathlib.Path) -> list[str]:
  return sorted(name for name, entry in _walk(folder) if entry.is_file(follow_symlinks=False))


def _entries(folder: pathlib.Path, names: list[str]) -> dict[str, FileEntry]:
  for name in names:
    sync(folder / name)
  digests = _sha256_of([folder / name for name in names])
  return {
    name: FileEntry((folder / name).stat().st_size, digest)
    for name, digest in zip(names, digests, strict=True)
  }


def _sync_folders(folder: pathlib.Path) -> None:
  inner = [folder / name for name, entry in _walk(folder) if entry.is_dir(follow_symlinks=False)]
  for path in (*reversed(inner), folder):
    sync(path)


def verify(folder: pathlib.Path, *, hashes: bool) -> Verified:
  """Compares `folder` with its manifest: names and sizes, and the contents when `hashes`.

  Nothing outside the folder is opened: links and names that lead out of it are problems.
  """
  try:
    manifest = _read(folder)
  except FileNotFoundError:
    what = "missing, so the save was not finished"
    return Verified(None, [Problem(folder, FILE_NAME, what)])
  except (OSError, ValueError, RecursionError) as error:
    return Verified(None, [Problem(folder, FILE_NAME, f"not readable: {error}")])
  try:
    problems = list(_differences(folder, manifest))
  except OSError as error:
    problems = [_unreadable(folder, error)]
  if hashes and not any(problem.fatal for problem in problems):
    problems += changed(folder, manifest, manifest.files)
  usable = not any(problem.fatal for problem in problems)
  return Verified(manifest if usable else None, problems)


def sync(path: pathlib.Path) -> None:
  """Waits until a file, or a folder's list of names, is on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _read(folder: pathlib.Path) -> Manifest:
  path = folder / FILE_NAME
  if folder.is_symlink() or path.is_symlink():
    raise ValueError("a symbolic link, which could lead anywhere")
  document = json.loads(path.read_text(encoding="utf-8"))
  if not isinstance(document, dict) or document.get("format") != FORMAT:
    found = document.get("format") if isinstance(document, dict) else type(document).__name__
    raise ValueError(f"format {found!r} instead of {FORMAT}")
  own = document.pop(_OWN_SHA256, None)  # those of earlier versions have none
  if own not in (None, _sha256_of_document(document)):
    raise ValueError("its contents changed (SHA-256 differs from its own)")
  try:
    files = {
      _inside(name): FileEntry(int(entry["bytes"]), str(entry["sha256"]))
      for name, entry in document["files"].items()
    }
    arrays = {
      str(name): ArrayEntry(tuple(int(n) for n in entry["shape"]), str(entry["dtype"]))
      for name, entry in document["arrays"].items()
    }
  except (KeyError, TypeError, AttributeError, OverflowError) as error:
    raise ValueError(f"not a manifest ({type(error).__name__}: {error})") from error
  return Manifest(files, arrays)


def _sha256_of_document(document: Any) -> str:
  return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _inside(name: str) -> str:
  parts = name.split("/")
  if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
    raise ValueError(f"the file name {name!r} could lead out of the checkpoint's folder")
  return name


def _walk(folder: pathlib.Path, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
  """(path inside the folder, entry) of everything below it, parents first, no link followed."""
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda e: e.name):
      name = prefix + entry.name
      yield name, entry
      if entry.is_dir(follow_symlinks=False):
        yield from _walk(pathlib.Path(entry.path), name + "/")


def _differences(folder: pathlib.Path, manifest: Manifest) -> Iterator[Problem]:
  found = set()
  for name, entry in _walk(folder):
    if entry.is_dir(follow_symlinks=False) or name == FILE_NAME:
      continue
    found.add(name)
    if not entry.is_file(follow_symlinks=False):
      yield Problem(folder, name, "a symbolic link or special file, which is refused")
    elif name not in manifest.files:
      # Orbax decides by itself which files of its folder to read; elsewhere a stray file, such as
      # a desktop's folder settings, is only worth a remark.
      inside_state = name.startswith("state/")
      yield Problem(folder, name, "not listed in the manifest", fatal=inside_state)
    else:
      size, expected = entry.stat(follow_symlinks=False).st_size, manifest.files[name].num_bytes
      if size != expected:
        yield Problem(folder, name, f"{size} bytes instead of {expected}")
  for name in manifest.files:
    if name not in found:
      yield Problem(folder, name, "missing")


def changed(folder: pathlib.Path, manifest: Manifest, names: Iterable[str]) -> list[Problem]:
  """The files, of those named, whose contents are not what they were when they were saved."""
  names = list(names)
  try:
    digests = _sha256_of([folder / name for name in names])
  except OSError as error:
    return [_unreadable(folder, error)]
  return [
    Problem(folder, name, "its contents changed (SHA-256 differs from the manifest)")
    for name, digest in zip(names, digests, strict=True)
    if digest != manifest.files[name].sha256
  ]


def _unreadable(folder: pathlib.Path, error: OSError) -> Problem:
  return Problem(folder, str(error.filename or FILE_NAME), f"not readable: {error.strerror}")


def _sha256_of(paths: list[pathlib.Path]) -> list[str]:
  def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()

  # hashlib releases the interpreter's lock, so threads hash at the speed of as many cores.
  with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
    return list(pool.map(digest, paths))


def write_json(path: pathlib.Path, document: Any) -> None:
  """Writes a JSON document and brings it to the disk.

  Raises:
    ValueError: `document` holds NaN or infinity, or what JSON has no form for.
  """
  text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
  path.write_text(text + "\n", encoding="utf-8")
  sync(path)
