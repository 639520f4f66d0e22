"""The one exception that users are meant to read, and what it quotes of others."""

import re


class UserError(Exception):
    """Something the user can mend: a parameter, a file, a combination.

    The message is one line that names the file, the field, the value and the fix. Stages print it without a
    traceback and end with exit code 2; every other exception is a bug and keeps its traceback.
    """


def reason(error: BaseException) -> str:
    """First sentence of another library's error, on one line: advice follows, such as to run a checkpoint's code."""
    return re.split(r"(?<!\b[A-Z])\.\s+(?=[A-Z])", " ".join(str(error).split()))[0][:300]
