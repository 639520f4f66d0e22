"""Stage inputs: check all parameters, and write down what the names in them stand for. `python -m pipeline inputs`

DVC runs it every time, and every other stage comes after it: so bad values are refused before anything is deleted or
trained, and a model or data folder whose files were replaced is another input than before. The same goes for the names
in `methods`: their settings and their code.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from distill.config import references
from distill.config.data_checks import EMBEDDED
from distill.config.params import Params
from distill.config.references import Reference, roles
from distill.config.variants import NAME
from distill.errors import UserError
from distill.methods import registry, requirements
from distill.runtime import hub
from distill.runtime.files import tree_hash
from distill.tasks.registry import load_task
from pipeline.launch.run import run_stage
from pipeline.stage import definition, origins, paths
from pipeline.stage.stage import Stage

#: Sections of trainings that are scored on the selection split, but for those of methods.
TRAININGS = ("teacher", "student", "assistant", "teacher_filters", "student_filters")


def main() -> None:
    params = paths.params(pinned=False)
    load_task(params.task, params.evaluate.metric)  # refuses a score that the task does not have
    listed = references.references(params)
    local = {reference.field: reference.name for reference in listed if reference.path} | references.files(params)
    refuse_outputs(local)
    with Stage(definition.define("inputs"), params, tracked=False) as stage:
        for field, name in references.files(params).items():
            # Stage corpus, which comes after this one, writes its own.
            if not Path(name).exists() and os.path.abspath(name) not in corpus_files():
                raise UserError(absent(field, name))
        if removed := remove_leftovers():
            stage.say("removed", f"{removed} files of students that params.yaml does not list")
        for role in roles(params):
            before = origins.read(role)
            entries = {item.field: resolve(item, before.get(item.field)) for item in listed if item.role == role}
            for field, entry in entries.items():
                stage.say("named", f"{field}: {entry['name']} ({describe(entry)})")
            stage.write_json(origins.file(role), entries)
        write_methods(stage, params)
        write_metrics(stage, params)
        remove_others(origins.MEMBERS, params.ensemble.members)
        (origins.MEMBERS / ".gitkeep").touch()  # git keeps no empty folder, and a clone would lack an output


def write_methods(stage: Stage, params: Params) -> None:
    """Write down what each listed name stands for, and remove the files of names that are no longer listed."""
    needs = {name: requirements.deciding(name, params) for name in params.methods}
    needs |= requirements.deciding_models(params)
    stage.write_json(origins.NEEDS, needs)
    metrics = chosen_by(params)
    for name in params.methods:
        code = paths.METHODS / f"{params.method_of(name)}.py"
        stage.write_json(
            origins.method_file(name),
            {
                "method": params.method_of(name),
                "settings": params.sections[name].model_dump(),
                "metric": metrics[name],
                "code": {"name": code.as_posix(), "content": tree_hash(code)},
            },
        )
    remove_others(origins.METHODS, params.methods)


def write_metrics(stage: Stage, params: Params) -> None:
    """Write down by which score trainings other than those of methods choose their weights; null: by none."""
    trainings = [*TRAININGS, *params.members]
    metrics = chosen_by(params)
    for name in trainings:
        stage.write_json(origins.CHOSEN_BY / f"{name}.json", {"metric": metrics[name]})
    remove_others(origins.CHOSEN_BY, trainings)


def chosen_by(params: Params) -> dict[str, str | None]:
    """Section of a training, member or listed name → evaluate.metric where a score chooses its weights; else None."""
    chooses = {name: getattr(params, name).chooses for name in TRAININGS}
    chooses |= {name: member.chooses for name, member in params.members.items()}
    chooses |= {name: registry.load(params.method_of(name)).chooses(params.resolved(name)) for name in params.methods}
    return {name: params.evaluate.metric if chosen else None for name, chosen in chooses.items()}


def remove_others(folder: Path, names: list[str]) -> None:
    """Remove the files of a folder that belong to none of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in names and path.name != ".gitkeep":
            path.unlink()


