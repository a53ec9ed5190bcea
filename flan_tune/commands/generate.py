"""`flan-tune generate`: answers to prompts from the command line, a file, or typed one by one."""

import argparse
import pathlib
import sys
from typing import Any

from flan_tune import errors

# Flags that `Model.decode` takes under the same names.
_OPTIONS = {
  "max_tokens": (int, 128, "most tokens of one answer"),
  "temperature": (float, 0.0, "0 takes the best token each time; above, tokens are drawn"),
  "top_k": (int, 0, "draw from so many of the best tokens; 0 from all"),
  "top_p": (float, 1.0, "draw from the fewest best tokens whose probabilities add up to this"),
  "num_beams": (int, 0, "beam search with so many; 0 for none"),
  "length_penalty": (float, 0.6, "of beams: log-probability / ((5 + length) / 6) ** this"),
  "num_samples": (int, 1, "answers per prompt: draws, or the best of the beams"),
  "seed": (int, 0, "what is drawn depends on it and on the number of the prompt"),
  "batch_size": (int, 32, "prompts decoded together; changes no answer"),
  "max_input_tokens": (int, None, "longest prompt, end of sequence included; no limit without"),
}


def add(commands: argparse._SubParsersAction) -> None:
  """Adds the command to a parser."""
  generate = commands.add_parser("generate", help="answer prompts; interactive without one")
  generate.add_argument("--checkpoint", required=True, help="a run, a T5X or a Hugging Face folder")
  generate.add_argument("--vocabulary", help="a SentencePiece model, where the folder holds none")
  for name, (kind, default, told) in _OPTIONS.items():
    generate.add_argument(f"--{name}", type=kind, default=default, help=told)
  generate.add_argument(
    "--stop",
    action="append",
    default=[],
    help=r"an answer ends before it; repeatable; \n is a line",
  )
  generate.add_argument(
    "--long", default="refuse", help="refuse prompts that are too long, or cut off their front"
  )
  generate.add_argument(
    "--log_probs", action="store_true", help="print each answer's log-probability and its tokens'"
  )
  generate.add_argument("--input", help="a file with a prompt a line, or - for standard input")
  generate.add_argument("--output", type=pathlib.Path, help="write a line of JSON for each prompt")
  generate.add_argument("prompts", nargs="*", help="without any, you type them one by one")
  generate.set_defaults(act=_act)


def _act(parsed: argparse.Namespace, bindings: list[str]) -> int:
  from flan_tune import compilation, pretrained, runlog

  prompts = _given(parsed)
  if parsed.output:
    _prepare(parsed.output, prompts)
  options = {name: getattr(parsed, name) for name in (*_OPTIONS, "long")}
  options["stop"] = [_lines(one) for one in parsed.stop]
  compilation.keep(compilation.of_user(), say=lambda told: print(told, file=sys.stderr))
  ready = pretrained.load(parsed.checkpoint, vocabulary=parsed.vocabulary)
  if prompts is None:
    return _converse(ready, options, log_probs=parsed.log_probs)
  answers = ready.decode(prompts, **options)
  if parsed.output:
    entries = [
      {"prompt": prompt, "answers": [one._asdict() for one in several]}
      for prompt, several in zip(prompts, answers, strict=True)
    ]
    runlog.write_lines(parsed.output, entries)
    return 0
  for several in answers:
    _show(several, log_probs=parsed.log_probs)
  return 0


def _prepare(output: pathlib.Path, prompts: list[str] | None) -> None:
  """Finds out before the answers are made whether the file can be written."""
  if prompts is None:
    raise errors.UserError("--output: needs prompts, as arguments or by --input")
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UserError(f"--output={output}: cannot be written: {error}") from None
  if output.is_dir():
    raise errors.UserError(f"--output={output}: is a folder; name a file")


def _given(parsed: argparse.Namespace) -> list[str] | None:
  """The prompts of the arguments or the file; None for neither."""
  if not parsed.input:
    return parsed.prompts or None
  if parsed.prompts:
    raise errors.UserError("--input: prompts are given as arguments, too; leave one of them out")
  try:
    is_file = parsed.input != "-"  # editors may begin one with a byte order mark
    text = pathlib.Path(parsed.input).read_text("utf-8-sig") if is_file else sys.stdin.read()
  except (OSError, UnicodeDecodeError) as error:
    raise errors.UserError(f"--input={parsed.input}: cannot be read as text: {error}") from None
  return [_lines(line) for line in text.removesuffix("\n").split("\n")] if text else []


def _lines(text: str) -> str:
  """A text of several lines can be given in one, with a backslash and an n between them."""
  return text.replace("\\n", "\n")


def _converse(ready: Any, options: dict[str, Any], *, log_probs: bool) -> int:
  while True:
    try:
      prompt = input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
      print()
      return 0
    except UnicodeDecodeError as error:
      raise errors.UserError(f"standard input: cannot be read as text: {error}") from None
    if not prompt.strip():
      continue
    try:
      _show(ready.decode([_lines(prompt)], **options)[0], log_probs=log_probs)
    except errors.UserError as error:
      if not sys.stdin.isatty():
        raise
      print(f"flan-tune: {error}", file=sys.stderr)


def _show(answers: list[Any], *, log_probs: bool) -> None:
  for one in answers:
    print(one.text)
    if log_probs:
      each = " ".join(f"{number:.4f}" for number in one.log_probs)
      print(f"  log-probability {one.log_prob:.4f}, ended by {one.ended}: {each}")
