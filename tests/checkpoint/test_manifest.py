"""A folder is what its manifest says, or the difference is named; nothing outside it is read."""

import json
import os

import pytest

from flan_tune.checkpoint import manifest


@pytest.fixture
def folder(tmp_path):
  """A small sealed folder."""
  path = tmp_path / "sealed"
  (path / "state" / "d").mkdir(parents=True)
  (path / "state" / "d" / "0").write_bytes(bytes(range(256)))
  (path / "data.json").write_text("{}")
  manifest.write(path, arrays={"params/w": manifest.ArrayEntry((2, 3), "bfloat16")})
  return path


def problems(folder, *, hashes=True):
  return manifest.verify(folder, hashes=hashes).problems


def edit(folder, change):
  """As somebody would who means it."""
  path = folder / manifest.FILE_NAME
  document = json.loads(path.read_text())
  del document["sha256"]
  change(document)
  path.write_text(json.dumps(document))


def test_a_sealed_folder_verifies_and_says_what_it_holds(folder):
  verified = manifest.verify(folder, hashes=True)
  assert not verified.problems
  assert verified.manifest.arrays == {"params/w": ((2, 3), "bfloat16")}
  assert list(verified.manifest.files) == ["data.json", "state/d/0"]


def test_a_truncated_file_is_named(folder):
  os.truncate(folder / "state/d/0", 100)
  (problem,) = problems(folder, hashes=False)
  assert str(problem) == f"{folder}: state/d/0: 100 bytes instead of 256"
  assert manifest.verify(folder, hashes=False).manifest is None


def test_a_flipped_bit_shows_in_the_hashes_alone(folder, flip_byte):
  flip_byte(folder / "state/d/0")
  assert not problems(folder, hashes=False)
  (problem,) = problems(folder)
  assert problem.file == "state/d/0" and "contents changed" in problem.what


def test_a_missing_file_is_named(folder):
  (folder / "data.json").unlink()
  (problem,) = problems(folder)
  assert (problem.file, problem.what, problem.fatal) == ("data.json", "missing", True)


def test_a_missing_manifest_means_an_unfinished_save(folder):
  (folder / manifest.FILE_NAME).unlink()
  (problem,) = problems(folder)
  assert problem.file == "MANIFEST.json" and "not finished" in problem.what


def test_an_extra_file_among_the_arrays_is_fatal_and_elsewhere_a_remark(folder):
  (folder / ".directory").write_text("a desktop's settings")
  assert [p.fatal for p in problems(folder)] == [False]
  assert manifest.verify(folder, hashes=True).manifest is not None
  (folder / "state" / "extra").write_text("read me")
  assert [(p.file, p.fatal) for p in problems(folder)] == [
    (".directory", False),
    ("state/extra", True),
  ]


@pytest.mark.parametrize("target", ["inside", "outside"])
def test_links_are_refused(folder, tmp_path, target):
  real = folder / "data.json" if target == "inside" else tmp_path / "secret"
  real.write_text("{}")
  (folder / "state" / "link").symlink_to(real)
  (problem,) = problems(folder)
  assert problem.file == "state/link" and "symbolic link" in problem.what


def test_a_linked_folder_is_not_entered(folder, tmp_path):
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "file").write_text("x")
  (folder / "state" / "more").symlink_to(tmp_path / "other")
  assert [p.file for p in problems(folder)] == ["state/more"]


def test_a_file_replaced_by_a_link_to_the_same_bytes_is_refused(folder, tmp_path):
  copy = tmp_path / "copy"
  (folder / "state/d/0").rename(copy)
  (folder / "state/d/0").symlink_to(copy)
  (problem,) = problems(folder)
  assert "symbolic link" in problem.what


def test_a_checkpoint_or_manifest_that_is_a_link_is_refused(folder, tmp_path):
  link = tmp_path / "link"
  link.symlink_to(folder)
  assert "symbolic link" in problems(link)[0].what
  (folder / manifest.FILE_NAME).rename(tmp_path / "elsewhere.json")
  (folder / manifest.FILE_NAME).symlink_to(tmp_path / "elsewhere.json")
  assert "symbolic link" in problems(folder)[0].what


def test_a_pipe_is_refused_without_waiting_for_it(folder):
  os.mkfifo(folder / "state" / "pipe")
  assert "special file" in problems(folder)[0].what


@pytest.mark.parametrize(
  "name", ["../secret", "/etc/passwd", "state/../../x", "a//b", "", ".", "a\\b"]
)
def test_names_that_lead_out_of_the_folder_are_refused(folder, name):
  edit(folder, lambda d: d["files"].update({name: {"bytes": 1, "sha256": "0"}}))
  (problem,) = problems(folder)
  assert problem.fatal and "could lead out of the checkpoint's folder" in problem.what


@pytest.mark.parametrize(
  "text",
  [
    "",
    "{",
    "[]",
    "null",
    '{"format": 2}',
    '{"format": 1}',
    '{"format": 1, "files": []}',
    "[" * 100_000,
  ]
  + ['{"format": 1, "files": {"a": 3}, "arrays": {}}', "\xff"]
  + ['{"format": 1, "files": {"a": {"bytes": 1e999, "sha256": ""}}, "arrays": {}}'],
)
def test_a_manifest_that_is_none_is_a_problem_and_no_traceback(folder, text):
  (folder / manifest.FILE_NAME).write_text(text, encoding="latin-1")
  (problem,) = problems(folder)
  assert problem.file == "MANIFEST.json" and "not readable" in problem.what


@pytest.mark.parametrize(("old", "new"), [("params/w", "params/v"), ("bfloat16", "bfloat17")])
def test_a_manifest_with_a_flipped_bit_is_a_problem(folder, old, new):
  path = folder / manifest.FILE_NAME
  path.write_text(path.read_text().replace(old, new))
  (problem,) = problems(folder, hashes=False)
  assert problem.file == "MANIFEST.json" and "its contents changed" in problem.what


def test_a_manifest_of_an_earlier_version_has_no_digest_of_its_own(folder):
  edit(folder, lambda document: None)
  assert not problems(folder)


def test_what_cannot_be_read_is_a_problem_and_no_traceback(folder, monkeypatch):
  def fail(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(manifest.os, "scandir", fail)
  (problem,) = problems(folder, hashes=False)
  assert problem.fatal and problem.what == "not readable: Permission denied"


def test_documents_are_json_or_an_error(tmp_path):
  manifest.write_json(tmp_path / "a.json", {"text": "é\n", "big": 2**70, "list": [1.5, None]})
  document = json.loads((tmp_path / "a.json").read_text())
  assert document == {"text": "é\n", "big": 2**70, "list": [1.5, None]}
  with pytest.raises(ValueError, match="not JSON compliant"):
    manifest.write_json(tmp_path / "b.json", {"loss": float("nan")})
