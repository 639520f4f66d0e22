"""Stage augment: the training features and copies with words replaced by the generator. `python -m pipeline.augment`"""

from __future__ import annotations

from pipeline.stage import artifacts, paths
from pipeline.stage.stage import run_stage

NAME = "augment"


def main() -> None:
    """Write nothing but a note where no listed method learns from copies."""
    if not artifacts.needed("augmented"):
        artifacts.leave_empty(NAME, "augmented", paths.AUGMENTED)
        return
    from pipeline import copies  # takes seconds to import

    copies.build(NAME)


if __name__ == "__main__":
    run_stage(main)
