"""How a command for people ends: with a code, and one line where something went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from distill.errors import UserError

#: Exit codes: done, the reader of the output has gone, something that the user can mend, stopped by Ctrl-C.
DONE, UNREAD, WRONG, STOPPED = 0, 1, 2, 130


def stop_printing() -> None:
    """After a BrokenPipeError: what is not printed yet goes nowhere. Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(main: Callable[..., int | None], *arguments: object) -> int:
    """Runs a command; returns its exit code. Any other exception than these is a bug and keeps its traceback.

    Args:
        main: the command; what it returns, where it returns anything, is the code.
    """
    try:
        code = main(*arguments)
        sys.stdout.flush()
        return code or DONE
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # `… | head` has seen enough
        stop_printing()
        return UNREAD
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return STOPPED
