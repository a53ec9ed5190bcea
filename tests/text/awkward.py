"""Awkward but right ways of answering: loose extraction credits them, strict extraction does not.

`AWKWARD[rule]` holds twelve functions from a right answer, as the rule writes it, to a generation.
Answers of `text` and `text_cot` must have two words or brackets or more.
"""

from collections.abc import Callable

Writer = Callable[[str], str]
WAYS = 12
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def wide(text: str) -> str:
  """ASCII as Chinese and Japanese typesetting widens it."""
  return text.translate(_WIDE)


def digits(text: str, zero: str) -> str:
  """ASCII digits as those of the script whose zero is given."""
  return text.translate({48 + i: ord(zero) + i for i in range(10)})


def letter(label: str) -> str:
  return label.strip("()")


def another(label: str) -> str:
  return "(B)" if label == "(A)" else "(A)"


def numbered(text: str) -> str:
  return "\n".join(f"{i}. {word}" for i, word in enumerate(text.split(), start=1))


def bulleted(text: str) -> str:
  return "\n".join(f"- {word}" for word in text.split())


def quoted(text: str) -> str:
  return ", ".join(f'"{word}"' for word in text.split())


AWKWARD: dict[str, tuple[Writer, ...]] = {
  "option": (
    lambda a: a.lower(),
    lambda a: f"{letter(a).lower()})",
    lambda a: f"The answer is {a}.",
    lambda a: f"the answer is: {letter(a)}",
    lambda a: f"Answer: {a} because {another(a)} does not fit.",
    lambda a: f"**{a}**",
    lambda a: f"\\boxed{{{letter(a)}}}",
    lambda a: f"{a} it is as cold as ice",
    lambda a: f"I think it is {letter(a)}",
    wide,
    lambda a: f"Option {letter(a)}",
    lambda a: f"\u200f{a}\u200f",
  ),
  "option_cot": (
    lambda a: f"Ice is cold. So the answer is {a} because ice is cold.",
    lambda a: f"{another(a)} is warm. The answer is **{a}**.",
    lambda a: f"Ice is cold. The answer is option {a.lower()}.",
    lambda a: f"Ice is cold. Hence the correct option is {letter(a)}",
    lambda a: f"Ice is cold. The answer is \u200f{a}\u200f.",
    lambda a: f"Ice is cold.\n\n\\boxed{{\\text{{{letter(a)}}}}}",
    lambda a: f"{another(a)} is warm. Only ice is cold, so {a}.",
    lambda a: f"{another(a)} is warm, and {a} is the correct answer.",
    lambda a: f"Ice is cold. So the answer is {a}. Q: next question {another(a)}",
    lambda a: f"The answer is {a}, not {another(a)}.",
    lambda a: f"the answer is not {another(a)} but {a}",
    lambda a: f"Ice is cold.\nThe answer is {a}.\n\nQ: More?\nA: The answer is {another(a)}.",
  ),
  "word": (
    lambda a: a.swapcase(),
    lambda a: f"{a.upper()}!",
    lambda a: f"**{a}**",
    lambda a: f'"{a}".',
    lambda a: f"{a}, since ice is cold.",
    lambda a: f"{a} because ice is cold",
    lambda a: f"The answer is {a}.",
    lambda a: f"Answer: {a}",
    lambda a: f"- {a}",
    lambda a: f"({a})",
    wide,
    lambda a: f"\u200e{a}\u200e",
  ),
  "word_cot": (
    lambda a: f"Ice is cold. The answer is {a.swapcase()}.",
    lambda a: f"Ice is cold. The answer is {a}, since it floats.",
    lambda a: f"Ice is cold. The answer is **{a}**.",
    lambda a: f"Ice is cold. Answer: {a} because it floats.",
    lambda a: f"Ice is cold, so {a}.",
    lambda a: f"Ice is cold.\n{a}",
    lambda a: f"Ice is cold. The correct answer would be {a}.",
    lambda a: f"Ice is cold. The answer should be {a}.",
    lambda a: f"Ice is cold. The answer is {wide(a)}.",
    lambda a: f"Ice is cold. The answer is \u200e{a}\u200e.",
    lambda a: f"Ice is cold. The answer is {a}. Q: What is hot?",
    lambda a: f"**{a}**",
  ),
  "text": (
    lambda a: ", ".join(a.split()),
    lambda a: "  ".join(a.split()),
    lambda a: f"`{a}`",
    lambda a: f'"{a}"',
    lambda a: f"**{a}**",
    lambda a: f"The answer is {a}.",
    lambda a: f"Final answer: {a}",
    numbered,
    bulleted,
    quoted,
    lambda a: f"In order:\n{numbered(a)}",
    lambda a: f"\u200e{a}",
  ),
  "text_cot": (
    lambda a: f"We sort. The answer is {', '.join(a.split())}.",
    lambda a: f"We sort. The answer is {'  '.join(a.split())}.",
    lambda a: f"We sort. The answer is `{a}`.",
    lambda a: f'We sort. The answer is "{a}".',
    lambda a: f"We sort. The answer is **{a}**.",
    lambda a: f"We sort. The answer is {quoted(a)}.",
    lambda a: f"We sort. The answer is:\n{numbered(a)}",
    lambda a: f"We sort. The answer is:\n{bulleted(a)}",
    lambda a: f"We sort.\n{a}",
    lambda a: f"We sort.\n\n{bulleted(a)}",
    lambda a: f"We sort. The answer is \u200e{a}.",
    lambda a: f"We sort. The answer is {a}. Q: And now?",
  ),
  "number": (
    lambda a: f"{a} dollars",
    lambda a: f"${a}",
    lambda a: f"{a}\u00a0€",
    lambda a: f"**{a}**",
    lambda a: f"\\boxed{{{a}}}",
    lambda a: f"= {a}",
    lambda a: f"The answer is {a}.",
    lambda a: f"There are {a} of them.",
    lambda a: f"\u200f{a}\u200f",
    lambda a: digits(a, "\u09e6"),
    lambda a: digits(a, "\u0660"),
    wide,
  ),
  "number_cot": (
    lambda a: f"3 and 4 and so on. So she has {a} left.",
    lambda a: f"3 and 4. The answer is {a} dollars.",
    lambda a: f"3 and 4. The answer is **{a}**.",
    lambda a: f"3 and 4. The answer is \\boxed{{{a}}}.",
    lambda a: f"3 and 4. The answer is 0 + {a} = {a}.",
    lambda a: f"The answer is {a} because 3 and 4 do not count.",
    lambda a: f"3 and 4. The answer is {a}.\n\nQ: What is 1 + 1?\nA: The answer is 2.",
    lambda a: f"3 und 4. Die Antwort lautet {a} Euro.",
    lambda a: f"3 এবং 4। উত্তর হল {digits(a, chr(0x09E6))}।",
    lambda a: f"3 และ 4 คำตอบคือ {digits(a, chr(0x0E50))} ชิ้น",
    lambda a: f"3と4。答えは{wide(a)}個です。",
    lambda a: f"3 + 4 + 0 = {a}",
  ),
  "span": (
    lambda a: f"“{a}”",
    lambda a: f"«{a}»",
    lambda a: f'"{a}."',
    lambda a: f"`{a}`",
    lambda a: f"**{a}**",
    lambda a: f"\u200f{a}\u200f.",
    lambda a: f"{a}\u06d4",
    lambda a: f"The answer is {a}.",
    lambda a: f'The answer is "{a}".',
    lambda a: f"Answer: {a}",
    lambda a: f"Final answer: {a}!",
    lambda a: f"Vastaus: {a}",
  ),
}
