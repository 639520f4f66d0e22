"""Stage distill_assistant: the models between teacher and student, for `takd`. `python -m pipeline.assistant`"""

from __future__ import annotations

from pipeline.stage import artifacts, paths
from pipeline.stage.stage import run_stage

NAME = "distill_assistant"
CURVES = paths.METRICS / "curves" / "assistant.csv"


def main() -> None:
    """Train the chain; write nothing but a note where no listed method learns from an assistant."""
    if not artifacts.needed("assistant"):
        artifacts.leave_empty(NAME, "assistant", paths.ASSISTANT, [CURVES])
        return
    from pipeline import chain  # takes seconds to import

    chain.train(NAME, CURVES)


if __name__ == "__main__":
    run_stage(main)
