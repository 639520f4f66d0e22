"""The tables and the picture of a study, from the figures that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from distill.analysis import significance
from distill.analysis.across_tasks import Mean
from distill.experiments import study
from distill.experiments.study import Study
from distill.report import formatting, svg
from distill.report.results import title
from pipeline.study.figures import CONFIDENCE, ONCE, Figures

#: Standard deviations over seeds above so many times the median one are pointed out (docs/reports.md has what they do).
RESTLESS = 2


def text(figures: Figures) -> str:
    """All tables, as Markdown."""
    blocks = _progress(figures)
    if tasks := figures.screened():
        blocks += [f"### Mean over {', '.join(tasks)}", "", *_means(figures), "", recommendation(figures)]
    screened = [task for task in figures.plan.tasks if figures.done(task, study.SCREEN)]
    if screened:
        blocks += ["", "### Before the students", "", *_before(figures, screened)]
    for task in figures.plan.tasks:
        if task in screened:
            blocks += [
                "",
                f"### {task}: screening",
                "",
                *_screening(figures, task),
                *_teachers(figures, task, study.SCREEN),
            ]
        if figures.done(task, study.CONFIRM):
            blocks += ["", f"### {task}: confirmation on fresh seeds", "", *_confirmation(figures, task)]
            blocks += _teachers(figures, task, study.CONFIRM)
    return "\n".join(blocks).strip("\n") + "\n"


def _progress(figures: Figures) -> list[str]:
    """How far the study is, a row for each task; nothing once all is done."""
    plan, rows = figures.plan, []
    for task in plan.tasks:
        cells = []
        for phase in study.PHASES:
            folder = figures.folder(task, phase)
            arms = len(folder.arms().keys() & plan.arms.keys())
            # Which arms are confirmed, the screening says: their number stands in no plan.
            kept = formatting.plural(arms, "arm") if phase == study.CONFIRM else f"{arms} of {len(plan.arms)} arms"
            cells.append("done" if folder.done else kept if arms else "")
        rows.append((task, cells))
    if all(cell == "done" for _, cells in rows for cell in cells):
        return []
    lines = ["### How far it is", "", f"| task | {' | '.join(study.PHASES)} |", f"|---|{'---|' * len(study.PHASES)}"]
    return [*lines, *(f"| {task} | {' | '.join(cells)} |" for task, cells in rows), ""]


def _means(figures: Figures) -> list[str]:
    plan = figures.plan
    lines = [
        f"| arm | mean − {plan.baseline} | 95% interval | verdict"
        f" | mean − {plan.also} | 95% interval | verdict | cost |",
        "|---|---:|---|---|---:|---|---|---:|",
    ]
    columns = {}
    for baseline in (plan.baseline, plan.also):
        means = {arm: figures.mean(arm, baseline) for arm in plan.arms if arm != baseline}
        columns[baseline] = (means, _verdicts(means))
    for arm in plan.arms:
        cells = []
        for baseline, (means, verdicts) in columns.items():
            shown = _is_shown(plan, arm, baseline)
            cells += [*_difference(means[arm]._asdict() if shown else None), verdicts[arm] if shown else ""]
        lines.append(f"| {arm} | {' | '.join(cells)} | {formatting.times(figures.mean_cost(arm))} |")
    return lines


def _is_shown(plan: Study, row: str, against: str) -> bool:
    """Whether a row's difference to `baseline`, or to `also`, is shown.

    `baseline` against `also` is left out: the other way round stands in the first columns, and its interval is another
    one, because the seeds' part is pooled over other differences. The correction for several comparisons counts it.
    """
    return row != against and (row, against) != (plan.baseline, plan.also)


def _verdicts(means: Mapping[str, Mean]) -> dict[str, str]:
    """Holm's verdicts over the arms."""
    found = {arm: significance.Difference(mean.value, mean.low, mean.high, mean.p) for arm, mean in means.items()}
    return significance.verdicts(found, CONFIDENCE)


def _difference(found: Mapping[str, Any] | None) -> list[str]:
    """The cells of a difference and of its interval; empty ones where there is none."""
    if found is None:
        return ["", ""]
    return [formatting.number(found["value"], signed=True), formatting.interval(found["low"], found["high"])]


