"""Damage that no size and no time of a file shows."""

import os
from pathlib import Path


def flip(path: Path, words: bytes | None = None) -> None:
    """Flip one bit of a file and give it its old time.

    Args:
        words: the bit is one of the last place that holds these bytes; None: one of the file's last value.
    """
    before, data = path.stat(), bytearray(path.read_bytes())
    place = len(data) - 4 if words is None else data.rindex(words)
    data[place] ^= 1
    path.unlink()  # a second name of the file keeps its content
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
