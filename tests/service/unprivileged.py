"""Python as a service in a container runs it: by an ordinary user without any capability."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

USER = "10001"


def python() -> list[str]:
    """The command of an interpreter that has this one's modules. Skips the test where there can be none."""
    if os.getuid() != 0:
        return [sys.executable]  # the tests run as an ordinary user already
    if shutil.which("setpriv") is None:
        pytest.skip("root cannot become another user without setpriv (Debian: util-linux)")
    nobody = ["--reuid", USER, "--regid", USER, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    modules = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    for interpreter in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = ["setpriv", *nobody, "env", f"PYTHONPATH={modules}", "PYTHONDONTWRITEBYTECODE=1", interpreter]
        # It starts itself, as the service does: the folder of a root's own Python is closed to others.
        script = (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import numpy, av, soundfile'], check=True)"
        )
        if subprocess.run([*command, "-c", script], cwd=ROOT, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip(f"user {USER} cannot run this Python: {sys.executable} or its modules are closed to others")
