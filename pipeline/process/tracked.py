"""Details of a stage's MLflow run that its result does not depend on: for people who browse and compare runs.

Nothing here changes a result, and no stage depends on this file. A run belongs to the pipeline's parent run: that of
the DVC experiment, else of the Git commit, with the parameters that count. It carries tags to search by, and the data
that it read; an evaluation also carries the parameters that its model was made with, so that Compare shows them beside
the scores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.config.data import embedded_file
from distill.config.params import Params
from distill.config.values import pick, sections
from distill.runtime import json_text
from distill.tracking.records import Dataset, Details, Parent
from distill.tracking.saved_view import View
from pipeline.process.hashes import dvc_md5

#: Larger outputs, such as weights, are linked by path and md5 and not copied.
ARTIFACT_BYTES = 20_000_000
#: The table of all evaluations, with the scores of every task.
SCORES = View(
    "scores",
    "Scores",
    "tags.stage = 'evaluate'",
    "method",
    ("method", "seed"),
    ("em", "f1", "accuracy", "mcc", "pearson", "spearman", "micro_f1", "ndcg_10"),
)
_CORPUS = Path("data/raw/atlas")
# Sections that change no result.
_MACHINE = ("runtime", "tracking")
# Kind of stage -> split that it reads -> use of the split. Stages that train score on the selection split.
_FURTHER = "further"  # mismatched, and those of data.extra
_TRAINING = {"train": "training", "selection": "selection"}
_TAUGHT = {"transfer": "training"}  # without labels, by what the teacher says of them
_SPLITS = {
    **dict.fromkeys(("finetune", "train"), _TRAINING),
    "distill": _TRAINING | _TAUGHT,
    **dict.fromkeys(("predict", "retrieve"), {"train": "training"} | _TAUGHT),
    "augment": {"train": "training"},
    # Not the selection split, though thresholds are tuned on it: MLflow's table shows one of a run's data sets.
    "evaluate": {"validation": "validation", _FURTHER: "validation"},
    "summarize": {"validation": "validation", _FURTHER: "validation"},
    "cost": {"validation": "validation"},
    "export": {"validation": "validation"},
}


def curve_name(name: str) -> str:
    """`selection_f1` → `selection/f1`, `kl` → `train/kl`: MLflow draws the curves of a prefix in one group."""
    scored = name.startswith("selection_")
    return f"selection/{name.removeprefix('selection_')}" if scored else f"train/{name}"


def details(name: str, tags: Mapping[str, Any], params: Params, prepared: Sequence[Path]) -> Details:
    """Parameters, tags and data sets of a stage's run, besides the stage's own parameters and tags.

    Args:
        name: name of the stage.
        tags: tags of the stage: `method`, `role`, `seed`, as far as they apply.
        params: all parameters.
        prepared: folders of the prepared data that the stage reads.
    """
    kind = kind_of(name)
    method = tags.get("method")
    more = {"stage": kind, "task": params.task}
    if kind in _SPLITS:
        more["split"] = "validation" if "validation" in _SPLITS[kind] else "train"
    made_with, names = {}, [tags["role"]] if "role" in tags else []
    if method in params.sections:
        more["role"] = "student"
        params, names = params.resolved(method), ["distill", params.method_of(method)]
        if names[1] != method:
            more["variant_of"] = names[1]
    if kind == "evaluate":
        made_with = dict(pick(params, names))
        made_with |= {key: tags[key] for key in ("seed",) if key in tags}
    datasets = tuple(found for folder in prepared for found in _datasets(params, _SPLITS.get(kind, {}), folder))
    return Details(made_with, more, datasets, parent(params), SCORES)


def kind_of(name: str) -> str:
    """`evaluate_filtered@ted-1` → `evaluate`."""
    return re.split("[_@]", name, maxsplit=1)[0]


def parent(params: Params) -> Parent:
    """The run of the whole pipeline, with all parameters but those of the machine and of methods that are not run."""
    listed = [*params.methods, *params.ensemble.members, *(name for name in sections(params) if name not in _MACHINE)]
    tags = {"stage": "pipeline", "task": params.task}
    return Parent(os.environ.get("DVC_EXP_NAME"), pick(params, listed), tags)


def _datasets(params: Params, splits: Mapping[str, str], prepared: Path) -> Iterator[Dataset]:
    import pyarrow as pa  # loaded already where there is prepared data

    meta = json_text.parse((prepared / "meta.json").read_text(encoding="utf-8"))
    for split in meta["splits"]:
        context = splits.get(split if split in ("train", "transfer", "selection", "validation") else _FURTHER)
        counts, file = meta["splits"][split], prepared / split / "examples.arrow"
        if context is None or not counts["examples"]:  # without any label there is no row of train
            continue
        with pa.memory_map(str(file)) as opened:
            schema = pa.ipc.open_stream(opened).schema
        origin, kind, source = _source(params, split)
        yield Dataset(
            name=f"{origin}/{split}",
            digest=dvc_md5(file),  # its name in DVC's cache
            context=context,
            source_type=kind,
            source=source,
            columns={field.name: str(field.type) for field in schema},
            counts={"num_rows": counts["examples"], "features": counts["features"]},
        )


def _source(params: Params, split: str) -> tuple[str, str, dict[str, Any]]:
    """Where a split comes from: a name, and MLflow's type and description of the source."""
    data = params.data
    part = split if split in data.splits() else "train"  # out of which the selection split is carved
    if data.source == "hub":
        source = {"path": data.name, "config_name": data.subset, "revision": data.revision}
        origin = "/".join(filter(None, (data.name, data.subset)))
        return origin, "hugging_face", source | {"split": data.splits()[part]}
    if data.source == "files":
        path = Path(data.splits()[part])
        return path.parent.name or path.stem, "local", {"uri": path.as_posix()}
    file = _CORPUS / embedded_file(data.embedded, part)
    return f"{_CORPUS.name}/{data.embedded}", "local", {"uri": file.as_posix()}
