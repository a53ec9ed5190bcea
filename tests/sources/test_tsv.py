"""Tab-separated rows: what is read, what is skipped, what is said when the file is not there."""

import pickle

import pytest

from flan_tune import errors
from flan_tune.sources import missing, tsv

FIELDS = ["question", "answer", "rationale"]
# Rows of the slices in $FLAN_TUNE_DATA; upstream has a tenth more.
REAL_ROWS = {
  "aqua": 2456,
  "creak": 6224,
  "ecqa": 6401,
  "gsm8k": 6726,
  "qasc": 976,
  "sensemaking": 5463,
  "strategyqa": 1855,
}


def opened(folder, content: bytes, *, fields=FIELDS):
  (folder / "rows.tsv").write_bytes(content)
  return tsv.open_source({"path": "rows.tsv", "fields": fields}, "train", folder)


def test_fields_are_named_and_backslash_n_is_a_newline(tmp_path):
  source = opened(tmp_path, b"a\\nb\tc\td\n1\t2\t3\n")
  assert list(source) == [
    {"question": "a\nb", "answer": "c", "rationale": "d"},
    {"question": "1", "answer": "2", "rationale": "3"},
  ]
  assert source.problems == {}


@pytest.mark.parametrize(
  "content",
  [
    b"1\t2\t3\n4\t5\t6\n",
    b"1\t2\t3\n4\t5\t6",
    b"1\t2\t3\r\n4\t5\t6\r\n",
    b"\xef\xbb\xbf1\t2\t3\n4\t5\t6",
  ],
  ids=["newline", "no last newline", "crlf", "byte order mark"],
)
def test_line_ends_and_byte_order_mark_are_no_content(tmp_path, content):
  assert [tuple(row.values()) for row in opened(tmp_path, content)] == [
    ("1", "2", "3"),
    ("4", "5", "6"),
  ]


def test_damaged_lines_are_skipped_and_counted_by_reason(tmp_path):
  source = opened(
    tmp_path, b"1\t2\n1\t2\t3\n\n1\t\t3\n1\t2\t\xff\n1\t2\t3\t4\n1\t2\t\\n\n4\t5\t6\n"
  )
  assert [row["question"] for row in source] == ["1", "4"]
  assert source.problems == {
    "2 fields instead of 3": 1,
    "blank line": 1,
    "empty field 'answer'": 1,
    "invalid UTF-8": 1,
    "4 fields instead of 3": 1,
    "empty field 'rationale'": 1,
  }


def test_unicode_line_separators_do_not_end_a_row(tmp_path):
  source = opened(tmp_path, "a\u2028b\x0bc\x85\t2\t3\n".encode())
  assert source[0]["question"] == "a\u2028b\x0bc\x85"


def test_an_empty_file_has_no_rows(tmp_path):
  assert len(opened(tmp_path, b"")) == 0


def test_rows_outside_raise_index_error(tmp_path):
  source = opened(tmp_path, b"1\t2\t3\n")
  for index in (1, -1):
    with pytest.raises(IndexError):
      source[index]


def test_a_pickled_source_reads_the_same_rows(tmp_path):
  source = opened(tmp_path, b"1\t2\t3\n1\t2\n4\t5\t6\n")
  copy = pickle.loads(pickle.dumps(source))  # what a spawned worker receives
  assert list(copy) == list(source)
  assert copy.problems == source.problems


def test_a_file_that_shrinks_while_in_use_is_an_error_and_no_wrong_row(tmp_path):
  source = opened(tmp_path, b"1\t2\t3\n4\t5\t6\n")
  (tmp_path / "rows.tsv").write_bytes(b"1\t2\t3\n4\t5")
  with pytest.raises(RuntimeError, match="shorter"):
    source[1]


def test_candidates_are_tried_in_order_and_the_one_used_is_named(tmp_path):
  (tmp_path / "b.tsv").write_bytes(b"from b\n")
  argument = {"path": ["a.tsv", "b.tsv"], "fields": ["text"]}
  assert tsv.open_source(argument, "train", tmp_path).used == "b.tsv"
  (tmp_path / "a.tsv").write_bytes(b"from a\n")
  assert tsv.open_source(argument, "train", tmp_path).used == "a.tsv"


def test_paths_by_split(tmp_path):
  (tmp_path / "b.tsv").write_bytes(b"from b\n")
  argument = {"path": {"train": "a.tsv", "test": "b.tsv"}, "fields": ["text"]}
  assert tsv.open_source(argument, "test", tmp_path)[0] == {"text": "from b"}
  with pytest.raises(errors.UserError, match="split: 'tset' unknown .*'test'"):
    tsv.open_source(argument, "tset", tmp_path)


def test_a_missing_file_says_what_to_clone_and_where(tmp_path):
  argument = {"path": "FLAN/a.tsv", "fields": FIELDS, "repository": "google-research/FLAN"}
  with pytest.raises(missing.MissingData) as caught:
    tsv.open_source(argument, "train", tmp_path)
  assert caught.value.path == str(tmp_path / "FLAN/a.tsv")
  assert caught.value.how == "clone github.com/google-research/FLAN into $FLAN_TUNE_DATA/FLAN"


def test_without_a_data_folder_the_variable_is_named():
  with pytest.raises(missing.MissingData) as caught:
    tsv.open_source({"path": "FLAN/a.tsv", "fields": FIELDS}, "train", None)
  assert caught.value.path == "$FLAN_TUNE_DATA/FLAN/a.tsv"
  assert caught.value.how.startswith("set FLAN_TUNE_DATA")


@pytest.mark.parametrize(
  "path",
  ["../a.tsv", "a/../../b.tsv", "/etc/passwd", "C:\\a.tsv", "\\a.tsv", "..\\a.tsv", "", "a\0", 3],
)
def test_paths_that_leave_the_data_folder_are_refused(tmp_path, path):
  with pytest.raises(errors.UserError, match="path"):
    tsv.open_source({"path": path, "fields": FIELDS}, "train", tmp_path)


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("a.tsv", "expected a mapping"),
    ({"path": "a.tsv"}, "'fields' is missing"),
    ({"paht": "a.tsv", "fields": FIELDS}, "'paht' unknown .*'path'"),
    ({"path": "a.tsv", "fields": "question"}, "distinct names, not 'question'"),
    ({"path": "a.tsv", "fields": ["a", "a"]}, "distinct names"),
    ({"path": [], "fields": FIELDS}, "a name or a list"),
  ],
)
def test_wrong_arguments_get_a_sentence(tmp_path, argument, message):
  with pytest.raises(errors.UserError, match=message):
    tsv.open_source(argument, "train", tmp_path)


@pytest.mark.parametrize("name", REAL_ROWS)
def test_every_line_of_the_real_files_is_a_row(data_dir, name):
  argument = {"path": f"FLAN/flan/v2/cot_data/{name}_train.tsv", "fields": FIELDS}
  source = tsv.open_source(argument, "train", data_dir)
  lines = (data_dir / source.used).read_bytes().count(b"\n")
  assert len(source) + sum(source.problems.values()) == lines
  assert source.problems == {}
  if lines == REAL_ROWS[name]:  # the known slice, not a whole clone
    assert source[len(source) - 1]["answer"]
  assert not any("\\n" in text for text in source[0].values())
