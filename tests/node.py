"""Scripts in Node, with the npm packages that tests/package.json names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[1] / ".venv" / "tools"


def run(script: str, package: str, **variables: str) -> Any:
    """The JSON that an ES module prints. Skips the test where Node, or the npm package that it imports, is absent."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH (Debian: nodejs, npm)")
    if not (TOOLS / "node_modules" / package).exists():
        pytest.skip(f"the npm package {package} is not in {TOOLS}: tests/tools.sh installs it")
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [node, "--input-type=module"]  # a script on stdin finds the packages of the working directory
    done = subprocess.run(command, input=script, cwd=TOOLS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
