"""Imports what stages import, also what they import late, and the project itself; for `tests.helpers.forkserver`."""

import gc
import importlib

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from tests.helpers import micro

LIBRARIES = (
    "datasets",
    "evaluate",
    "mlflow.tracking",
    "transformers.models.deberta_v2.modeling_deberta_v2",
)

for path in (*micro.ROOT.glob("pipeline/**/*.py"), *micro.ROOT.glob("src/distill/**/*.py")):
    if path.stem not in ("__init__", "__main__"):
        parts = path.relative_to(micro.ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts).removeprefix("src."))
for name in LIBRARIES:
    importlib.import_module(name)
get_checkpoint_conversion_mapping("bert")  # patterns that transformers compiles when the first checkpoint is loaded
gc.freeze()  # or every process goes through, and copies, all of the above when it collects garbage
