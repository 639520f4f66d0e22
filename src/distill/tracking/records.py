"""What a run is described with besides its name: plain values, known before MLflow is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.tracking.saved_view import View


@dataclass(frozen=True)
class Dataset:
    """Data that a run has read.

    Attributes:
        name: with `digest`, what MLflow knows the data by.
        digest: of the content; at most 36 characters.
        context: what for: `training`, `selection`, `validation`.
        source_type: as MLflow names sources: `local`, `hugging_face`.
        source: what MLflow's source of this type is made of: {"uri": …}, {"path": …, "split": …}.
        columns: name → type.
        counts: name → number; `num_rows` is the one that MLflow shows.
    """

    name: str
    digest: str
    context: str
    source_type: str
    source: Mapping[str, Any]
    columns: Mapping[str, str]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Parent:
    """The run of a whole pipeline, below which MLflow shows those of its stages.

    It is known by its name, the Git commit and its params: stages that agree in all three share it, whichever process
    comes first, and those that run again later join it. Other params at the same commit make another one.

    Attributes:
        name: DVC's experiment; None: no experiment, a plain `dvc repro`.
        params: any nesting, all that the results hang on.
        tags: of the parent alone.
    """

    name: str | None
    params: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Details:
    """All that is found out about a run in the background, while the stage is at work.

    Attributes:
        params, tags: on top of those that the run was started with, which win.
        datasets: what it has read.
        parent: None: the run stands by itself.
        view: how the experiment's runs are shown, if nobody has said so yet.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    parent: Parent | None = None
    view: View | None = None


@dataclass(frozen=True)
class Champion:
    """A model to be registered as the best one. Its files stay where DVC keeps them.

    Attributes:
        name: of the registered model, of which this becomes a version.
        path: of its folder in the project, with forward slashes.
        md5: DVC's, of that folder. The same md5 is registered once.
        score: by which it was chosen; higher is better.
        judged_on: what the score is of, so that no two scores of different things are compared.
        tags: of the version.
        description: of the version, Markdown.
        run_id: of the run that evaluated it.
    """

    name: str
    path: str
    md5: str
    score: float
    judged_on: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    run_id: str | None = None
