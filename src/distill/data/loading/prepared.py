"""The prepared data on disk: examples and features as memory-mapped Arrow files, tokenizer, counts.

    <folder>/meta.json                 task, tokenizers, and the splits of this folder
    <folder>/tokenizer/                the student's
    <folder>/teacher_tokenizer/        the teacher's, where it has another one
    <folder>/<split>/examples.arrow    rows in the Hugging Face SQuAD schema, or texts: id, text, text_pair, label
                                       (of words: starts, ends, tags) and, where the split's data has groups, group
    <folder>/<split>/features.arrow    columns of `distill.data.features.question_features.schema`, or of
    `text_features.schema` or `word_features.schema`, in the student's tokens
    <folder>/<split>/teacher_features.arrow    the same in the teacher's, where it has another tokenizer

Splits that trainings read (train, selection, transfer) stand in one folder, splits that scores are reported on
(validation and further ones) in another, without tokenizers: new data to report on is no new data to train on.

`distill.data.features.preparation` writes them. Reading is a module of its own, so that a change to the writer
alone retrains nothing.
"""

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from distill.data.loading.tokenizer import load as load_tokenizer
from distill.errors import UserError
from distill.runtime import json_text
from distill.runtime.checkpoints import restore
from distill.runtime.files import file_hash, tree_hash

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast


#: The split of texts without labels that students learn from.
TRANSFER = "transfer"
#: The splits that trainings read; scores are reported on all others.
TRAINED_ON = ("train", "selection", TRANSFER)


class Ragged(NamedTuple):
    """Where each feature's tokens lie in an array that holds all features one after another.

    Attributes:
        lengths: tokens per feature, int32 of shape (features,).
        offsets: first token of each feature, then the total; int64 of shape (features + 1,).
    """

    lengths: np.ndarray
    offsets: np.ndarray


