"""Stage train_generator: a masked language model that changes words of texts. `python -m pipeline.generator`"""

from __future__ import annotations

from pipeline.stage import artifacts, paths
from pipeline.stage.stage import run_stage

NAME = "train_generator"
CURVES = paths.METRICS / "curves" / "generator.csv"


def main() -> None:
    """Write nothing but a note where no listed method needs a generator."""
    if not artifacts.needed("generator"):
        artifacts.leave_empty(NAME, "generator", paths.GENERATOR, [CURVES])
        return
    from pipeline import generator_training  # takes seconds to import

    generator_training.train(NAME, CURVES)


if __name__ == "__main__":
    run_stage(main)
