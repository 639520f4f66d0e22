"""Section `data` of params.yaml: where examples come from, and how they are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distill.config.schema import ClassName, Count, Section, Seed

#: data.mismatched, data.selection and data.transfer (with it, data.train too) where there is no such file: DVC needs a
#: file that exists.
NO_FILE = "data/none"
#: The splits with a parameter of their own; data.extra names others.
SPLITS = ("train", "validation", "mismatched", "selection", "transfer")
#: data.group where the texts themselves make the groups, and what begins the name of a column in any case.
BY_TEXTS, COLUMN = "texts", "column:"


def parameter(split: str, source: str = "files") -> str:
    """The parameter that names a split: data.train, data.train_split (source hub), data.extra.reviews."""
    if split not in SPLITS:
        return f"data.extra.{split}"
    return f"data.{split}_split" if source == "hub" else f"data.{split}"


def embedded_file(corpus: str, split: str) -> str:
    """A file of the embedded corpus, relative to its folder: of the questions, or of one of their siblings.

    Args:
        corpus: a value of data.embedded.
        split: train or validation.
    """
    if corpus == "questions":
        return f"{split}.json"
    return f"{corpus}/{split}.{'jsonl' if corpus in ('entities', 'topics', 'passages') else 'tsv'}"


class Data(Section):
    """Where examples come from, which columns of texts are read, and how the selection split is carved out of train."""

    source: Literal["embedded", "files", "hub"]
    embedded: Literal["questions", "sentences", "pairs", "similarity", "topics", "entities", "passages"]
    train: str
    validation: str
    mismatched: str
    transfer: str
    selection: str
    extra: dict[str, str]
    name: str | None
    subset: str | None
    revision: str | None
    train_split: str
    validation_split: str
    mismatched_split: str | None
    transfer_split: str | None
    selection_split: str | None
    version_2_with_negative: bool
    text: str
    text_pair: str | None
    label: str
    label_separator: Annotated[str, Field(min_length=1)]
    labels: list[ClassName] | None
    id: str | None
    strip_html: bool
    group: str | None
    selection_fraction: Annotated[float, Field(gt=0, lt=1)]
    max_train_context: Count | None
    max_passages: Annotated[int, Field(ge=2)]
    max_train_examples: Count | None
    max_transfer_examples: Count | None
    max_selection_examples: Count | None
    max_validation_examples: Count | None
    seed: Seed

    @model_validator(mode="after")
    def _hub_needs_a_name(self) -> Data:
        if self.source == "hub" and not self.name:
            raise ValueError("source is 'hub' but name is empty: set data.name, e.g. rajpurkar/squad_v2")
        return self

    @property
    def has_labels(self) -> bool:
        """Whether any row is there to train on with its label."""
        return self.source != "files" or self.train != NO_FILE

    @property
    def has_transfer(self) -> bool:
        """Whether there are texts without labels to learn from."""
        return "transfer" in self.splits()

    @property
    def group_column(self) -> str | None:
        """The column whose values make groups; None: groups are made by the texts, or there are none."""
        return None if self.group in (None, BY_TEXTS) else self.group.removeprefix(COLUMN)

    def extra_scores(self, metric: str) -> tuple[str, ...]:
        """Names of a score of the splits in `extra`, in order."""
        return tuple(f"{split}_{metric}" for split in self.extra)

    def splits(self) -> dict[str, str]:
        """What is read, by the split's name here, training first: files, or names of the hub's splits (source hub).

        Without "train" where no row has a label to train on.
        """
        if self.source == "hub":
            named = {split: getattr(self, f"{split}_split") for split in SPLITS}
        else:
            named = {split: getattr(self, split) for split in SPLITS}
        return {split: name for split, name in named.items() if name not in (None, NO_FILE)} | self.extra