def recommendation(figures: Figures) -> str:
    """The cheapest arm whose mean is within the margin of the best one's: the rule that the plan has fixed."""
    plan = figures.plan
    values = {arm: 0.0 if arm == plan.baseline else figures.mean(arm, plan.baseline).value for arm in plan.arms}
    best = max(values, key=lambda arm: values[arm])
    near = [arm for arm in values if values[arm] >= values[best] - plan.margin]
    costs = {arm: figures.mean_cost(arm) for arm in near}
    if None in costs.values():
        return f"Best: {best}. Within {plan.margin:g} points of it: {', '.join(near)}; their costs are not taken yet."
    chosen = min(near, key=lambda arm: costs[arm])
    return (
        f"Recommended: **{chosen}**, the cheapest arm within {plan.margin:g} points of the best one, {best}"
        f" (within them: {', '.join(near)})."
    )


def _before(figures: Figures, tasks: Sequence[str]) -> list[str]:
    """What is made once for all students, beside a training of the baseline."""
    baseline, found = figures.plan.baseline, {task: figures.before_students(task) for task in tasks}
    made = [stage for stage in ONCE if any(stage in stages for stages in found.values())]
    rows = {stage: [found[task].get(stage) for task in tasks] for stage in made}
    rows[f"distill, {baseline}"] = [figures.student_seconds(task, baseline) for task in tasks]
    return [
        "Seconds of each stage that runs once for all students, and of one student of the baseline, on a machine that"
        " did other things too.",
        "",
        f"| stage | {' | '.join(tasks)} |",
        f"|---|{'---:|' * len(tasks)}",
        *(f"| {row} | {' | '.join(formatting.number(value, 0) for value in cells)} |" for row, cells in rows.items()),
    ]


def _screening(figures: Figures, task: str) -> list[str]:
    plan, summary, picks = figures.plan, figures.summary(task, study.SCREEN), figures.made(task, study.SCREEN)["picks"]
    found = figures.differences(task, study.SCREEN)
    metric = found["metric"]
    against = {name: found["against"][study.tuned_name(plan, name)] for name in (plan.baseline, plan.also)}
    lines = [
        f"| arm | picked trial | selection {title(metric)} | {title(metric)} | − {plan.baseline} | 95% interval"
        f" | − {plan.also} | 95% interval | cost |",
        "|---|---|---:|---:|---:|---|---:|---|---:|",
    ]
    for row in ("teacher", *plan.arms):
        name = study.tuned_name(plan, row) if row in plan.arms else row
        scores = summary.get(name)
        if scores is None:
            continue
        cells = [
            row,
            _trial(plan.trials(task)[row][picks[row] - 1]) if row in plan.arms else "",
            *(formatting.spread(scores[key], scores.get(f"{key}_std")) for key in (f"selection_{metric}", metric)),
        ]
        for baseline, differences in against.items():
            cells += _difference(differences.get(name) if _is_shown(plan, row, baseline) else None)
        lines.append(f"| {' | '.join(cells)} | {_cost(figures, task, row)} |")
    lines += _restless(plan, summary, metric)
    if len(figures.ratios(task, plan.baseline)) == 1:
        lines += ["", "Costs are of one run of each arm: how far two runs differ is not known."]
    return lines


def _restless(plan: Study, summary: Mapping[str, Any], metric: str) -> list[str]:
    """A sentence where the seeds of some arms differ much more than those of the others."""
    rows = {arm: summary.get(study.tuned_name(plan, arm), {}) for arm in plan.arms}
    spreads = {arm: row[f"{metric}_std"] for arm, row in rows.items() if row.get(f"{metric}_std") is not None}
    if not spreads:
        return []
    usual = median(spreads.values())
    found = [arm for arm, spread in spreads.items() if spread > RESTLESS * usual]
    if not found:
        return []
    told = (
        f"Seeds of {' and '.join(found)} differ more than {RESTLESS} times as much as those of the arm in the middle"
        f" (± {usual:.2f})."
    )
    if others := [arm for arm in found if arm != plan.baseline]:
        told += (
            " The intervals take the seeds' part from all arms together: they are too wide for the calm arms and too"
            f" narrow for {' and '.join(others)}."
        )
    if plan.baseline in found:
        own = f"{plan.baseline} (± {spreads[plan.baseline]:.2f})"
        told += (
            f" The scatter of {own} is part of every difference to it, and of its interval; intervals of differences to"
            f" {plan.also} are too wide."
        )
    return ["", told]


