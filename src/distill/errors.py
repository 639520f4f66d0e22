"""The one exception that users are meant to read."""


class UserError(Exception):
    """Something the user can mend: a parameter, a file, a combination.

    The message is one line that names the file, the field, the value and the fix. Stages print it without a
    traceback and end with exit code 2; every other exception is a bug and keeps its traceback.
    """
