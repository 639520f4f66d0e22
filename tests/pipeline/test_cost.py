"""Stage cost, on a micro pipeline: which figures there are, and counts that transformers makes by itself."""

import json
import shutil

import pytest
from transformers import AutoModelForQuestionAnswering

from distill.data.loading.prepared import Prepared
from tests.helpers import micro

FIGURES = {
    "parameters",
    "parameters_without_embeddings",
    "flops_per_token",
    "checkpoint_mb",
    "latency_ms",
    "latency_ms_p10",
    "latency_ms_p90",
    "throughput",
    "throughput_batch",
}


@pytest.fixture(scope="module")
def measured(base, stages, tmp_path_factory):
    """A copy of the micro pipeline in which `cost` has run, with little time for each setting."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("cost") / "repo")
    changes = {"cost.seconds": 0.01, "cost.batch_sizes": [1, 8, 1000], "runtime.threads": 1}
    (repo / "params.yaml").write_text(micro.params(changes))
    return repo, stages.run(repo, "cost").out


def test_the_file_has_every_figure_of_both_models(measured):
    repo, output = measured
    found = json.loads((repo / "metrics" / "cost.json").read_text())
    assert list(found) == ["machine", "threads", "precision", "length", "models"]
    assert (found["threads"], found["precision"]) == (1, "fp32") and found["machine"]
    assert set(found["models"]) == {"teacher", "student"}
    rows = len(Prepared(repo / "data/prepared", repo / "data/reported").features("validation"))
    for figures in found["models"].values():
        assert set(figures) == FIGURES and min(figures.values()) > 0
        assert figures["latency_ms_p10"] <= figures["latency_ms"] <= figures["latency_ms_p90"]
        assert figures["throughput_batch"] in (1, 8, rows)
    assert f"{rows} validation rows of {found['length']:.1f} tokens" in output


def test_counts_are_those_of_the_checkpoints(measured):
    repo, _ = measured
    found = json.loads((repo / "metrics" / "cost.json").read_text())
    lengths = Prepared(repo / "data/prepared", repo / "data/reported").ragged("validation").lengths
    assert found["length"] == round(float(lengths.mean()), 2)
    for role, figures in found["models"].items():
        folder = repo / "data" / "models" / role
        model = AutoModelForQuestionAnswering.from_pretrained(folder)
        assert figures["parameters"] == model.num_parameters()
        assert figures["parameters_without_embeddings"] == model.num_parameters(exclude_embeddings=True)
        assert figures["checkpoint_mb"] == round((folder / "model.safetensors").stat().st_size / 1e6, 3)
    teacher, student = found["models"]["teacher"], found["models"]["student"]
    assert teacher["flops_per_token"] > student["flops_per_token"]  # two layers and one, of the same width


def test_the_record_says_where_it_was_measured(measured):
    repo, _ = measured
    record = json.loads((repo / "data" / "runs" / "cost.json").read_text())
    found = json.loads((repo / "metrics" / "cost.json").read_text())
    assert record["stage"] == "cost" and record["machine"] == found["machine"]
