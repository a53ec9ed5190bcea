"""Evaluation folders as the engine leaves them, written without a model: answers by a hash."""

import hashlib
import math
import pathlib

from flan_tune import runlog
from flan_tune.evaluate import aggregate, vote

BBH = (
  "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa",
  "dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton",
  "logical_deduction_five_objects", "logical_deduction_seven_objects",
  "logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two",
  "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
  "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding",
  "temporal_sequences", "tracking_shuffled_objects_five_objects",
  "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects",
  "web_of_lies", "word_sorting",
)  # fmt: skip
TYDIQA = ("ar", "bn", "fi", "id", "ko", "ru", "sw", "te")
MGSM = ("bn", "de", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
CHANCE = {"BBH": 0.257, "MMLU": 0.25, "TyDiQA": 0.0, "MGSM": 0.0}
LABELS = {
  ("BBH", "direct"): "3-shot direct",
  ("BBH", "cot"): "3-shot CoT",
  ("BBH", "direct_zs"): "0-shot direct",
  ("BBH", "cot_zs"): "0-shot CoT",
  ("MMLU", "direct"): "5-shot direct, validation",
  ("MMLU", "cot"): "5-shot CoT, validation",
  ("TyDiQA", "direct"): "1-shot direct EM",
  ("MGSM", "cot"): "8-shot CoT",
}
ANSWERS = ("(A)", "(B)", "(C)", "(D)")
ARABIC = "الجواب الصحيح هو هذا"


def everything(subjects=57):
  """(suite, task, setting) of a whole flan_eval."""
  names = {
    "MMLU": [f"subject_{number:02}" for number in range(subjects)],
    "BBH": BBH,
    "TyDiQA": TYDIQA,
    "MGSM": MGSM,
  }
  if subjects == 57:
    from flan_tune.evaluate import members

    names["MMLU"] = list(members.of("MMLU"))
  return [
    (suite, task, setting)
    for (suite, setting) in LABELS
    for task in names[suite]
    if not setting.endswith("_zs")
  ]


def draw(*words: object) -> float:
  """A number of 0 to 1 that looks random and is the same every time."""
  return int(hashlib.sha256(repr(words).encode()).hexdigest()[:12], 16) / 16**12


def build(
  folder: pathlib.Path, exams, *, n=6, samples=1, skill=0.3, prompt="", **checkpoint
) -> pathlib.Path:
  """Writes a finished evaluation.

  Args:
    n: Questions of an exam.
    samples: Drawn for each question of MGSM.
    skill: Share of questions that chance alone would not get right and the model does.
    prompt: Added to every prompt.
    checkpoint: What evaluation.json says about the model.
  """
  folder.mkdir(parents=True, exist_ok=True)
  records = [
    record(suite, task, setting, number, samples if suite == "MGSM" else 1, skill, prompt)
    for suite, task, setting in exams
    for number in range(n)
  ]
  runlog.write_lines(folder / "answers-00000-of-00002.jsonl", records[::2])
  runlog.write_lines(folder / "answers-00001-of-00002.jsonl", records[1::2])
  by_exam = {}
  for one in records:
    by_exam.setdefault((one["exam"], one["setting"]), []).append(one)
  rows = [
    row(suite, task, setting, by_exam[exam_name(suite, task), setting])
    for suite, task, setting in exams
  ]
  about = {
    "format": 1,
    "checkpoint": {"path": "runs/quickstart", "step": 2000, **checkpoint},
    "options": {"limit": n, "samples": samples, "temperature": 0.0, "batch_size": 32, "seed": 0},
  }
  keys = {f"{r['exam']}_{r['setting']}": r for r in rows}
  asked = {
    k: {"version": 1, "fingerprint": r["fingerprint"], "questions": n} for k, r in keys.items()
  }
  runlog.write_json(folder / "evaluation.json", about | {"exams": asked})
  means = aggregate.aggregate(rows).as_json()
  runlog.write_json(folder / "results.json", about | {
    "rows": rows, "aggregate": means, "seconds": {"total": 812.4, "model": 770.9},
    "notes": ["1 line of answers was torn"],
    "missing": [{"name": "winogender", "path": "winogender/all_sentences.tsv", "how": "clone it"}],
  })  # fmt: skip
  return folder


def exam_name(suite: str, task: str) -> str:
  return f"{suite.lower()}_{task}"


def row(suite, task, setting, records):
  name = exam_name(suite, task)
  n = len(records)
  strict, loose = (100 * sum(r["score"][k] for r in records) / n for k in ("strict", "loose"))
  half = 196 * math.sqrt(max(strict / 100 * (1 - strict / 100), 0.01) / n)
  shares = [r["vote"]["strict"]["share"] for r in records if "vote" in r]
  return {
    "exam": name, "setting": setting, "suite": suite.lower(), "benchmark": f"{suite}/{task}",
    "label": LABELS[suite, setting], "category": "", "version": 1, "method": "generate",
    "fingerprint": hashlib.sha256(name.encode()).hexdigest(), "metric": "exact_match", "n": n,
    "chance": CHANCE[suite], "score": strict, "scores": {"strict": strict, "loose": loose},
    "low": max(0.0, strict - half), "high": min(100.0, strict + half),
    "unparsable": sum(r["extracted"]["strict"] is None for r in records),
    "truncated": sum(r["ended"] == "length" for r in records),
    "dropped_exemplars": sum(r["dropped"] for r in records),
    "cut_prompts": sum(r["cut"] > 0 for r in records),
    "problems": {"answer key outside the options": 2} if task == "ruin_names" else {},
    "stand_in": "validation stands in for test" if task == "te" else "", "held_out": True,
    "confidence": sum(shares) / len(shares) if shares else None,
    "extra": {"f1": strict + 5} if suite == "TyDiQA" else {},
  }  # fmt: skip


def record(suite, task, setting, number, samples, skill, more):
  name = exam_name(suite, task)
  target = ANSWERS[int(4 * draw(name, number))]
  luck = skill * (0.6 + 0.8 * draw(task)) * (1.1 if "cot" in setting else 1.0)
  drawn = [sample(name, setting, number, k, target, luck) for k in range(samples)]
  votes = {
    judge: vote.majority([one["extracted"][judge] for one in drawn])
    for judge in ("strict", "loose")
  }
  found = {judge: one.answer for judge, one in votes.items()}
  shots = {"BBH": 3, "MMLU": 5, "TyDiQA": 1, "MGSM": 8}[suite]
  first = next((one for one in drawn if one["extracted"]["loose"] == found["loose"]), drawn[0])
  exemplars = "".join(
    f"Q: The {k}. ship carries {7 * k} boxes, and {k} more come aboard. How many?\n"
    f"Options:\n(A) {7 * k}\n(B) {8 * k}\nA: {'Let us count them all. ' * 4}(B)\n\n"
    for k in range(1, shots + 1)
  )
  return {
    "exam": name, "setting": setting, "id": f"{task}/{number}", "prompt_hash": f"{number:016x}",
    "prompt": f"{exemplars}{more}Q: {ARABIC if task == 'ar' else 'Question'} {number} of {task}?\n"
              f"Options:\n(A) one\n(B) two\n(C) three\n(D) four\nA:",
    "target": target, "method": "generate", "generation": first["generation"], "extracted": found,
    "score": {judge: float(answer == target) for judge, answer in found.items()},
    "tokens": first["tokens"], "log_prob": first["log_prob"], "ended": first["ended"],
    "shots": shots, "dropped": int(draw(name, number, "d") > 0.93), "cut": 0, "facts": {},
  } | ({"samples": drawn, "vote": {
    judge: {"answer": one.answer, "share": one.share} for judge, one in votes.items()
  }} if samples > 1 else {})  # fmt: skip


def sample(name, setting, number, k, target, luck):
  chance, kind = draw(name, setting, number, k), draw(name, setting, number, k, "kind")
  right = chance < luck or draw(name, number, k, "guess") < 0.25
  answer = target if right else ANSWERS[int(4 * draw(name, number, k, "wrong"))]
  strict, ended, said = answer, "eos", f"Two and two are four. So the answer is {answer}."
  if kind > 0.9:
    strict, said = None, f"I would go for option {answer[1]}, {ARABIC}"
  elif kind > 0.82:
    strict = answer = None
    ended, said = "length", "First we count the boxes. " * 60
  return {
    "generation": said, "extracted": {"strict": strict, "loose": answer},
    "tokens": len(said) // 5, "log_prob": -0.4 - 3 * kind, "ended": ended,
  }  # fmt: skip
