"""Code that runs in two processes which train together."""

import json
import os
import subprocess
import sys

from tests.helpers import micro

BEGIN = """
import json, os, sys, time
from datetime import timedelta
from distill.runtime import distributed
distributed.join()
from torch import distributed as of_torch
def impatient():  # as a training is after half an hour
    of_torch.distributed_c10d._set_pg_timeout(timedelta(seconds=1), of_torch.group.WORLD)
def tell(value):
    distributed.leave()  # who ends without it may be ended by an error of gloo's
    print(json.dumps(value))
"""


def run(code: str) -> list[subprocess.CompletedProcess]:
    """Run code in two processes, as torchrun would start them.

    Args:
        code: comes after `BEGIN`, whose names it may use.
    """
    from accelerate.utils.other import get_free_port

    paths = os.pathsep.join([str(micro.ROOT / "src"), str(micro.ROOT)])
    environment = micro.environment(
        PYTHONPATH=paths, WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=str(get_free_port())
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + code],
            env=environment | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        ended = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        subprocess.CompletedProcess("", process.returncode, *texts)
        for process, texts in zip(started, ended, strict=True)
    ]


def told(code: str) -> list:
    """What each of the two processes passed to `tell`, which ends them."""
    ended = run(code)
    assert [each.returncode for each in ended] == [0, 0], "\n".join(each.stderr for each in ended)
    return [json.loads(each.stdout) for each in ended]
