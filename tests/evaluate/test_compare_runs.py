import json

import pytest

from flan_tune import errors
from flan_tune.evaluate import compare_runs

SNARKS, NAVIGATE = "bbh_snarks_direct", "bbh_navigate_cot"


def record(exam, number, score, *, method="generate", **others):
  name, setting = exam.rsplit("_", 1)
  headline = "plain" if method == "rank" else "strict"
  said = "(A)" if score else "(B)"
  return {
    "exam": name,
    "setting": setting,
    "id": str(number),
    "method": method,
    "prompt": f"prompt {number}",
    "target": "(A)",
    "generation": f"I say {said}" if method == "generate" else None,
    "extracted": {headline: said, "loose": "(A)"},
    "score": {headline: score, "loose": 1.0},
    **others,
  }


def write(folder, exams, *, fingerprint="f" * 64, version=1, shards=1):
  folder.mkdir()
  told = {exam: {"version": version, "fingerprint": fingerprint} for exam in exams}
  (folder / "evaluation.json").write_text(json.dumps({"format": 1, "exams": told}))
  records = [one for own in exams.values() for one in own]
  for shard in range(shards):
    lines = [json.dumps(one) + "\n" for one in records[shard::shards]]
    (folder / f"answers-{shard:05}-of-{shards:05}.jsonl").write_text("".join(lines))
  return folder


def exam(name, scores, **others):
  return {name: [record(name, i, float(score), **others) for i, score in enumerate(scores)]}


def test_differences_and_flips_are_those_of_the_headline(tmp_path):
  a = write(tmp_path / "a", exam(SNARKS, [1, 1, 0, 0]) | exam(NAVIGATE, [0] * 8))
  b = write(tmp_path / "b", exam(SNARKS, [0, 1, 1, 1]) | exam(NAVIGATE, [1] * 8), shards=3)
  found = compare_runs.compare(a, b)
  navigate, snarks = found.exams
  assert (snarks.exam, snarks.a, snarks.b, snarks.difference) == (SNARKS, 50, 75, 25)
  assert (snarks.n, snarks.won, snarks.lost) == (4, 2, 1)
  assert snarks.low < 0 < snarks.high
  assert (navigate.difference, navigate.low, navigate.high) == (100, 100, 100)
  # Exams count alike, whatever their number of questions.
  assert found.overall.difference == pytest.approx(62.5)
  assert (found.overall.n, found.overall.won, found.overall.lost) == (12, 10, 1)
  lost = [flip for flip in found.flips if flip.change == compare_runs.LOST]
  assert [(flip.id, flip.generation_a, flip.generation_b) for flip in lost] == [
    ("0", "I say (A)", "I say (B)")
  ]
  assert json.loads(json.dumps(found.as_json()))["overall"]["n"] == 12


def test_other_prompts_are_refused_with_both_versions(tmp_path):
  a = write(tmp_path / "a", exam(SNARKS, [1]), fingerprint="a" * 64)
  b = write(tmp_path / "b", exam(SNARKS, [1]), fingerprint="b" * 64, version=2)
  message = r"bbh_snarks_direct: version 1 \(a{16}\) in .* and version 2 \(b{16}\) in "
  with pytest.raises(errors.UserError, match=message):
    compare_runs.compare(a, b)


def test_what_one_folder_alone_has_is_named_and_not_compared(tmp_path):
  a = write(tmp_path / "a", exam(SNARKS, [1, 0, 1]) | exam(NAVIGATE, [1]))
  b = write(tmp_path / "b", exam(SNARKS, [1, 0]) | exam("mgsm_bn_cot", [1]))
  found = compare_runs.compare(a, b)
  assert (found.only_a, found.only_b) == ((NAVIGATE,), ("mgsm_bn_cot",))
  assert [line.n for line in found.exams] == [2]
  assert found.overall.difference == 0
  assert found.overall.p_value == 1
  (warning,) = found.warnings
  assert warning.startswith(f"{SNARKS}: 1 questions only in {a}: 2")


def test_ranking_is_compared_by_its_plain_choice(tmp_path):
  a = write(tmp_path / "a", exam(SNARKS, [0], method="rank"))
  b = write(tmp_path / "b", exam(SNARKS, [1], method="rank"))
  (flip,) = compare_runs.compare(a, b).flips
  assert (flip.change, flip.generation_a, flip.generation_b) == (compare_runs.WON, "(B)", "(A)")


def test_half_a_line_and_answers_without_a_score_are_counted_not_scored(tmp_path):
  broken = exam(SNARKS, [1, 1])
  broken[SNARKS].append(record(SNARKS, 2, None))
  a, b = write(tmp_path / "a", broken), write(tmp_path / "b", exam(SNARKS, [1, 1, 1]))
  with next(a.glob("answers-*")).open("a") as file:
    file.write('{"exam": "bbh_snar')
  found = compare_runs.compare(a, b)
  assert found.overall.n == 2
  torn, silent = found.warnings
  assert torn.endswith(": left out, for it is no answer")
  assert silent == f"{SNARKS}: 1 questions have no score in both folders: 2"


def test_an_exam_whose_answers_are_judged_together_is_left_out_in_one_sentence(tmp_path):
  judged = exam("real_toxicity_prompts_zs", [0] * 9)
  for one in judged["real_toxicity_prompts_zs"]:
    one["score"] = {}
  a = write(tmp_path / "a", judged | exam(SNARKS, [0]))
  found = compare_runs.compare(a, write(tmp_path / "b", judged | exam(SNARKS, [1])))
  assert [line.exam for line in found.exams] == [SNARKS]
  (warning,) = found.warnings
  assert warning.startswith("real_toxicity_prompts_zs: left out, for no question of it has a score")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"exams": ["x"]}'])
def test_a_folder_without_an_evaluation_is_named(tmp_path, content):
  a, other = write(tmp_path / "a", exam(SNARKS, [1])), tmp_path / "other"
  other.mkdir()
  if content is not None:
    (other / "evaluation.json").write_text(content)
  with pytest.raises(errors.UserError, match=r"other.*evaluat"):
    compare_runs.compare(a, other)


def test_folders_that_share_no_exam_are_refused(tmp_path):
  a, b = write(tmp_path / "a", exam(SNARKS, [1])), write(tmp_path / "b", exam(NAVIGATE, [1]))
  with pytest.raises(errors.UserError, match="share no exam"):
    compare_runs.compare(a, b)
