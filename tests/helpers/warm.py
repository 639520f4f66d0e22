"""A `python` and a `dvc` that start at once, for tests that let DVC run many stages.

A small program of either name, first on the PATH, hands its words, folder, environment and open files to a thread of
the test process, which lets the fork server start a process that goes on as `python -m` or `python -c` would, and ends
without what modules have left to be done at exit. That process keeps the project's modules where its folder, or
PYTHONPATH, has the same code, and forgets them otherwise, so that an edit counts, and the copies that `dvc exp run
--temp` makes run their own code. Whoever kills the program kills the process, which takes those who have started the
program for its own parents.
"""

import contextlib
import os
import runpy
import select
import sys
import threading
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import recv_handle
from pathlib import Path
from types import ModuleType

import psutil

from distill.runtime.files import files_below
from tests.helpers import forkserver, micro

_PROGRAM = """#!{python} -IS
import os, sys
words = {before!r} + sys.argv[1:]
if words[:1] == ["-u"]:  # torchrun's
    del words[0]
if words[:1] not in (["-m"], ["-c"]):
    os.execv({python!r}, [{python!r}, *words])
from multiprocessing.connection import Client
from multiprocessing.reduction import send_handle
with Client({address!r}) as server:
    server.send((words, os.getcwd(), dict(os.environ), os.getpid()))
    for file in range(3):
        send_handle(server, file, None)
    code = server.recv()
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class Python:
    """Use it in a `with` statement; `path` is to stand first on the PATH."""

    def __init__(self, folder: Path):
        self.path = folder / "bin"
        self._address = str(folder / "socket")
        self._closing = False

    def __enter__(self) -> "Python":
        self.path.mkdir(parents=True)
        for name, before in (("python", []), ("dvc", ["-m", "dvc"])):
            program = self.path / name
            program.write_text(_PROGRAM.format(python=sys.executable, address=self._address, before=before))
            program.chmod(0o755)
        forkserver.launch()
        self._listener = Listener(self._address, backlog=64)
        # Daemons: nothing in here may keep the test process from ending.
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):  # somebody has cleaned the folder of the socket away
            Client(self._address).close()  # ends the wait for the next program
            self._thread.join()
        self._listener.close()
        forkserver.kill_all()

    def _serve(self) -> None:
        while program := self._listener.accept():
            if self._closing:
                return
            threading.Thread(target=_answer, args=(program,), daemon=True).start()


def _answer(program: Connection) -> None:
    """Start the process for a program, and tell it the exit code."""
    with program, contextlib.suppress(OSError):
        process = forkserver.start(_run, program)
        ends = select.poll()
        ends.register(program.fileno(), 0)  # whatever comes first: its other side is closed when the program is killed
        ends.register(process.sentinel, select.POLLIN)
        if program.fileno() in dict(ends.poll()):
            process.kill()
        program.send(forkserver.wait(process))


def _run(program: Connection) -> None:
    with program:
        (option, what, *words), folder, environment, number = program.recv()
        for file in range(3):
            received = recv_handle(program)
            os.dup2(received, file)
            os.close(received)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has put an empty one in its place
    forkserver.enter(folder, environment, [what if option == "-m" else option, *words])
    _have_parents_of(psutil.Process(number))
    asked = environment["PYTHONPATH"].split(os.pathsep) if environment.get("PYTHONPATH") else []
    home = next((place for place in (folder, *asked) if Path(place, "pipeline").is_dir()), folder)
    same = _code(Path(home)) == CODE
    sys.dont_write_bytecode = True  # Python takes code that is edited within one second, in its length, for unchanged
    for name, library in list(sys.modules.items()):
        package = name.split(".")[0]
        runs = name == what and not hasattr(library, "__path__")  # it is imported as __main__
        if package == "tests" or (package in PACKAGES and (runs or not same)):
            del sys.modules[name]
        elif package in PACKAGES:
            _move(library, home)
    sys.path[:] = [folder, *asked, *(entry for entry in sys.path if entry not in ("", *forkserver.PROJECT))]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def _code(root: Path) -> dict[str, bytes]:
    """The project's modules in a folder."""
    return {
        f"{package}/{name}": path.read_bytes()
        for package in PACKAGES.values()
        for name, path in files_below(root / package)
        if name.endswith(".py")
    }


def _move(library: ModuleType, folder: str) -> None:
    """Let a module of this working tree say, and import, what it would if it had been imported in another one."""
    root = str(micro.ROOT)
    library.__file__ = library.__file__.replace(root, folder, 1)
    if hasattr(library, "__path__"):  # a package
        library.__path__ = [place.replace(root, folder, 1) for place in library.__path__]


def _have_parents_of(program: psutil.Process) -> None:
    """Who looks for the processes that have started this one finds those that have started the program."""
    own, parents = os.getpid(), psutil.Process.parents
    psutil.Process.parents = lambda process: parents(program if process.pid == own else process)


PACKAGES = {"distill": "src/distill", "pipeline": "pipeline"}
CODE = _code(micro.ROOT)  # what the fork server has imported
