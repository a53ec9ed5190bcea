"""e-SNLI from four line-aligned files."""

import pickle

import pytest

from flan_tune import errors
from flan_tune.sources import esnli, missing

CARD = {"path": "e-SNLI/dataset/eSNLI", "splits": {"train": ["train", "dev"]}}
ROW = ("A man 's dog runs . ", "An animal ca n't move .", "contradiction", "a dog `` is '' one .")


def write(root, rows, *, split="dev"):
  folder = root / CARD["path"]
  folder.mkdir(parents=True, exist_ok=True)
  for stem, column in zip(esnli.STEMS, zip(*rows, strict=True), strict=True):
    (folder / f"{stem}.{split}").write_bytes(
      b"".join(text.encode("utf-8", "surrogateescape") + b"\n" for text in column)
    )
  return folder


def test_a_row_joins_the_lines_of_the_four_files(tmp_path):
  write(tmp_path, [ROW])
  assert list(esnli.open_source(CARD, "train", tmp_path)) == [
    {
      "premise": "A man's dog runs.",
      "hypothesis": "An animal can't move.",
      "answer": "no",
      "options": ["yes", "it is not possible to tell", "no"],
      "rationale": 'A dog "is" one.',
    }
  ]


@pytest.mark.parametrize(
  ("label", "answer"),
  [("entailment", "yes"), ("neutral", "it is not possible to tell"), ("contradiction", "no")],
)
def test_labels_become_answers(tmp_path, label, answer):
  write(tmp_path, [(*ROW[:2], label, ROW[3])])
  assert esnli.open_source(CARD, "train", tmp_path)[0]["answer"] == answer


def test_damaged_examples_are_skipped_and_counted_by_reason(tmp_path):
  bad = [(*ROW[:2], "-", ROW[3]), (*ROW[:3], ""), ("\udcff", *ROW[1:])]
  write(tmp_path, [*bad, ROW])
  source = esnli.open_source(CARD, "train", tmp_path)
  assert len(source) == 1
  assert source[0]["premise"] == "A man's dog runs."
  assert source.problems == {"unknown label": 1, "blank line": 1, "invalid UTF-8": 1}


def test_files_of_different_length_are_refused_with_both_counts(tmp_path):
  folder = write(tmp_path, [ROW, ROW])
  (folder / "labels.dev").write_text("neutral\n")
  with pytest.raises(errors.UserError, match="s1.dev has 2 lines, labels.dev has 1"):
    esnli.open_source(CARD, "train", tmp_path)


def test_train_is_preferred_and_dev_serves_when_it_is_absent(tmp_path):
  write(tmp_path, [ROW])
  assert esnli.open_source(CARD, "train", tmp_path).used.endswith("s1.dev")
  folder = write(tmp_path, [ROW, ROW], split="train")
  assert len(esnli.open_source(CARD, "train", tmp_path)) == 2
  # Half a split is no split.
  (folder / "labels.train").unlink()
  assert len(esnli.open_source(CARD, "train", tmp_path)) == 1


def test_a_plain_folder_offers_the_upstream_splits(tmp_path):
  write(tmp_path, [ROW], split="test")
  assert len(esnli.open_source(CARD["path"], "test", tmp_path)) == 1
  with pytest.raises(missing.MissingData) as caught:
    esnli.open_source(CARD["path"], "dev", tmp_path)
  assert caught.value.how == (
    "clone github.com/OanaMariaCamburu/e-SNLI into $FLAN_TUNE_DATA/e-SNLI"
  )
  with pytest.raises(errors.UserError, match="split: 'validation' unknown"):
    esnli.open_source(CARD["path"], "validation", tmp_path)


@pytest.mark.parametrize("path", ["../x", "/x", 3, None])
def test_folders_outside_are_refused(tmp_path, path):
  with pytest.raises(errors.UserError):
    esnli.open_source({"path": path}, "train", tmp_path)


def test_a_pickled_source_reads_the_same_rows(tmp_path):
  write(tmp_path, [ROW, ROW])
  source = esnli.open_source(CARD, "train", tmp_path)
  assert list(pickle.loads(pickle.dumps(source))) == list(source)


def test_real_rows_are_ordinary_text(data_dir):
  source = esnli.open_source(CARD, "train", data_dir)
  assert len(source) >= 200
  for index in range(0, len(source), max(1, len(source) // 500)):
    row = source[index]
    assert row["answer"] in row["options"]
    assert row["rationale"].endswith((".", "!", "?", '"'))
    assert not row["rationale"][0].islower()
    for name in ("premise", "hypothesis", "rationale"):
      assert row[name] == row[name].strip()
      assert not any(mark in row[name] for mark in ("``", "''", " n't", " .", " ,", "  "))
