"""House rules that a scan of the source can hold: files are data, nothing is tied to a machine."""

import ast
import io
import pathlib
import re
import subprocess
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TEXT = {".cfg", ".gin", ".html", ".json", ".jsonl", ".md", ".py", ".toml", ".tsv", ".txt", ".yaml"}
# Modules that turn a file into code when they read it.
CODE_LOADERS = {"cloudpickle", "dill", "jinja2", "joblib", "marshal", "pickle", "shelve"}
CODE_CALLS = {"eval", "exec", "yaml.full_load", "yaml.load", "yaml.unsafe_load", "torch.load"}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}
# Put together from pieces, so that this file does not name what it forbids.
HOSTS = "|".join(
  rf"{name}\.{end}"
  for name, end in (
    ("pypi", "org"),
    ("python" + "hosted", "org"),
    ("npmjs", "(?:org|com)"),
    ("anaconda", "org"),
    ("crates", "io"),
    ("debian", "org"),
  )
)
# Folders of one machine.  `$FLAN_TUNE_DATA` is how anything outside the checkout is named.
MACHINE = r"(?<![\w.}>)*-])/(?:work|root|home|Users|mnt|opt)/\w|[A-Z]:\\\\?Users|\.\./shared"
# A note to oneself must name the issue that will see it done, as in (#12).
NOTE = r"\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))"
LARGEST_TEST_FILE = 100_000  # bytes
LONGEST_FUNCTION, LONGEST_FILE = 40, 300  # lines of code: no docstrings, comments, blank lines
# What may be longer, as `file` or `file: function`, with the reason.
LONGER: dict[str, str] = {}
_NO_CODE = {
  tokenize.COMMENT,
  tokenize.DEDENT,
  tokenize.ENDMARKER,
  tokenize.INDENT,
  tokenize.NEWLINE,
  tokenize.NL,
}


def committed() -> list[pathlib.Path]:
  """Files that are, or could be, committed; of an unpacked archive, none."""
  command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
  try:
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
  except (OSError, subprocess.CalledProcessError):
    return []
  return sorted(path for name in listed.splitlines() if (path := ROOT / name).is_file())


FILES = committed()
needs_git = pytest.mark.skipif(not FILES, reason="no git checkout, so no list of files")


def short(path: pathlib.Path) -> str:
  return path.relative_to(ROOT).as_posix()


def shipped_python() -> list[pathlib.Path]:
  """The tests are left out: they pickle a source, say, to see that a worker process can."""
  return [path for path in FILES if path.suffix == ".py" and short(path).split("/")[0] != "tests"]


def text_files() -> list[pathlib.Path]:
  bare = {".ci/run", ".gitignore", "Makefile", ".pre-commit-config.yaml"}
  return [path for path in FILES if path.suffix in TEXT or short(path) in bare]


def code_loading(source: str) -> list[str]:
  """Imports and calls by which a data file could run code."""
  found = []
  for node in ast.walk(ast.parse(source)):
    match node:
      case ast.Import(names=names):
        found += [alias.name for alias in names if alias.name.split(".")[0] in CODE_LOADERS]
      case ast.ImportFrom(module=str(module)) if module.split(".")[0] in CODE_LOADERS:
        found.append(module)
      case ast.Call(func=function, keywords=keywords):
        name = ast.unparse(function)
        if name.removeprefix("builtins.") in CODE_CALLS and not safe_loader(keywords):
          found.append(f"{name}()")
        found += [
          f"{name}({word.arg}=True)"
          for word in keywords
          if word.arg in ("allow_pickle", "shell")
          and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        ]
  return found


def safe_loader(keywords: list[ast.keyword]) -> bool:
  """Whether a call says `Loader=` and names nothing but YAML's safe ones there."""
  given = [ast.unparse(word.value) for word in keywords if word.arg == "Loader"]
  named = set(re.findall(r"\w+Loader", " ".join(given)))
  return bool(named) and named <= SAFE_LOADERS


def code_lines(source: str) -> set[int]:
  """Numbers of the lines that hold code."""
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  lines = {n for t in tokens if t.type not in _NO_CODE for n in range(t.start[0], t.end[0] + 1)}
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
      lines -= set(range(node.lineno, node.end_lineno + 1))  # a docstring
  return lines


