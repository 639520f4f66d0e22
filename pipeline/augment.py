"""Stage augment: the training features and copies with words replaced by the generator. `python -m pipeline.augment`"""

from __future__ import annotations

from pipeline import common, needs
from pipeline.stage import run_stage

NAME = "augment"


def main() -> None:
    """Write nothing but a note where no listed method learns from copies."""
    if not needs.needed("augmented"):
        needs.leave_empty(NAME, "augmented", common.AUGMENTED)
        return
    from pipeline import copies  # takes seconds to import

    copies.build(NAME)


if __name__ == "__main__":
    run_stage(main)
