"""Descriptions of runs, data and models: plain values, made before MLflow is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.tracking.saved_view import View


@dataclass(frozen=True)
class RunSpec:
    """What a run is opened with; see `distill.tracking.run.start_run`.

    Attributes:
        uri: store. On disk, without its secrets.
        key: name of the run before MLflow has given it an id; a tag of the run.
        started: milliseconds since 1970.
    """

    uri: str
    root: Path
    experiment: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    state: Path | None
    shared: bool
    key: str
    started: int


@dataclass(frozen=True)
class Dataset:
    """Data that a run has read.

    Attributes:
        name: name of the data; with `digest`, what MLflow knows it by.
        digest: hash of the content; at most 36 characters.
        context: use of the data: `training`, `selection`, `validation`.
        source_type: MLflow's name of the kind of source: `local`, `hugging_face`.
        source: fields of MLflow's source of this type: {"uri": …}, {"path": …, "split": …}.
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
        name: name of DVC's experiment; None: no experiment, a plain `dvc repro`.
        params: parameters of any nesting, all that the results depend on.
        tags: tags of the parent alone.
    """

    name: str | None
    params: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Details:
    """Facts about a run that are read in the background, while the stage is at work.

    Attributes:
        params, tags: values on top of those that the run was started with, which win.
        datasets: data that the run has read.
        parent: run of the whole pipeline; None: the run stands by itself.
        view: view of the experiment's runs, saved unless the experiment has it.
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
        name: name of the registered model, of which this becomes a version.
        path: path of its folder in the project, with forward slashes.
        md5: DVC's hash of that folder. The same md5 is registered once.
        score: score by which it was chosen; higher is better.
        judged_on: name of the data and score; only scores with the same name are compared.
        tags: tags of the version.
        description: description of the version, Markdown.
        run_id: id of the run that evaluated it.
    """

    name: str
    path: str
    md5: str
    score: float
    judged_on: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    run_id: str | None = None
