"""Arbitrary bytes: no reader crashes, invents a row or loses count."""

import json
import pathlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flan_tune import errors
from flan_tune.sources import esnli, jsonl, qed, tsv

SHARED_FOLDER = settings(
  max_examples=80,
  deadline=None,
  # The folder is shared by all examples, and every example rewrites the files it reads.
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Bytes that mean something to a reader, among bytes that do not.
PIECES = st.one_of(
  st.sampled_from(
    [b"\t", b"\n", b"\r\n", b"\r", b"\\n", b" ", b"\xef\xbb\xbf", b"\xff", b"\0", b"a"]
  ),
  st.binary(max_size=4),
  st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")),
)
CONTENT = st.lists(PIECES, max_size=30).map(b"".join)

JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "annotation"]), inner, max_size=3)
  ),
  max_leaves=8,
)
JSON_LINES = st.lists(JSON.map(lambda value: json.dumps(value).encode()) | CONTENT, max_size=5)


def count_of_lines(content: bytes) -> int:
  return len(content.removesuffix(b"\n").split(b"\n")) if content else 0


def write(path: pathlib.Path, content: bytes) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)


@SHARED_FOLDER
@given(content=CONTENT)
def test_tsv_rows_and_problems_add_up_to_the_lines(tmp_path, content):
  write(tmp_path / "rows", content)
  source = tsv.open_source({"path": "rows", "fields": ["a", "b"]}, "train", tmp_path)
  assert len(source) + sum(source.problems.values()) == count_of_lines(content)
  for row in source:
    assert list(row) == ["a", "b"]
    assert all(text.strip() and "\t" not in text and "\\n" not in text for text in row.values())
    joined = "\t".join(row.values()).replace("\n", "\\n").encode("utf-8")
    assert joined in content


@SHARED_FOLDER
@given(lines=JSON_LINES)
def test_jsonl_rows_and_problems_add_up_to_the_lines(tmp_path, lines):
  content = b"\n".join(lines)
  write(tmp_path / "rows", content)
  for fields in (None, ["a"]):
    argument = {"path": "rows"} | ({"fields": fields} if fields else {})
    source = jsonl.open_source(argument, "train", tmp_path)
    assert len(source) + sum(source.problems.values()) == count_of_lines(content)
    for row in source:
      assert row
      for value in row.values():
        assert isinstance(value, str | int | list)
        str(value).encode("utf-8")


@SHARED_FOLDER
@given(contents=st.tuples(CONTENT, CONTENT, CONTENT, CONTENT))
def test_esnli_refuses_or_accounts_for_every_line(tmp_path, contents):
  for stem, content in zip(esnli.STEMS, contents, strict=True):
    write(tmp_path / f"{stem}.dev", content)
  counts = {count_of_lines(content) for content in contents}
  try:
    source = esnli.open_source(".", "dev", tmp_path)
  except errors.UserError as error:
    assert "not line-aligned" in str(error)
    assert len(counts) > 1
  else:
    assert [len(source) + sum(source.problems.values())] == list(counts)


@SHARED_FOLDER
@given(texts=st.lists(st.text(alphabet=st.sampled_from("`'.,( )\t\u2028\x85é"), max_size=9)))
def test_esnli_rows_are_never_empty(tmp_path, texts):
  rows = [text.replace("\n", "") for text in texts]
  column = "".join(f"{text}\n" for text in rows).encode()
  for stem in esnli.STEMS:
    content = b"neutral\n" * len(rows) if stem == "labels" else column
    write(tmp_path / f"{stem}.dev", content)
  source = esnli.open_source(".", "dev", tmp_path)
  assert len(source) + sum(source.problems.values()) == len(rows)
  assert all(value for row in source for value in row.values())


@SHARED_FOLDER
@given(lines=JSON_LINES)
def test_qed_accounts_for_every_line(tmp_path, lines):
  content = b"\n".join(lines)
  write(tmp_path / "qed-dev.jsonlines", content)
  source = qed.open_source(".", "dev", tmp_path)
  assert len(source) + sum(source.problems.values()) == count_of_lines(content)
  assert len(source) == 0


@SHARED_FOLDER
@given(data=st.data())
def test_qed_records_with_any_part_replaced_are_read_or_counted(tmp_path, data):
  invented = pathlib.Path(__file__).parents[1] / "data/QED/qed-dev.jsonlines"
  with invented.open() as file:
    record = json.loads(file.readline())
  part, path = record, []
  while isinstance(part, dict | list) and part and (not path or data.draw(st.booleans())):
    path.append(data.draw(st.sampled_from(list(part) if isinstance(part, dict) else [0])))
    parent, part = part, part[path[-1]]
  parent[path[-1]] = data.draw(JSON)
  write(tmp_path / "qed-dev.jsonlines", json.dumps(record).encode())
  source = qed.open_source(".", "dev", tmp_path)
  assert len(source) + sum(source.problems.values()) == 1
  for row in source:
    assert all(isinstance(text, str) and text.strip() for text in row.values())
