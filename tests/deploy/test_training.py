"""The training Job's own command, on two nodes that are this machine twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.chart import ROOT, one
from tests.service.redis_server import free_port

NODES = 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("helm")
def test_the_jobs_pods_train_together(shared: Path, tmp_path: Path) -> None:
    sets = ("training.backend=gloo", "training.processesPerNode=1", "training.gpusPerNode=0", f"training.nodes={NODES}")
    job = one("Job", "training", *sets, "training.recipe=/recipes/smoke.yaml", component="training")
    container = job["spec"]["template"]["spec"]["containers"][0]
    port = free_port()
    here = {
        "/recipes/": f"{ROOT}/training/recipes/",
        "/data": str(shared / "data"),
        "/runs": str(tmp_path),
        "29500": str(port),
    }

    def local(argument: str, index: int) -> str:
        for there, path in here.items():
            argument = argument.replace(there, path)
        if argument.startswith("--master-addr="):
            argument = "--master-addr=127.0.0.1"
        return argument.replace("$(JOB_COMPLETION_INDEX)", str(index))

    ranks = []
    for index in range(NODES):
        command = [sys.executable, *container["command"][1:], *(local(each, index) for each in container["args"])]
        log = (tmp_path / f"node-{index}.log").open("wb")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ranks.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        log.close()
    statuses = [rank.wait() for rank in ranks]
    assert statuses == [0] * NODES, (tmp_path / "node-0.log").read_text()[-3000:]
    assert (tmp_path / "paper" / "best" / "config.json").is_file()
