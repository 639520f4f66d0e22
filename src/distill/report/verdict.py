"""The run in a few sentences: what won, by how much, at what cost; or why neither can be told."""

from __future__ import annotations

from distill.report import budget, comparisons, controls, formatting
from distill.report.results import Results, title

MORE_SEEDS = "dvc exp run -S 'seeds=[1,2,3]'"


def sentences(results: Results) -> list[tuple[str, str]]:
    """(sentence, the command that it names or ""), …; the first is the verdict itself.

    A search for the best student under a budget comes before it.

    The featured method is the one with the highest score on the selection split. The reported split only says whether
    it is better than the baseline: a method that is picked from many by its reported score looks better than it is.
    """
    lines = [*_constant(results), _decision(results), *_to_teacher(results), *_cost(results)]
    decision = len(_constant(results))
    if equal := controls.sentence(results, results.chosen):
        lines.insert(decision + 1, (equal, ""))
    if fresh := comparisons.confirmation(results):
        lines.insert(decision + 1, (fresh, ""))
    if comparisons.picked(results)[0]:
        lines.append(comparisons.picked(results))
    teacher, base = results.score("teacher"), results.score(results.baseline)
    if teacher is not None and base is not None and teacher <= base:
        scores = f"{formatting.number(teacher)} against {formatting.number(base)}"
        lines.append((f"The teacher is not above {results.baseline} ({scores}): there is no gap to close.", ""))
    if teacher is None and results.summary:
        lines.append(("The teacher has no score: its outputs do not cover the rows that are scored.", ""))
    start = results.score("student")
    if start is not None and base is not None and base < start and results.settings.get("distill.init") == "finetuned":
        lines.append(
            (
                f"Warning: {results.baseline} ends below the student that it starts from ({formatting.number(base)}"
                f" against {formatting.number(start)}): a gain over {results.baseline} may only mend what more training"
                " with these settings spoils. Lower distill.learning_rate, or compare with the row student.",
                "",
            )
        )
    return [(budget.sentence(results.budget), ""), *lines] if results.budget else lines


def _constant(results: Results) -> list[tuple[str, str]]:
    """Models that answer everything alike: no gap to them, and no gain over them, means anything."""
    same = results.analysis.get("constant", {}).get("models", {})
    if not same:
        return []
    if "teacher" in same:
        lead = f"The teacher gives {_answer(same['teacher'])} to every example, so it has nothing to teach"
        others = [name for name in same if name != "teacher"]
        text = f"{lead}: whatever is better or closes a gap below means nothing."
        text += f" So do {formatting.listed(others)}." if others else ""
        return [(f"{text} Train it longer, with another learning rate, or on more data.", "")]
    answers = [f"{name} ({_answer(answer)})" for name, answer in same.items()]
    return [(f"The same answer to every example: {formatting.listed(answers)}.", "")]


def _answer(text: str) -> str:
    return f"the answer {text!r}" if text else "no answer"


def _to_teacher(results: Results) -> list[tuple[str, str]]:
    """What a student loses against the teacher, the one that stands in the foreground, and what it saves."""
    name = results.chosen or (results.baseline if results.baseline in results.summary else None)
    row = results.summary.get(name, {}) if name else {}
    beginning = f"{results.metric}_vs_teacher"
    if row.get(beginning) is None:
        return []
    side = "below" if row[beginning] < 0 else "above"
    span = formatting.interval(row[f"{beginning}_low"], row[f"{beginning}_high"])
    text = (
        f"In place of the teacher ({formatting.number(results.score('teacher'))} {title(results.metric)}), {name} is"
        f" {formatting.number(abs(row[beginning]))} points {side} it ({results.confidence * 100:g}% interval {span})"
    )
    models = results.cost.get("models", {})
    teacher, student = models.get("teacher", {}), models.get("student", {})
    speed = formatting.ratio(student.get("throughput"), teacher.get("throughput"))
    latency = formatting.ratio(teacher.get("latency_ms"), student.get("latency_ms"))
    if speed is not None:
        text += f", at {formatting.times(speed)} its throughput"
        text += f" and {formatting.times(latency)} its speed for one row at a time" if latency is not None else ""
    return [(f"{text}.", "")]