def resolve(reference: Reference, before: origins.Entry | None) -> origins.Entry:
    """What a reference stands for: the content of a folder, or a commit of the hub.

    Args:
        reference: The parameter.
        before: What it stood for last time. Holds where the folder is not on this machine, as DVC takes dependencies
            that are missing with `--allow-missing`: no stage that reads the folder can run here.

    Raises:
        UserError: There is no such folder, and no such repository.
    """
    if reference.path:
        return {"name": reference.name, "content": tree_hash(reference.path)}
    if before and before.get("name") == reference.name and "content" in before:
        return before
    if message := untracked(reference.field, reference.name):
        raise UserError(message)
    commit = hub.commit(reference.name, reference.revision, reference.kind, reference.field)
    return {"name": reference.name, "commit": commit}


def describe(entry: origins.Entry) -> str:
    if "commit" in entry:
        return f"commit {entry['commit'][:10]} of the hub"
    here = "" if Path(entry["name"]).exists() else ", which is not on this machine"
    return f"content {entry['content'][:10]}{here}"


def absent(field: str, name: str) -> str:
    """An error for a data file that is not there."""
    return untracked(field, name) or f"params.yaml: {field}: {name}: no such file: correct it"


def untracked(field: str, name: str) -> str | None:
    """An error for what the workspace has and a copy of it lacks; None where this is no copy, or both lack it."""
    root = os.environ.get("DVC_ROOT")
    if root is None or Path(root).resolve() == Path.cwd() or not (Path(root) / name).exists():
        return None
    return (
        f"params.yaml: {field}: {name}: the workspace has it, but neither Git nor DVC tracks it, so this copy of"
        f" the workspace (--temp, --queue) lacks it: `dvc add {name}` and commit {name}.dvc, or give an absolute path"
    )


def corpus_files() -> set[str]:
    """Absolute paths of the files that stage corpus writes."""
    corpora = [name for names in EMBEDDED.values() for name in names]
    files = [paths.corpus_file(name, split) for name in corpora for split in ("train", "validation")]
    return {os.path.abspath(file) for file in (*files, paths.ANNOTATOR)}


def refuse_outputs(local: dict[str, str]) -> None:
    """Raises UserError where a file or folder of the user's lies in an output, which DVC deletes before a stage runs.

    The embedded corpus may be read as files.
    """
    corpus = corpus_files()
    outputs = [Path(os.path.abspath(output)) for output in definition.outputs()]
    for field, name in local.items():
        path = Path(os.path.abspath(name))
        shared = [folder for folder in outputs if path.is_relative_to(folder) or folder.is_relative_to(path)]
        if shared and str(path) not in corpus:
            raise UserError(
                f"params.yaml: {field}: {name}: shares a folder with {os.path.relpath(shared[0])}, an output of the"
                " pipeline, which DVC deletes and makes anew: move your files elsewhere, e.g. to data/raw/mine"
            )


#: Folders that summarize reads as a whole, and the names of a student's or a member's files in them.
SHARED = ("data/predictions", "data/runs", "data/samples", "metrics/curves", "metrics/runs")
STUDENTS = re.compile(
    rf"((distill|evaluate)-)?{NAME.pattern}-\d+\..+|((finetune|predict|evaluate)_)?member-{NAME.pattern}\..+"
)


def remove_leftovers() -> int:
    """Removes files of methods, seeds and members that are listed no longer from the folders that summarize reads.

    DVC leaves them, and would record them with the summary: a clone, which lacks them, would have another one.

    Returns:
        Number of files. DVC's cache keeps their content.
    """
    outputs = set(definition.outputs())
    files = [file for folder in SHARED for file in Path(folder).glob("*") if STUDENTS.fullmatch(file.name)]
    leftovers = [file for file in files if file not in outputs]
    for file in leftovers:
        file.unlink()
    return len(leftovers)


if __name__ == "__main__":
    run_stage(main)
