"""Stage retrieve: neighbours of the training texts, and the teacher's logits for them. `python -m pipeline.retrieve`"""

from __future__ import annotations

from pipeline.stage import artifacts, paths
from pipeline.stage.stage import run_stage

NAME = "retrieve"


def main() -> None:
    """Write nothing but a note where no listed method retrieves."""
    if not artifacts.needed("candidates"):
        artifacts.leave_empty(NAME, "candidates", paths.CANDIDATES)
        return
    from pipeline import neighbours  # takes seconds to import

    neighbours.build(NAME)


if __name__ == "__main__":
    run_stage(main)
