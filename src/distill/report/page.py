"""The report as one HTML page that needs nothing else, and as Markdown for a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.analysis.power import POWER
from distill.report import (
    calibration,
    changed,
    charts,
    classes,
    comparisons,
    controls,
    curves,
    entities,
    exported,
    formatting,
    members,
    overlap,
    queries,
    snapshots,
    subject,
    tables,
    templates,
)
from distill.report.results import Results, title
from distill.report.verdict import sentences

FOLDER = Path(__file__).parent
TASKS = {"qa": "question answering", "classification": "classification", "regression": "regression"}
TASKS |= {"multi_label": "several labels per text", "token_classification": "token classification"}
TASKS |= {"ranking": "ranking of passages"}
#: Parameters that say what was compared; the page folds all others away.
MATTER = ("task", "data.source", "data.embedded", "data.name", "data.subset", "data.train", "data.validation")
MATTER += ("teacher.model.path", "student.model.path", "distill.init", "distill.epochs", "distill.max_steps")
MATTER += ("distill.learning_rate", "distill.batch_size", "distill.precision", "seeds", "compare.resamples")


def html(results: Results) -> str:
    """The whole page. Text from data and parameters is escaped."""
    featured = _featured(results)
    return templates.load(FOLDER / "page.html.j2").render(
        results=results,
        heading=f"Distillation report: {TASKS.get(results.settings.get('task'), 'one run')}",
        sentences=sentences(results),
        subject=subject.sentence(results),
        metric=title(results.metric),
        words=formatting,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(FOLDER / "page.js").read_text(encoding="utf-8"),
        comparison=tables.comparison(results),
        tuned=tables.tuned(results),
        oracle=tables.oracle(results),
        overlap=overlap.table(results),
        ensemble=members.table(results),
        snapshots=snapshots.table(results),
        controls=controls.table(results),
        against=comparisons.against(results),
        confirmed=comparisons.confirmed(results),
        cost=tables.cost(results),
        training=tables.training(results),
        exports=exported.table(results),
        export_notes=exported.notes(results),
        slices=tables.slices(results),
        queries=queries.hardest(results),
        classes=classes.overall(results),
        each_class=classes.each(results),
        about_classes=classes.note(results),
        entities=entities.each(results),
        calibration=calibration.table(results),
        calibration_notes=calibration.notes(results),
        agreement=tables.agreement(results),
        counts=tables.disagreements(results),
        changed=changed.groups(results),
        sweep_tables=tables.sweeps(results),
        commands=tables.commands(results),
        score_pictures=_drawn(charts.differences(results), charts.scores(results)),
        cost_pictures=_drawn(charts.quality_cost(results), charts.quality_training(results)),
        slice_pictures=charts.slices(results, featured),
        reliability_pictures=charts.reliability(results, featured),
        loss_pictures=curves.losses(results),
        filter_pictures=_drawn(curves.filters(results)),
        sweep_pictures=curves.sweeps(results),
        notes=notes(results),
        matter=_settings(results),
    )


def markdown(results: Results) -> str:
    """Verdict, comparison, cost and how to run it again; no texts of examples."""
    return templates.load(FOLDER / "page.md.j2").render(
        results=results,
        sentences=sentences(results),
        subject=subject.sentence(results),
        comparison=tables.comparison(results),
        further=[*comparisons.against(results), *filter(None, [comparisons.confirmed(results)])],
        cost=tables.cost(results),
        notes=notes(results),
        commit=results.about.get("commit"),
    )


def notes(results: Results) -> list[str]:
    """How to read the comparison."""
    lines = []
    if any(results.versus(name) is not None for name in results.rivals):
        draws = results.settings.get("compare.resamples")
        source = "a paired bootstrap over examples" + (f" ({draws:,} draws)" if draws else "")
        source += ", one seed" if len(results.seeds) == 1 else " and the spread over seeds"
        lines.append(
            f"Differences are to {results.baseline}, with the same start and {_updates(results)}; labels, passes and"
            " time stand beside the scores. Intervals:"
            f" {results.confidence * 100:g}%, from {source}. They and p hold for each method by itself; verdicts are"
            " corrected for the number of methods (Holm)."
        )
    if any(results.versus(name, "detectable") is not None for name in results.rivals):
        lines.append(
            f"Smallest difference: a true difference of this size gets a verdict in {POWER:.0%} of such comparisons,"
            " one that is smaller less often. `cannot tell` does not say that there is none."
        )
    if any(row.get("gap_closed") is not None for row in results.summary.values()):
        lines.append(
            f"Gap closed: share of the difference between teacher and {results.baseline}, with its interval; none where"
            " that difference may be 0."
        )
    if common := results.analysis.get("constant", {}).get("commonest"):
        answer = repr(common["answer"]) if common["answer"] else "no answer"
        lines.append(
            f"One answer for all: {answer} is right on {formatting.number(common['share'])}% of the examples. A model"
            " is worth what it has above that."
        )
    if results.chosen:
        lines.append(
            f"{results.chosen} stands in the foreground because it has the highest {title(results.metric)} on the"
            " selection split; nothing is chosen on the validation split."
        )
    if seen := comparisons.looks(results):
        lines.append(seen)
    return lines


def _updates(results: Results) -> str:
    """How the numbers of updates of the methods compare."""
    ended = [name for name in results.methods if results.training.get(name, {}).get("stopped_early")]
    if not ended:
        return "as many updates"
    return (
        f"at most as many updates, of which patience has ended trainings of {formatting.listed(ended)} early (updates"
        " are in the table of training costs)"
    )


def _featured(results: Results) -> list[str]:
    """The models that pictures of slices and calibration show."""
    wanted = ("teacher", results.baseline if results.baseline in results.summary else "student", results.chosen)
    return [name for name in wanted if name in results.summary]


def _drawn(*pictures: Any) -> list[Any]:
    return [picture for picture in pictures if picture is not None]


def _settings(results: Results) -> list[tuple[str, Any]]:
    """The parameters that matter: those above, and the sections of the methods."""
    shared = [(name, value) for name, value in results.settings.items() if name in MATTER and value is not None]
    of_methods = [(name, value) for name, value in results.settings.items() if name.split(".")[0] in results.methods]
    return shared + of_methods
