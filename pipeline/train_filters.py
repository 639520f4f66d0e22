"""Stages train_teacher_filters and train_student_filters (TED stage I). `python -m pipeline.train_filters teacher`"""

from __future__ import annotations

from pipeline import common, needs
from pipeline.stage import run_stage


def main(role: str) -> None:
    """Write nothing but a note where no listed method has filters."""
    role = common.role_of(role)
    name = f"train_{role}_filters"
    curves, scores = common.METRICS / "curves" / f"filters-{role}.csv", common.METRICS / "filters" / f"{role}.json"
    if not needs.needed("filters"):
        needs.leave_empty(name, "filters", common.filters(role), [scores, curves])
        return
    from pipeline import filter_training  # takes seconds to import

    filter_training.train(name, role, scores, curves)


if __name__ == "__main__":
    run_stage(main)
