"""`flan-tune lm-eval`: tasks of lm-evaluation-harness on a checkpoint."""

import argparse
import json
import pathlib

from flan_tune import errors


def add(commands: argparse._SubParsersAction) -> None:
  """Adds the command to a parser."""
  parser = commands.add_parser(
    "lm-eval", help="score a checkpoint on tasks of lm-evaluation-harness"
  )
  parser.add_argument("--checkpoint", required=True, help="a run, a T5X or a Hugging Face folder")
  parser.add_argument("--tasks", required=True, help="their names for tasks, separated by commas")
  parser.add_argument("--include_path", help="a folder with YAML files of more tasks")
  parser.add_argument("--limit", type=float, help="examples per task; a share of them below 1")
  parser.add_argument("--num_fewshot", type=int, help="exemplars; as each task says without")
  parser.add_argument("--batch_size", type=int, default=32, help="requests computed together")
  parser.add_argument(
    "--max_length", type=int, default=2048, help="most tokens of a prompt; longer lose their front"
  )
  parser.add_argument("--step", type=int, help="which checkpoint of several; the newest without")
  parser.add_argument("--vocabulary", help="a SentencePiece model, where the folder holds none")
  parser.add_argument("--output", type=pathlib.Path, help="a JSON file for results and samples")
  parser.set_defaults(act=_act)


def _act(parsed: argparse.Namespace, bindings: list[str]) -> int:
  try:
    from flan_tune import harness
  except ModuleNotFoundError as error:
    if error.name != "lm_eval":
      raise
    raise errors.UserError(
      "lm-evaluation-harness is not installed: pip install 'flan_tune[lm-eval]'"
    ) from None
  if parsed.limit is not None and parsed.limit <= 0:
    raise errors.UserError(f"--limit={parsed.limit}: expected more than 0")
  if parsed.include_path is not None and not pathlib.Path(parsed.include_path).is_dir():
    raise errors.UserError(f"--include_path={parsed.include_path}: is not a folder")
  if parsed.output and not parsed.output.parent.is_dir():
    raise errors.UserError(f"--output={parsed.output}: {parsed.output.parent} is not a folder")
  if parsed.output and parsed.output.is_dir():
    raise errors.UserError(f"--output={parsed.output}: is a folder; name a file")
  tasks = [name for part in parsed.tasks.split(",") if (name := part.strip())]
  if not tasks:
    raise errors.UserError(f"--tasks={parsed.tasks}: names no task")
  names = ("include_path", "limit", "num_fewshot", "batch_size", "max_length", "step", "vocabulary")
  options = {name: getattr(parsed, name) for name in names}
  results = harness.evaluate(parsed.checkpoint, tasks, **options)
  print(harness.table(results))
  if parsed.output:
    text = json.dumps(results, indent=1, ensure_ascii=False, default=harness.plain)
    parsed.output.write_text(text + "\n", encoding="utf-8")
  return 0