def too_long(source: str, name: str) -> list[str]:
  """The file and those of its functions that are longer than the house allows."""
  lines = code_lines(source)
  found = [f"{name}: {len(lines)} lines"] if len(lines) > LONGEST_FILE else []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef):
      own = len(lines & set(range(node.lineno, node.end_lineno + 1)))
      if own > LONGEST_FUNCTION:
        found.append(f"{name}: {node.name}: {own} lines")
  return [what for what in found if what.rpartition(": ")[0] not in LONGER]


def matches(pattern: str, paths: list[pathlib.Path]) -> list[str]:
  """`file:line: text` for every line of the files that has the pattern."""
  found = []
  for path in paths:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
      if re.search(pattern, line):
        found.append(f"{short(path)}:{number}: {line.strip()[:100]}")
  return found


@needs_git
def test_no_data_file_can_run_code():
  found = {short(path): code_loading(path.read_text()) for path in shipped_python()}
  assert not {name: what for name, what in found.items() if what}


@pytest.mark.parametrize(
  "source",
  [
    "import pickle",
    "def late():\n  from dill import load",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=fast or yaml.UnsafeLoader)",
    "value = eval(text)",
    "import builtins\nbuiltins.exec(text)",
    "np.load(path, allow_pickle=True)",
    "subprocess.run(text, shell=flag)",
  ],
)
def test_code_loading_is_noticed(source):
  assert len(code_loading(source)) == 1


def test_harmless_namesakes_are_not_noticed():
  assert not code_loading("model.eval()\nyaml.safe_load(text)\nnp.load(path, allow_pickle=False)")
  assert not code_loading('yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))')


@needs_git
def test_files_and_functions_are_short():
  found = [what for path in shipped_python() for what in too_long(path.read_text(), short(path))]
  assert not found


def test_a_long_function_is_noticed_and_its_docstring_is_not_counted():
  body = "\n".join(f"  x{i} = {i}" for i in range(LONGEST_FUNCTION - 1))
  assert not too_long(f'def f():\n  """Says\n\n  much.\n  """\n  # why\n\n{body}\n', "a.py")
  assert too_long(f"def f():\n{body}\n  return x1\n", "a.py") == ["a.py: f: 41 lines"]


@needs_git
def test_no_file_names_a_folder_of_one_machine():
  # CI alone may look beside the checkout for real rows; it hands them on as FLAN_TUNE_DATA.
  assert not matches(MACHINE, [path for path in text_files() if short(path) != ".ci/run"])


@needs_git
def test_no_file_names_a_package_registry():
  assert not matches(HOSTS, text_files())


@needs_git
def test_a_note_to_oneself_has_an_issue():
  assert not matches(NOTE, [path for path in text_files() if path.name != "test_house.py"])


@pytest.mark.parametrize(
  ("pattern", "line"),
  [
    (MACHINE, 'open("/' + 'home/ann/rows.tsv")'),
    (MACHINE, "see " + "../" + "shared/data"),
    (HOSTS, "https://" + "pypi" + ".org/simple"),
    (NOTE, "# TO" + "DO: later"),
  ],
)
def test_a_planted_line_is_noticed(pattern, line):
  assert re.search(pattern, line)


@pytest.mark.parametrize("line", ["https://arxiv.org/abs/2210.11416", "a/work/b", "{root}/home/x"])
def test_an_ordinary_path_is_not_noticed(line):
  assert not re.search(MACHINE, line)


@needs_git
def test_files_of_the_tests_are_small():
  folders = ("tests/data/", "tests/golden/")
  found = {short(path): path.stat().st_size for path in FILES if short(path).startswith(folders)}
  assert not {name: size for name, size in found.items() if size > LARGEST_TEST_FILE}


@needs_git
def test_the_readme_names_every_top_level_folder():
  readme = (ROOT / "README.md").read_text()
  folders = {short(path).split("/")[0] for path in FILES if "/" in short(path)}
  assert not {folder for folder in folders if f"{folder}/" not in readme}
