"""A `python` that starts stages at once, for tests that let DVC run many of them.

A server imports the libraries (torch, transformers, MLflow ...) once. A small program named `python`, first on the
PATH, hands its words, folder, environment and open files to the server, which forks a process that goes on as
`python -m <module>` would. Nothing of the project is imported in advance: each process reads the code of the folder it
was started in, so that an edit counts, and the copies that `dvc exp run --temp` makes run their own code.
"""

import array
import importlib
import json
import os
import runpy
import select
import signal
import socket
import stat
import subprocess
import sys
import traceback
from pathlib import Path

from tests.helpers import micro

LIBRARIES = (
    "accelerate",
    "datasets",
    "evaluate",
    "filelock",
    "mlflow.tracking",
    "psutil",
    "pydantic",
    "safetensors.torch",
    "transformers.models.deberta_v2.modeling_deberta_v2",
    "transformers.trainer",
)
_OWN = (str(micro.ROOT), str(micro.ROOT / "src"))
_CLIENT = """#!{python} -IS
import array, json, os, socket, sys
words = sys.argv[1:]
if words[:1] != ["-m"]:
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([words[1:], os.getcwd(), dict(os.environ)]).encode()
files = array.array("i", [0, 1, 2])
server.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
server.sendall(request)
code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


class Python:
    """Use it in a `with` statement; `path` is to stand first on the PATH."""

    def __init__(self, folder: Path):
        self.path = folder / "bin"
        self._address = str(folder / "socket")

    def __enter__(self) -> "Python":
        self.path.mkdir(parents=True)
        client = self.path / "python"
        client.write_text(_CLIENT.format(python=sys.executable, address=self._address))
        client.chmod(client.stat().st_mode | stat.S_IXUSR)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from tests.helpers import warm; warm.serve(sys.argv[1])",
                self._address,
            ],
            cwd=micro.ROOT,
            env=micro.environment(PYTHONPATH=os.pathsep.join(_OWN)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait(30)


def serve(address: str) -> None:
    """Fork a process for each client, until stdin is closed."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] in ("distill", "pipeline", "tests")]:
        del sys.modules[name]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        while sys.stdin not in (waiting := select.select([listening, sys.stdin], [], [], 1)[0]):
            if waiting:
                client = listening.accept()[0]
                if os.fork() == 0:
                    listening.close()
                    _run(client)
                client.close()
            while _reaped():
                pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _run(client: socket.socket) -> None:
    code = 1
    try:
        size, files, _, _ = client.recvmsg(4, socket.CMSG_SPACE(12))
        numbers = array.array("i")
        numbers.frombytes(files[0][2])
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += client.recv(1 << 16)
        (module, *words), folder, environment = json.loads(text)
        for target, number in enumerate(numbers):
            os.dup2(number, target)
            os.close(number)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = [folder, *(entry for entry in sys.path if entry not in ("", *_OWN))]
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(bytes([code]))
    os._exit(code)