def _decision(results: Results) -> tuple[str, str]:
    metric, chosen = title(results.metric), results.chosen
    if not results.rivals:
        return f"Nothing to compare: the run has no method besides {results.baseline}.", ""
    if results.baseline not in results.summary:
        return (
            f"Cannot tell: {results.baseline}, the baseline of every comparison, is not in the run. Add it to methods"
            " in params.yaml.",
            "",
        )
    verdicts = {name: results.verdict(name) for name in results.rivals}
    if not any(verdicts.values()):
        return (
            f"Cannot tell: the methods were not compared with {results.baseline}. Compare them with:",
            "dvc repro summarize",
        )
    if "one seed" in verdicts.values():
        lead = f"Cannot tell from one seed. {_gain(results, chosen)}" if chosen else "Cannot tell from one seed."
        return f"{lead} The interval is over examples only: another seed may turn it round. Run more:", MORE_SEEDS
    better = [name for name in results.rivals if verdicts[name] == "better"]
    worse = [name for name in results.rivals if verdicts[name] == "worse"]
    if chosen in better:
        further = [_at_cost(results, name) for name in better if name != chosen]
        also = f" Also better than {results.baseline}: {formatting.listed(further)}." if further else ""
        return f"{chosen} wins: {_gain(results, chosen).removeprefix(f'{chosen} scores ')}{also}", ""
    if better:
        named = formatting.listed([_at_cost(results, name) for name in better])
        return (
            f"Better than {results.baseline} in {metric}: {named}. The selection split would have chosen {chosen},"
            f" which is not shown to be better: {_gain(results, chosen)}",
            "",
        )
    seeds = formatting.plural(len(results.seeds), "seed")
    if len(worse) == len(results.rivals):
        return (
            f"No method is better than {results.baseline} in {metric} ({seeds}); all are worse."
            f" {_gain(results, chosen)}",
            "",
        )
    tail = f" Worse: {formatting.listed(worse)}." if worse else ""
    lead = f"Cannot tell: with {seeds} no method is shown to be better than {results.baseline} in {metric}.{tail}"
    return f"{lead} {_gain(results, chosen)}", ""


def _gain(results: Results, method: str | None) -> str:
    """One method against the baseline: score, difference and interval, share of the gap."""
    if method is None:
        return ""
    difference = results.versus(method)
    if difference is None:
        return f"{method} scores {formatting.number(results.score(method))} {title(results.metric)}."
    side = "above" if difference >= 0 else "below"
    level = f"{results.confidence * 100:g}% interval"
    seeds = f", {formatting.plural(len(results.seeds), 'seed')}" if len(results.seeds) > 1 else ""
    text = (
        f"{method} scores {formatting.number(results.score(method))} {title(results.metric)},"
        f" {formatting.number(abs(difference))} points {side} {results.baseline}"
        f" ({formatting.number(results.score(results.baseline))};"
        f" {level} {formatting.interval(results.versus(method, 'low'), results.versus(method, 'high'))}{seeds})"
    )
    closed = results.closed(method)
    if closed is not None:
        text += f" and closes {formatting.number(closed, 0)}% of the gap to the teacher"
    cost = _times_ft(results, method)
    return f"{text}, at {cost}." if cost else f"{text}; what its training costs is not known."


def _at_cost(results: Results, method: str) -> str:
    """A method with its cost in brackets."""
    return f"{method} (at {_times_ft(results, method) or 'unknown cost'})"


def _times_ft(results: Results, method: str) -> str:
    """A method's training time as a multiple of the baseline's; empty where the records do not tell."""
    row, base = results.training.get(method, {}), results.training.get(results.baseline, {})
    own = formatting.ratio(row.get("seconds"), base.get("seconds"))
    total = formatting.ratio(row.get("total_seconds"), base.get("total_seconds"))
    if own is None:
        return ""
    text = f"{formatting.times(own)} the training time of {results.baseline}"
    upstream = total is not None and row.get("teacher_seconds")
    return f"{text}, {formatting.times(total)} with upstream" if upstream else text


def _cost(results: Results) -> list[tuple[str, str]]:
    """What the chosen method costs in training, and what any student saves."""
    lines = []
    chosen, training = results.chosen, results.training
    if chosen and (seconds := training.get(chosen, {}).get("seconds")) is not None:
        base = training.get(results.baseline, {}).get("seconds")
        text = f"Training {chosen} takes {formatting.duration(seconds)} a seed"
        if (more := formatting.ratio(seconds, base)) is not None:
            text += f", {formatting.times(more)} the time of {results.baseline}"
        if upstream := training[chosen].get("teacher_seconds"):
            text += f", after {formatting.duration(upstream)} for what it needs before"
        lines.append((text + ".", ""))
    models = results.cost.get("models", {})
    teacher, student = models.get("teacher", {}), models.get("student", {})
    size = formatting.ratio(student.get("parameters"), teacher.get("parameters"))
    speed = formatting.ratio(student.get("throughput"), teacher.get("throughput"))
    if size is not None and speed is not None:
        parameters, throughput = f"{size * 100:.0f}%", formatting.times(speed)
        text = f"Every student has {parameters} of the teacher's parameters and {throughput} its throughput"
        lines.append((f"{text} ({results.cost['machine']}).", ""))
    return lines
