"""Stages train_teacher_filters and train_student_filters (TED stage I). `python -m pipeline.train_filters teacher`"""

from __future__ import annotations

from pipeline.stage import artifacts, paths
from pipeline.stage.stage import run_stage


def main(role: str) -> None:
    """Write nothing but a note where no listed method has filters."""
    role = paths.role_of(role)
    name = f"train_{role}_filters"
    curves, scores = paths.METRICS / "curves" / f"filters-{role}.csv", paths.METRICS / "filters" / f"{role}.json"
    if not artifacts.needed("filters"):
        artifacts.leave_empty(name, "filters", paths.filters(role), [scores, curves])
        return
    from pipeline import filter_training  # takes seconds to import

    filter_training.train(name, role, scores, curves)


if __name__ == "__main__":
    run_stage(main)
