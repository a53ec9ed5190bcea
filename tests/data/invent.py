"""Writes the invented data sets of this folder: `python tests/data/invent.py [FOLDER]`.

Rows are short and follow from their number alone.  Each set has a few more than 200, because the
cards hold out the last 200 rows.
"""

import itertools
import json
import pathlib
import sys

ROWS = 208
# From small to large, so that "larger than" is a matter of position.
THINGS = ["pea", "nut", "bead", "cup", "cat", "dog", "goat", "cow", "van", "truck", "barn", "tower"]
FOODS = ["bun", "pear", "pie", "fig", "plum", "bean"]
TOOLS = ["van", "lamp", "boot", "kite", "bell", "drum"]
NAMES = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo"]
LETTERS = "ABCDEFGH"


def options(*lines: str) -> str:
  return "\\n".join(("\\nOptions:", *lines))


def yes_no(larger: bool) -> str:
  return "yes" if larger else "no"


def pairs():
  """Pairs of different things: over and over, with a number that makes each pair new."""
  for number in itertools.count(1):
    for a, b in itertools.permutations(THINGS, 2):
      yield number, a, b, THINGS.index(a) > THINGS.index(b)


def gsm8k():
  for i in itertools.count():
    a, b, name = 2 + i % 29, 3 + i % 31, NAMES[i % 6]
    yield (
      f"{name} has {a} figs and picks {b} more. How many now?",
      str(a + b),
      f"{a} + {b} = {a + b}.",
    )


def strategyqa():
  for n, a, b, larger in pairs():
    reason = f"A {a} is {'larger' if larger else 'smaller'} than a {b}."
    yield f"Could {n} {b}{'s' * (n > 1)} hide behind a {a}? ", yes_no(larger), reason


def creak():
  for n, a, b, larger in pairs():
    claim = f'"A {a} outweighs {n} {b}{"s" * (n > 1)}."\\nTrue?'
    shown = options("- yes", "- no") if larger else ""
    yield claim + shown, yes_no(larger), f"A {a} is {'heavy' if larger else 'light'}."


def qasc():
  for i in itertools.count():
    right, start = i * 5 % 8, i % 29
    shown = [f"- ({LETTERS[k]}) {start + (k - right) % 8}" for k in range(8)]
    yield f"Least?{options(*shown)}", f"({LETTERS[right]})", f"{start} is least."


def ecqa():
  for i in itertools.count():
    food = FOODS[i % 6]
    shown = [f"- {tool}" for tool in (TOOLS[i // 7 % 6 :] + TOOLS)[:4]]
    shown.insert(i % 5, f"- {food}")
    name = NAMES[i // 6 % 6]
    yield f"What does {name} eat?{options(*shown)}", food, f"A {food} is food. {name} eats food."


def sensemaking():
  for i in itertools.count():
    name, food, tool = NAMES[i % 6], FOODS[i // 6 % 6], TOOLS[i // 36 % 6]
    eaten = (food, tool) if i % 2 else (tool, food)
    shown = [f'- Sentence {"AB"[k]}: "{name} ate a {eaten[k]}."' for k in range(2)]
    yield (
      f"Which is odd?{options(*shown)}\\n",
      f"Sentence {'BA'[eaten[0] == tool]}",
      f"A {tool} is no food.",
    )


def aqua():
  for i in itertools.count():
    a, x, right = 2 + i % 17, 1 + i % 23, i * 3 % 5
    shown = [f"({LETTERS[k]}) {x + k - right}" for k in range(5)]
    yield (
      f"x + {a} = {x + a}. Find x.{options(*shown)}",
      f"({LETTERS[right]})",
      f"x = {x + a} - {a}\\nx = {x}",
    )


def esnli():
  """Premise, hypothesis, label and explanation, in Treebank tokens."""
  for i in itertools.count():
    name, food, other = NAMES[i % 6], FOODS[i // 6 % 6], FOODS[(i // 6 + 1) % 6]
    place = THINGS[i // 36 % 6 + 6]
    premise = f"{name} 's aunt eats a {food} near the {place} . "
    if i % 3 == 0:
      yield premise, "Someone eats . ", "entailment", "an aunt is someone , so someone eats ."
    elif i % 3 == 1:
      yield premise, f"The {food} is hot . ", "neutral", f"a `` {food} '' need n't be hot ."
    else:
      yield premise, f"She eats no {other} but sleeps", "contradiction", "she ca n't eat and sleep"


def span(text: str, **more) -> dict:
  return {"string": text, **more}


def qed():
  """Records with only those keys that a reader of explanations needs."""
  for i in itertools.count():
    name, place, year = NAMES[i % 6], THINGS[i // 6 % 12], str(1800 + i)
    first = f"{name} 's {place} ( toy ) won a prize . "
    second = f"{f'The {place}' if i % 2 else 'It'} was built in {year} . "
    note = {"explanation_type": "single_sentence", "selected_sentence": span(second)}
    answer = span(year, bridge=False)
    note["answer"] = [{"sentence_reference": answer, "paragraph_reference": span(year)}]
    asked, written = span(f"the {place} of {name.lower()}"), span("It", bridge=False)
    equality = {"question_reference": asked, "sentence_reference": written}
    note["referential_equalities"] = [] if i % 2 else [equality]
    if i % 50 == 49:
      note = {"explanation_type": ("multi_sentence", "none")[i % 100 // 50]}
    yield {
      "title_text": f"{name} {i}",
      "question_text": f"when was the {place} of {name.lower()} built",
      "paragraph_text": first + second.rstrip(),
      "annotation": note,
    }


def write(folder: pathlib.Path) -> None:
  tables = folder / "FLAN/flan/v2/cot_data"
  tables.mkdir(parents=True, exist_ok=True)
  for make in (gsm8k, strategyqa, creak, qasc, ecqa, sensemaking, aqua):
    rows = ["\t".join(row) + "\n" for row in itertools.islice(make(), ROWS)]
    (tables / f"{make.__name__}_train.tsv").write_text("".join(rows), encoding="utf-8")
  columns = folder / "e-SNLI/dataset/eSNLI"
  columns.mkdir(parents=True, exist_ok=True)
  stems = ("s1", "s2", "labels", "preproc1_expl_1")
  for stem, column in zip(stems, zip(*itertools.islice(esnli(), ROWS), strict=True), strict=True):
    (columns / f"{stem}.dev").write_text("".join(f"{text}\n" for text in column), encoding="utf-8")
  (folder / "QED").mkdir(exist_ok=True)
  records = [
    json.dumps(record, separators=(",", ":")) + "\n" for record in itertools.islice(qed(), ROWS + 4)
  ]
  (folder / "QED/qed-dev.jsonlines").write_text("".join(records), encoding="utf-8")


if __name__ == "__main__":
  write(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__.rpartition("/")[0]))
