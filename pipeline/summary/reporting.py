"""The report of a run: metrics/report.html, metrics/report.md and metrics/plots/, made by stage summarize.

`python -m pipeline.commands.report` makes the page from the metrics files, with sweeps and exports that were made after
the run, without DVC. It writes beside DVC's own pages, so that the page that DVC keeps stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from distill import provenance
from distill.config.params import Params
from distill.config.values import flatten, pick, sections
from distill.errors import UserError
from distill.report import page, plot_data
from distill.report.results import FINE_TUNED, Results
from distill.runtime import csv_files, json_files
from distill.tasks import extra_metrics
from distill.tasks.registry import load_task
from pipeline.process import git
from pipeline.process.hashes import dvc_md5
from pipeline.stage import definition, paths
from pipeline.stage.stage import Stage
from pipeline.summary import contents, looks, spent
from pipeline.summary.runs import baselines

HTML, MARKDOWN, PLOTS = paths.METRICS / "report.html", paths.METRICS / "report.md", paths.METRICS / "plots"
TABLES = {name: PLOTS / f"{name}.csv" for name in plot_data.COLUMNS}
#: What `write` writes.
OUTPUTS = [HTML, MARKDOWN, *TABLES.values()]
DISAGREEMENTS = Path("data/disagreements.json")
# Paths that a result depends on besides the data.
_CODE = ("params.yaml", "dvc.yaml", "pipeline", "src")
_DATA = (paths.PREPARED, paths.REPORTED)


def write(
    stage: Stage,
    params: Params,
    summary: Mapping[str, Any],
    analysis: Mapping[str, Any],
    training: Mapping[str, Any],
    disagreements: Mapping[str, Any],
    confirm: Mapping[str, Any],
) -> None:
    """Write the report and the tables behind DVC's plots, as outputs of `stage`.

    Args:
        summary, analysis, training, confirm: contents of the files of these names in metrics/.
        disagreements: content of data/disagreements.json.
    """
    results = gather(params, summary, analysis, training, disagreements, confirm)
    texts = {HTML: page.html(results), MARKDOWN: page.markdown(results)}
    for path, text in texts.items():
        (stage.scratch / path.name).write_text(text, encoding="utf-8")
        stage.publish(stage.scratch / path.name, path)
    for name, table in plot_data.tables(results).items():
        csv_files.write_frame(table, stage.scratch / f"{name}.csv")
        stage.publish(stage.scratch / f"{name}.csv", TABLES[name])


def gather(
    params: Params,
    summary: Mapping[str, Any],
    analysis: Mapping[str, Any],
    training: Mapping[str, Any],
    disagreements: Mapping[str, Any],
    confirm: Mapping[str, Any],
    later: bool = False,
) -> Results:
    """What the report is made of: the arguments, and the files in metrics/ of the methods and seeds of `params`.

    Args:
        later: whether to include sweeps and exports, which are made after the run: no stage's page may depend on them.
    """
    task = load_task(params.task, params.evaluate.metric)
    labels = [
        *FINE_TUNED,
        *(paths.label(method, seed) for method in params.methods for seed in params.seeds_of(method)),
    ]
    metrics = paths.METRICS
    curves = {
        method: {
            seed: contents.curves(path)
            for seed in params.seeds_of(method)
            if (path := metrics / "curves" / f"{method}-{seed}.csv").is_file()
        }
        for method in params.methods
    }
    runs = {
        label: scores
        for label in labels
        if (scores := contents.read(metrics / "runs" / f"{label}.json", json_files.NUMBERS))
    }
    filters = {role: contents.read(metrics / "filters" / f"{role}.json", contents.FILTERS) for role in FINE_TUNED}
    return Results(
        metric=task.main_metric,
        shown=(*task.shown, *params.data.extra_scores(task.main_metric)),
        extra=extra_metrics.names_of(runs.values(), params.evaluate.extra),
        baseline=params.compare.baseline,
        also=tuple(baselines(params, params.methods)[1:]),
        confidence=params.compare.confidence,
        summary=summary,
        confirm=confirm,
        analysis=analysis,
        training=training,
        disagreements=disagreements,
        cost=contents.cost(metrics / "cost.json"),
        samples={method: sample for method in params.methods if (sample := _sample(method, params))},
        runs=runs,
        curves={method: seeds for method, seeds in curves.items() if seeds},
        filters={role: scores for role, scores in filters.items() if scores},
        **(_later(params) if later else {}),
        looks=looks.history(params, summary),
        settings=_settings(params),
        commands={name: command for name, command in _commands(params).items() if name in summary},
        about=_about(params),
    )


def _sample(method: str, params: Params) -> list[dict[str, Any]]:
    """The changed texts of a method's first seed."""
    return contents.sample(paths.sample(method, params.seeds[0]))


