"""Texts without the secrets of addresses: what messages and files show of them."""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"
_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://(\S*)")
# A value of a query or fragment: of an address, or of the part of one that a library repeats in its error.
_VALUE = re.compile(r"([?&;#][\w.%~+-]*=)[^\s&;#]+")
_DELIMITERS = re.compile(r"[:@/?#&=;\s]")
_SECRET_NAME = re.compile(r"(PASSWORD|TOKEN|SECRET|SECRET_KEY|API_KEY|ACCESS_KEY)$", re.IGNORECASE)
# Shorter pieces of a secret are parts of ordinary words.
_SHORTEST = 3


def shown(uri: str) -> str:
    """An address without user (a token may stand there), password, and the values of its query and fragment.

    Where an `@` follows the host, a part of an unquoted password may stand in the host's place: nothing is shown.
    """
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return _VALUE.sub(rf"\1{MASK}", uri)
    host, path, query = _parts(rest)
    if not _is_file(scheme, rest):
        if "@" in path + query:
            return f"{scheme}://{MASK}"
        if "@" in host:
            host = f"{MASK}@{host.rpartition('@')[2]}"
    return f"{scheme}://{host}{path}{query[:1]}{re.sub('[^&;#?=]+(?=[&;#?]|$)', MASK, query[1:])}"


def redact(text: str) -> str:
    """`text` without the secrets of the addresses in it, nor those of the environment's addresses and passwords."""
    for name, value in os.environ.items():
        if _ADDRESS.match(value):
            text = text.replace(value, shown(value))
            secrets: list[str] = sorted(_pieces(value), key=len, reverse=True)
        else:
            secrets = [value] if _SECRET_NAME.search(name) else []
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, MASK)
    text = _ADDRESS.sub(lambda match: shown(match[0]), text)
    return _VALUE.sub(rf"\1{MASK}", text)


def _is_file(scheme: str, rest: str) -> bool:
    return rest.startswith("/") and scheme.partition("+")[0] in ("sqlite", "file")


def _parts(rest: str) -> tuple[str, str, str]:
    """What follows `://` as host with user, path, and query with fragment."""
    return re.fullmatch(r"([^/?#]*)([^?#]*)(.*)", rest, re.DOTALL).groups()


def _pieces(uri: str) -> Iterator[str]:
    """Secrets of an address, whole and in the parts that a parser may cut them into and name in its error."""
    scheme, _, rest = uri.partition("://")
    host, path, query = _parts(rest)
    user = host.rpartition("@")[0]
    if _is_file(scheme, rest):
        user = ""
    elif "@" in path + query:
        user = rest
    values = [part.partition("=")[2] or part for part in re.split("[&;#?]", query)]
    for secret in filter(None, [user, *values]):
        ends = [match.start() for match in _DELIMITERS.finditer(secret)]
        for part in (secret, *(secret[:end] for end in ends), *(secret[end + 1 :] for end in ends)):
            yield from (part, unquote(part))
        yield from filter(None, _DELIMITERS.split(secret))
