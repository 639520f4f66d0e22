"""Data sets through `datasets`: of the Hugging Face hub, or local folders in its layout; never rows of another version.

`datasets` keeps what it has read by the name of the folder and, with `configs:` in README.md, not by its content: the
rows of another folder of that name, or of older files, come back silently (datasets #2956).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.data.sources.squad_json import fail, show
from distill.errors import UserError
from distill.runtime import hub
from distill.runtime.hub import COMMIT

if TYPE_CHECKING:
    import datasets

# The module of the builder that `datasets` takes where the hub cannot be reached.
_FROM_CACHE = "datasets.packaged_modules.cache.cache"


@contextmanager
def opened(name: str, subset: str | None, revision: str | None) -> Iterator[Callable[[str], datasets.Dataset]]:
    """Opens a data set; its rows can be read inside the `with` block only.

    A local folder is read afresh, into a folder of `datasets`' cache that is removed afterwards. What the hub gave is
    kept there, by its commit.

    Args:
        name: hub id ("nyu-mll/glue") or a local folder.
        subset: the data set's configuration ("sst2"), or None.
        revision: commit, tag or branch, or None.

    Yields:
        a function from a split's name in the data set to its rows. It raises a UserError where they cannot be loaded.
    """
    import datasets  # takes seconds to import, and only this source needs it

    def load(split: str, cache: str | None) -> datasets.Dataset:
        fix = (
            "check data.name, data.subset, data.revision, the split's name (data.train_split, data.validation_split)"
            " and the network, or set data.source to files"
        )
        try:
            builder = datasets.load_dataset_builder(name, subset, revision=revision, cache_dir=cache)
            problem = _other_version(builder, revision)
            if not problem:
                builder.download_and_prepare()
                with _removed_if_damaged(builder):
                    hub.verify(name, revision, "dataset", "data.name")
                return builder.as_dataset(split=split)
            trouble = hub.explain(LookupError(problem), name, revision, "dataset")
        except UserError:
            raise
        except Exception as error:
            # A missing data set, a bad revision, a broken file and a dead network each raise another library's
            # exception.
            hub.verify(name, revision, "dataset", "data.name")
            trouble = hub.explain(error, name, revision, "dataset")
            problem = f"cannot be loaded ({_reason(error)})"
        if trouble:
            problem = f"cannot be loaded ({trouble.what})"
            fix = f"{trouble.fix}, or check data.name, data.revision and the network"
        fail(place(name, revision, split), "data.name", problem, fix)

    if not Path(name).is_dir():
        yield lambda split: load(split, None)
        return
    with _folder_in(Path(datasets.config.HF_DATASETS_CACHE)) as cache:
        yield lambda split: load(split, cache)


@contextmanager
def _removed_if_damaged(builder: datasets.DatasetBuilder) -> Iterator[None]:
    """Removes the rows that `datasets` has made of damaged files, and would take again without the files."""
    try:
        yield
    except UserError:
        shutil.rmtree(builder.cache_dir, ignore_errors=True)
        raise


def _folder_in(cache: Path) -> tempfile.TemporaryDirectory:
    """A folder that is removed at the end, on the disk that the user has chosen for data sets."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="local-", dir=cache)
    except OSError as error:
        fix = "set HF_DATASETS_CACHE to a folder that can be written"
        fail(str(cache), "the cache of datasets", f"cannot be written ({error.strerror})", fix)


def place(name: str, revision: str | None, split: str) -> str:
    """The name of a split in messages."""
    return f"dataset {name}, revision {revision or 'default'}, split {split}"


def _other_version(builder: Any, revision: str | None) -> str:
    """What is wrong with rows that come from the cache because the hub cannot be reached; "" where nothing is.

    The cache has one folder per version; that of the hub is a commit, that of a local folder is a shorter hash.
    """
    if type(builder).__module__ != _FROM_CACHE:
        return ""
    if not COMMIT.fullmatch(builder.hash):
        return "cannot be reached, and the cache of datasets has rows of a local folder of that name"
    if revision and COMMIT.fullmatch(revision) and builder.hash != revision:
        return f"cannot be reached, and the cache of datasets has revision {builder.hash}, not data.revision"
    return ""


def _reason(error: BaseException) -> str:
    """The cause in one line: `datasets` itself says no more than that an error occurred."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    text = (str(error).splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {show(text)[1:-1] if len(text) > 200 else text}"
