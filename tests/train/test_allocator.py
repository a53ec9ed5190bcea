import os
import platform
import subprocess
import sys

import pytest

ASK = "from flan_tune.train import allocator; print(allocator.keep_pages())"


def answer(**environment):
  """What `keep_pages` returns in a process of its own, whose memory it may rule."""
  clean = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
  }
  command = [sys.executable, "-c", ASK]
  done = subprocess.run(
    command, env=clean | environment, capture_output=True, text=True, check=True
  )
  return done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_pages_are_kept_unless_the_environment_has_settings_of_its_own():
  assert answer() == "True"
  assert answer(MALLOC_ARENA_MAX="2") == "False"
  assert answer(GLIBC_TUNABLES="glibc.malloc.hugetlb=1") == "False"
