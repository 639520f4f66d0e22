"""Code that runs in two processes which train together."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tests.helpers import forkserver, micro

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
    """Run code in two processes, with what torchrun would tell them.

    Args:
        code: comes after `BEGIN`, whose names it may use.
    """
    from accelerate.utils.other import get_free_port

    environment = micro.environment(WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=str(get_free_port()))
    forkserver.launch()
    with tempfile.TemporaryDirectory() as folder:
        started = [
            forkserver.start(_run, code, environment | {"RANK": rank, "LOCAL_RANK": rank}, Path(folder))
            for rank in ("0", "1")
        ]
        try:
            assert all(forkserver.has_ended(process, 120) for process in started), "they wait for one another"
        finally:
            for process in started:
                process.kill()
        return [
            subprocess.CompletedProcess(
                "",
                forkserver.wait(process),
                *((Path(folder) / f"{name}-{rank}").read_text() for name in ("out", "err")),
            )
            for rank, process in enumerate(started)
        ]


def _run(code: str, environment: dict[str, str], folder: Path) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / f"{name}-{environment['RANK']}", os.O_WRONLY | os.O_CREAT), number)
    forkserver.enter(str(folder), environment, ["-c"])
    exec(BEGIN + code, {"__name__": "__main__"})


def told(code: str) -> list:
    """What each of the two processes passed to `tell`, which ends them."""
    ended = run(code)
    assert [each.returncode for each in ended] == [0, 0], "\n".join(each.stderr for each in ended)
    return [json.loads(each.stdout) for each in ended]