def _later(params: Params) -> dict[str, Any]:
    """Sweeps, a search under a budget, and the exports that params.yaml asks for.

    Raises:
        UserError: a sweep's file is broken.
    """
    sweeps = {}
    for path in sorted((paths.METRICS / "sweeps").glob("*.csv")):
        try:
            sweeps[path.stem] = pd.read_csv(path, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: {error}: run `python -m pipeline.commands.sweep` again, or remove the file"
            ) from None
    labels = [paths.label(method, seed) for method in params.export.methods for seed in params.export.seeds]
    files = {label: paths.METRICS / "export" / f"{label}.json" for label in labels}
    exports = {label: contents.read(path) for label, path in files.items() if path.is_file()}
    return {"sweeps": sweeps, "exports": exports, "budget": contents.read(paths.METRICS / "budget.json")}


def _settings(params: Params) -> dict[str, Any]:
    """Every parameter, those of methods that are not run left out."""
    return flatten(pick(params, [*sections(params), *params.methods, *params.ensemble.members]))


def _commands(params: Params) -> dict[str, str]:
    """The command that reproduces each row of the summary."""
    commands = {role: f"dvc repro evaluate_{role}" for role in FINE_TUNED}
    for method in params.methods:
        stage, seeds = f"evaluate@{method}", params.seeds_of(method)
        commands[method] = f"dvc repro {stage}-{seeds[0]}" if len(seeds) == 1 else f"dvc repro --glob '{stage}-*'"
        if seeds != params.seeds:
            commands[method] += f" 'evaluate_baseline@{method}-*'"
    return commands


def _about(params: Params) -> dict[str, str]:
    """Commit, DVC experiment, data, versions and machines, as far as they are known."""
    records = list(spent.records(params).values())
    versions = {f"{name} {version}" for record in records for name, version in record.get("versions", {}).items()}
    changed = [line[3:] for line in git.output("status", "--porcelain", "--", *_CODE).splitlines()]
    facts = {
        "commit": provenance.commit() or "",
        "date of the commit": git.output("log", "-1", "--format=%cs").strip(),
        "changes": ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else ""),
        "experiment": os.environ.get("DVC_EXP_NAME", ""),
        "data": ", ".join(f"md5 {md5} ({folder})" for folder in _DATA if (md5 := _data_md5(folder))),
        "versions": ", ".join(sorted(versions)),
        "machine": "; ".join(sorted({record["device"] for record in records if "device" in record})),
    }
    return {name: value for name, value in facts.items() if value}


def _data_md5(folder: Path) -> str:
    """The md5 of a folder of prepared data as DVC knows it: from dvc.lock, else from the files."""
    try:
        stages = yaml.load(Path("dvc.lock").read_text(encoding="utf-8"), definition.LOADER)["stages"]
        (md5,) = (out["md5"] for out in stages["prepare"]["outs"] if out["path"] == folder.as_posix())
        return str(md5)
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):  # not there, in conflict, or of another DVC
        return dvc_md5(folder) if folder.is_dir() else ""
