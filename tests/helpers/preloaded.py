"""Imports what stages import, also what they import late, and the project itself; for `tests.helpers.forkserver`."""

import gc
import importlib
import tempfile

from torch.distributed.elastic.rendezvous import dynamic_rendezvous
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from pipeline.commands import dvc_reading
from tests.helpers import micro, remembered, warm

LIBRARIES = (
    "accelerate.commands.launch",
    "celery.worker.worker",
    "datasets",
    "dulwich.porcelain",
    "dulwich.worktree",
    "dvc.api",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.queue.start",
    "dvc.data_cloud",
    "dvc.repo.artifacts",
    "dvc.repo.experiments.executor.local",
    "dvc.repo.experiments.queue.celery",
    "dvc.repo.experiments.show",
    "dvc.repo.metrics.diff",
    "dvc.repo.reproduce",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "dvc_data.index.push",
    "dvc_render",
    "dvc_task.app.filesystem",
    "dvc_task.proc.manager",
    "evaluate",
    "flatten_dict",
    "fsspec.implementations.memory",
    "hydra._internal.config_loader_impl",
    "hydra.initialize",
    "kombu.transport.filesystem",
    "matplotlib.backends.backend_svg",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "networkx",
    "onnxscript.function_libs.torch_lib.ops",
    "pandas.io.formats.csvs",
    "platformdirs",
    "pygit2",
    "scmrepo.git.backend.pygit2.filter",
    "tabulate",
    "torch.distributed.run",
    "transformers.models.bert.modeling_bert",
    "transformers.models.deberta_v2.modeling_deberta_v2",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.roberta.modeling_roberta",
)

for path in (*micro.ROOT.glob("pipeline/**/*.py"), *micro.ROOT.glob("src/distill/**/*.py")):
    if path.stem not in ("__init__", "__main__"):
        parts = path.relative_to(micro.ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts).removeprefix("src."))
for name in LIBRARIES:
    importlib.import_module(name)
dvc_reading.install()
remembered.install()
get_checkpoint_conversion_mapping("bert")  # patterns that transformers compiles when the first checkpoint is loaded

# torchrun names the method of each event in its log, and looks through all modules for it, 2 s for a stage.
dynamic_rendezvous.get_method_name = lambda depth=2: "unknown"


def rehearse() -> None:
    """What libraries do at their first use - late imports, patterns to compile - they do here, for all stages."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry
    from transformers import AutoTokenizer

    from distill import parameters
    from distill.models.loading import from_pretrained
    from distill.tasks.registry import load_task
    from pipeline.process import records
    from tests.helpers import tiny

    ONNXRegistry.from_torchlib()  # onnxscript reads the source of each operator
    records.versions()
    parameters.load(micro.ROOT / "tests/params.yaml")
    with tempfile.TemporaryDirectory() as folder:
        tiny.tokenizer().save_pretrained(folder)
        AutoTokenizer.from_pretrained(folder)
        tiny.model("deberta-v2").save_pretrained(folder)
        batch = tiny.batch()
        from_pretrained(folder, load_task("qa"))(batch["input_ids"], attention_mask=batch["attention_mask"])


rehearse()
assert warm.CODE, "it is read before the first process starts"
gc.freeze()  # or every process goes through, and copies, all of the above when it collects garbage
gc.set_threshold(50_000, 20, 50)
