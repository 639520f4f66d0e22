"""What went wrong between this machine and the Hugging Face hub, in words: other libraries bury it under their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Trouble(NamedTuple):
    """What happened, and what to do about it.

    Attributes:
        what: `the hub does not answer in time`.
        fix: Advice.
        final: The hub has answered: an older download is not what was asked for.
    """

    what: str
    fix: str
    final: bool


def explain(error: BaseException, name: str, revision: str | None, kind: str) -> Trouble | None:
    """The cause of an error that `huggingface_hub`, `transformers` or `datasets` has raised; None: not the hub's.

    Their own messages name what they tried last ("no file named pytorch_model.bin"), and the hub's answer stands among
    the errors that they handled before.

    Args:
        name, revision, kind: The repository that was asked for.
    """
    from huggingface_hub import constants, errors

    chain = list(_chain(error))

    def first(*types: type[BaseException]) -> BaseException | None:
        return next((item for item in chain if isinstance(item, types)), None)

    if first(errors.HFValidationError):
        return Trouble("no such folder, and no id of the hub (user/name)", "correct it", True)
    if gated := first(errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if gated.response.status_code == 403:
            what, fix = "and has not given this token's user access", f"ask for it on {page}"
        else:
            what, fix = "and knows no token here", f"accept them on {page}, then `hf auth login`, or set HF_TOKEN"
        return Trouble(f"the hub asks for consent to its terms, {what}", fix, True)
    if first(errors.RevisionNotFoundError):
        return Trouble(f"the hub has it, but not at revision {revision!r}", "correct the revision", True)
    if first(errors.RepositoryNotFoundError):
        fix = "correct it; a private one needs `hf auth login`, or HF_TOKEN"
        return Trouble(f"no such folder here, and no such {kind} on the hub", fix, True)
    for item in chain:
        status = getattr(getattr(item, "response", None), "status_code", 0)
        if status in (401, 403):
            return Trouble(f"the hub refuses this token ({status})", "`hf auth login`, or set another HF_TOKEN", True)
        if status == 429 or status >= 500:
            return Trouble(f"the hub answers with {status}", "run the same command later", False)
    if broken := next((item for item in chain if str(item).startswith("Consistency check failed")), None):
        return Trouble(f"a file came cut off ({line(broken)})", "run the same command again", False)
    if first(errors.OfflineModeIsEnabled) or (constants.HF_HUB_OFFLINE and first(errors.LocalEntryNotFoundError)):
        return Trouble("HF_HUB_OFFLINE is set", "unset it once, and all that is read is downloaded", False)
    for item in chain:
        names = {of.__name__ for of in type(item).__mro__}  # of httpx, or of requests in older releases
        if names & {"TimeoutException", "Timeout", "TimeoutError"}:
            more = "or give it longer: HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_ETAG_TIMEOUT (seconds)"
            return Trouble("the hub does not answer in time", f"run the same command again, {more}", False)
        if names & {"TransportError", "RequestError", "RequestException"}:
            return Trouble(
                f"the hub cannot be reached, or broke off ({line(item)})", "run the same command again, online", False
            )
    if first(errors.LocalEntryNotFoundError):
        return Trouble("the hub cannot be asked", "run the same command again, online", False)
    return None


def line(error: BaseException) -> str:
    """An error's text on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        item = todo.pop(0)
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        todo += [item.__cause__, item.__context__]