def _teachers(figures: Figures, task: str, phase: str) -> list[str]:
    """A sentence where arms have learned from teachers of several machines, whose weights may differ by rounding."""
    kept = figures.folder(task, phase).arms().values()
    count = len({arm["teacher"] for arm in kept if arm.get("teacher")})
    return ["", f"The arms have learned from {count} teachers, trained alike on as many machines."] if count > 1 else []


def _cost(figures: Figures, task: str, row: str) -> str:
    """The median over the rounds of phase time, and the least and the greatest where there are several."""
    ratios = figures.ratios(task, row) if row in figures.plan.arms else []
    if len(ratios) < 2 or row == figures.plan.baseline:
        return formatting.times(median(ratios) if ratios else None)
    return f"{formatting.times(median(ratios))} ({min(ratios):.2f} to {max(ratios):.2f})"


def _trial(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _confirmation(figures: Figures, task: str) -> list[str]:
    plan, found, summary = figures.plan, figures.differences(task, study.CONFIRM), figures.summary(task, study.CONFIRM)
    metric, made = found["metric"], figures.made(task, study.CONFIRM)
    lines = [f"| arm | {title(metric)} | − {plan.baseline} | 95% interval | − {plan.also} | 95% interval |"]
    lines.append("|---|---:|---:|---|---:|---|")
    longer = study.longer_name(plan)
    labels = {study.tuned_name(plan, arm): arm for arm in (plan.baseline, plan.also, *made["confirmed"])}
    labels[longer] = f"{plan.baseline}, {made['updates']:,} updates"
    for name, label in labels.items():
        cells = [label, formatting.spread(summary[name][metric], summary[name].get(f"{metric}_std"))]
        for baseline in (plan.baseline, plan.also):
            differences = found["against"][study.tuned_name(plan, baseline)]
            cells += _difference(differences.get(name) if _is_shown(plan, label, baseline) else None)
        lines.append(f"| {' | '.join(cells)} |")
    best = made["confirmed"][0]
    row = found["against"][longer][study.tuned_name(plan, best)]
    difference = significance.Difference(row["value"], row["low"], row["high"], row["p"])
    return [
        *lines,
        "",
        f"{best} against {plan.baseline} of {made['updates']:,} updates, whose training takes as long:"
        f" {formatting.number(row['value'], signed=True)}"
        f" ({formatting.interval(row['low'], row['high'])}),"
        f" {significance.verdicts({best: difference}, CONFIDENCE)[best]}.",
    ]


def picture(figures: Figures) -> str | None:
    """Mean difference to the baseline with its interval, over the cost of an update; None before costs are taken."""
    plan = figures.plan
    points = {}
    for arm in plan.arms:
        cost = figures.mean_cost(arm)
        if cost is None:
            return None
        mean = Mean(0.0, 0.0, 0.0, 1.0) if arm == plan.baseline else figures.mean(arm, plan.baseline)
        points[arm] = (cost, mean)

    def paint(axes: Any) -> None:
        for arm, (cost, mean) in points.items():
            axes.errorbar(
                cost, mean.value, [[mean.value - mean.low], [mean.high - mean.value]],
                fmt="o", color=svg.BLUE, ecolor=svg.MUTED, elinewidth=1, capsize=3,
            )  # fmt: skip
            axes.annotate(arm, (cost, mean.value), (6, 4), textcoords="offset points", fontsize=11)
        axes.axhline(0, color=svg.GRID, linewidth=1)
        axes.margins(x=0.15)
        axes.set(xlabel=f"Time of an update, as a multiple of {plan.baseline}'s")
        axes.set(ylabel=f"Points above {plan.baseline}, mean over tasks")

    listing = "; ".join(
        f"{arm} {formatting.number(mean.value, signed=True)} at {formatting.times(cost)}"
        for arm, (cost, mean) in points.items()
    )
    return svg.draw(
        "study", "Quality against cost", f"Points above {plan.baseline} over cost: {listing}", 320, paint
    ).svg