class Prepared:
    """Prepared data, opened for reading.

    Args:
        folder: folder that `preparation.write` wrote.
        reported: folder of the splits that `preparation.set_apart` took out of it; None: they are not opened.

    Raises:
        UserError: a folder or meta.json is missing or damaged, or the folders are of different preparations.

    A split's file is compared with its stored hash when it is opened for the first time: a flipped bit would make
    another model, silently.
    """

    def __init__(self, folder: str | Path, reported: str | Path | None = None):
        self.folder = Path(folder)
        self._opened: dict[Path, datasets.Dataset] = {}
        self._replaced: dict[str, datasets.Dataset] = {}
        self._reader = ""
        self._folders: dict[str, Path] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._stored: dict[Path, str] = {}
        self.meta = self._read(self.folder)
        if reported is not None:
            meta = self._read(Path(reported))
            if meta.get("tokenizers") != fingerprints(self.meta):
                self._fail(Path(reported) / "meta.json", f"is of another preparation than {self.folder} (tokenizers)")
            self.meta = self.meta | meta | {"splits": self.meta["splits"] | meta["splits"]}

    def _read(self, folder: Path) -> dict[str, Any]:
        """What a folder's meta.json holds, whose splits are known from here on."""
        path = folder / "meta.json"
        try:
            meta: dict[str, Any] = json_text.parse(path.read_text(encoding="utf-8"))
            for name in ("max_length", "doc_stride"):
                if not isinstance(meta.get(name, 0), int):
                    raise ValueError(f"{name}: {meta[name]!r}")
            for split, counts in meta["splits"].items():
                self._folders[split] = folder / split
                self._sizes[split] = {"examples": counts["examples"], "features": counts["features"]}
                for name in ("examples", "features"):
                    self._stored[folder / split / f"{name}.arrow"] = counts["blake2b"][name]
                for role, entry in counts.get("readers", {}).items():
                    self._stored[folder / split / f"{role}_features.arrow"] = entry["blake2b"]
            return meta
        except FileNotFoundError:
            self._fail(path, "does not exist")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._fail(path, f"is damaged ({type(error).__name__}: {error})")

    def has_tokens_of(self, role: str) -> bool:
        """Whether a model reads tokens of its own, which are others than the student's.

        Args:
            role: `teacher`.
        """
        return role in self.meta.get("readers", {})

    def read_by(self, role: str) -> "Prepared":
        """The same data in a model's own tokens: features and tokenizer are the model's, examples are the same.

        Without tokens of its own, the data itself. Rows of texts are the same rows; windows of questions are others.
        """
        if not self.has_tokens_of(role):
            return self
        other = copy.copy(self)
        splits = {split: counts | counts["readers"][role] for split, counts in self.meta["splits"].items()}
        other.meta = self.meta | {"tokenizer": self.meta["readers"][role], "splits": splits}
        other._sizes = {
            split: {"examples": counts["examples"], "features": counts["features"]} for split, counts in splits.items()
        }
        other._reader, other._replaced = f"{role}_", {}
        return other

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """Loads the tokenizer that made the features."""
        folder = self.folder / f"{self._reader}tokenizer"
        if not (folder / "tokenizer.json").is_file():
            self._fail(folder / "tokenizer.json", "does not exist")
        if tree_hash(folder) != self.meta["tokenizer"]["blake2b"]:
            self._fail(folder, "does not have the files that the features were made with (blake2b)")
        return load_tokenizer(str(folder))

    def examples(self, split: str) -> "datasets.Dataset":
        """Opens a split's examples, memory-mapped; row i is what `example_index` i means."""
        return self._open(split, "examples")

    def features(self, split: str) -> "datasets.Dataset":
        """Opens a split's features, memory-mapped; columns as in `distill.data.features.question_features.schema`."""
        return self._replaced.get(split) or self._open(split, "features")

    @property
    def has_transfer(self) -> bool:
        """Whether there are texts without labels to learn from, split `transfer`."""
        return TRANSFER in self._sizes

    @property
    def has_labels(self) -> bool:
        """Whether any training row has a label."""
        return self._sizes["train"]["features"] > 0

    @property
    def scored_splits(self) -> list[str]:
        """The splits that models are chosen and scored on."""
        return [split for split in self._sizes if split not in ("train", TRANSFER)]

    @property
    def taught_splits(self) -> list[str]:
        """The splits of `taught_features`, in their order."""
        return [split for split in ("train", TRANSFER) if split in self._sizes]

    @property
    def main_split(self) -> str:
        """The split of training rows that trainings go by: `train`, or `transfer` where no row has a label."""
        return "train" if self.has_labels else TRANSFER

    @property
    def epoch_rows(self) -> int:
        """The features that an epoch is counted in: those of the main split; groups, where batches hold whole ones."""
        return self.meta["splits"][self.main_split].get("groups", self._sizes[self.main_split]["features"])

    @property
    def group_size(self) -> int | None:
        """Most features of a group in what is trained on (`data.loading.groups`); None: there are no groups."""
        return self.meta.get("max_passages")

    def taught_features(self) -> "datasets.Dataset":
        """The features that the teacher's outputs are of, in the order of the caches.

        Those of split `train`, followed by those of split `transfer`, where there is one; memory-mapped.
        """
        return self.with_transfer(self.features("train"))

    def with_transfer(self, features: "datasets.Dataset") -> "datasets.Dataset":
        """The features, followed by those of split `transfer`, where there is one; memory-mapped.

        Args:
            features: features with all columns that those of the splits have, such as those of split `train`.
        """
        import datasets

        if not self.has_transfer:
            return features
        return datasets.concatenate_datasets([features, self.features(TRANSFER)])

    def with_features(self, split: str, features: "datasets.Dataset") -> "Prepared":
        """The same data with other features of a split, in memory: hashes and examples stay those on disk.

        Args:
            features: as many rows as the split's own, in the same order, with the same tokens.
        """
        other = copy.copy(self)
        other._replaced = self._replaced | {split: features}
        return other

    def trained_on(self) -> str:
        """Hash of `taught_features`; artifacts made from them store it and are refused with other features."""
        train = file_hash(self.folder / "train" / "features.arrow")
        if not self.has_transfer:
            return train
        both = train + file_hash(self.folder / TRANSFER / "features.arrow")
        return hashlib.blake2b(both.encode(), digest_size=16).hexdigest()

    def ragged(self, split: str) -> Ragged:
        """Returns the layout of a split's tokens, for arrays with one entry per token."""
        lengths = self.features(split).data.column("length").to_numpy()
        return Ragged(lengths, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def _open(self, split: str, name: str) -> "datasets.Dataset":
        file = f"{self._reader}{name}" if name == "features" else name
        if split not in self._sizes:
            self._fail(
                self.folder / split / f"{file}.arrow", f"is not among the splits {', '.join(self._sizes)} of meta.json"
            )
        path = self._folders[split] / f"{file}.arrow"
        if path not in self._opened:
            self._opened[path] = self._checked(path, self._sizes[split][name])
        return copy.copy(self._opened[path])  # the caller may set its format

    def _checked(self, path: Path, expected: int) -> "datasets.Dataset":
        """The rows of a file, whose number and content are those that were written."""
        import datasets  # takes seconds to import

        try:
            dataset = datasets.Dataset.from_file(str(path))
        except FileNotFoundError:
            self._fail(path, "does not exist")
        except (pa.ArrowException, OSError, ValueError) as error:
            self._fail(path, f"is damaged ({str(error).splitlines()[0]})")
        # A stream that ends between two batches reads without an error.
        if len(dataset) != expected:
            self._fail(path, f"is cut off: {len(dataset)} rows instead of {expected}")
        if file_hash(path) != self._stored[path]:
            raise UserError(
                f"{path}: damaged: it does not have the content that was written (blake2b); {restore(path.parents[1])}"
            )
        return dataset

    def _fail(self, path: Path, problem: str) -> NoReturn:
        raise UserError(f"{path}: {problem}; run dvc repro prepare")


def fingerprints(meta: dict[str, Any]) -> dict[str, str]:
    """The fingerprint of each tokenizer that meta.json of the prepared data names, by role."""
    readers = {"student": meta["tokenizer"], **meta.get("readers", {})}
    return {role: entry["fingerprint"] for role, entry in readers.items()}
