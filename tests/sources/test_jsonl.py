"""Rows of JSON objects: types, names, damage."""

import json

import pytest

from flan_tune import errors
from flan_tune.sources import jsonl, missing


def opened(folder, content: bytes, **more):
  (folder / "rows.jsonl").write_bytes(content)
  return jsonl.open_source({"path": "rows.jsonl", **more}, "train", folder)


def test_texts_numbers_and_lists_of_texts_are_kept(tmp_path):
  row = {"question": "Was?\n", "label": 2, "options": ["a", "b"], "answer": "ß"}
  assert list(opened(tmp_path, json.dumps(row).encode())) == [row]


def test_without_fields_values_of_other_types_are_left_out(tmp_path):
  assert opened(tmp_path, b'{"a": "x", "b": {}, "c": 0.5, "d": null, "e": true, "f": [1]}')[0] == {
    "a": "x"
  }


def test_fields_select_and_rename(tmp_path):
  content = b'{"q": "x", "a": "y", "z": 1}\n'
  assert opened(tmp_path, content, fields=["q", "a"])[0] == {"q": "x", "a": "y"}
  assert opened(tmp_path, content, fields={"question": "q"})[0] == {"question": "x"}


def test_damaged_lines_are_skipped_and_counted_by_reason(tmp_path):
  lines = [
    b'{"a": "good"}',
    b'{"a": ',
    b"[1, 2]",
    b"",
    b'{"b": "x"}',
    b'{"a": 1.5}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a": "\\ud83d\\ude00"}',
  ]
  source = opened(tmp_path, b"\n".join(lines), fields=["a"])
  assert list(source) == [{"a": "good"}, {"a": "\U0001f600"}]
  assert source.problems == {
    "not JSON": 3,
    "a list of other things than texts instead of an object": 1,
    "blank line": 1,
    "no field 'a'": 1,
    "field 'a' is a fraction": 1,
    "invalid UTF-8": 1,
    "half a surrogate pair": 1,
  }


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(missing.MissingData, match="raw/gsm8k/test.jsonl: not found; put it there"):
    jsonl.open_source({"path": {"test": "raw/gsm8k/test.jsonl"}}, "test", tmp_path)


@pytest.mark.parametrize("fields", [[], [3], "a", {}, {"a": 3}, {3: "a"}])
def test_wrong_fields_get_a_sentence(tmp_path, fields):
  with pytest.raises(errors.UserError, match="source jsonl: fields"):
    opened(tmp_path, b"", fields=fields)


def test_real_rows_are_read(data_dir):
  found = sorted((data_dir / "raw").glob("*/*.jsonl"))
  if not found:
    pytest.skip("no JSONL files in this folder")
  for path in found:
    source = jsonl.open_source({"path": str(path.relative_to(data_dir))}, "train", data_dir)
    assert len(source) + sum(source.problems.values()) == path.read_bytes().count(b"\n")
    assert set(source.problems) <= {"no usable field"}
