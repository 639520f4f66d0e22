"""Earlier looks at results: the summaries that Git's history has, for the report alone.

The report is told what Git knows at the time when it is made, as it is told the commit. No metrics file holds it, so
that a new commit changes none of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import yaml

from distill.config.params import Params
from pipeline.process import git
from pipeline.stage import definition

#: Commits that are read, the newest first.
MOST = 200
_SUMMARY, _PARAMS = "metrics/summary.json", "params.yaml"


def history(params: Params, summary: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """What was committed before this summary, on the same data; None without Git or a commit.

    Args:
        summary: content of metrics/summary.json, of this run.

    Returns:
        summaries: number of earlier summaries with some, but not all of this run's seeds; seeds: those of each, without
        repetition; methods: names in earlier summaries that this run has no more.
    """
    start = os.environ.get("DVC_EXP_BASELINE_REV") or "HEAD"
    if not git.output("rev-parse", "--verify", start):
        return None
    commits = git.output("log", f"-{MOST}", "--format=%H", start, "--", _SUMMARY).split()
    seeds, methods = _seen(summary)
    fewer, known = [], dict[str, None]()
    for commit in commits:
        earlier = _parsed(git.output("show", f"{commit}:./{_SUMMARY}"))
        if earlier is None or not _same_data(git.output("show", f"{commit}:./{_PARAMS}"), params):
            continue
        then, names = _seen(earlier)
        known |= dict.fromkeys(names)
        if then and then < seeds:
            fewer.append(sorted(then))
    gone = [name for name in known if name not in methods]
    return {"summaries": len(fewer), "seeds": [list(item) for item in sorted(set(map(tuple, fewer)))], "methods": gone}


def _seen(summary: Mapping[str, Any]) -> tuple[set[int], list[str]]:
    """Seeds and names of the methods in a summary."""
    rows = {name: row["seeds"] for name, row in summary.items() if isinstance(row, dict) and row.get("seeds")}
    return {seed for seeds in rows.values() for seed in seeds}, list(rows)


def _same_data(text: str, params: Params) -> bool:
    try:
        then = yaml.load(text, definition.LOADER)
        return then["task"] == params.task and _data(then["data"]) == _data(params.data.model_dump())
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):  # of another time, or damaged
        return False


def _data(section: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows are scored."""
    return {name: section.get(name) for name in ("source", "embedded", "validation", "name", "subset")}


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
