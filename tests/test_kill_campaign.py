"""The campaign of kills, as short as it goes: see scripts/kill_campaign.py."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_five_kills_lose_nothing_and_change_nothing(repository, users_environment):
  script = repository / "scripts" / "kill_campaign.py"
  command = [sys.executable, str(script), "--kills=5", "--runs", "t5", "t5, adapters"]
  done = subprocess.run(
    command, env=users_environment, capture_output=True, text=True, timeout=900, check=False
  )
  assert done.returncode == 0, done.stdout + done.stderr
  last = done.stdout.splitlines()[-1]
  assert last.startswith("5 kills, ") and "0 lost, 0 differ" in last
