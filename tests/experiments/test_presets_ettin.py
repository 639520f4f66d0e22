"""The presets of ModernBERT and Ettin: shapes of the checkpoints as their papers give them, without the weights."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from distill.models import loading
from pipeline import plan
from tests.experiments.test_presets_published import merged_with

TEACHER = "answerdotai/ModernBERT-base"
# Layers, width, width of the feed-forward part and heads; millions of parameters; every how many layers a filter.
STUDENTS = {
    "jhu-clsp/ettin-encoder-17m": ((7, 256, 384, 4), 17, 3),
    "jhu-clsp/ettin-encoder-32m": ((10, 384, 576, 6), 32, 5),
    "jhu-clsp/ettin-encoder-68m": ((19, 512, 768, 8), 68, 9),
    "jhu-clsp/ettin-encoder-150m": ((22, 768, 1152, 12), 149, 11),
}
SHAPES = {TEACHER: (22, 768, 1152, 12)} | {name: shape for name, (shape, *_) in STUDENTS.items()}
FIELDS = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")


def configuration(path, revision=None, fields=None, where=""):
    return AutoConfig.for_model("modernbert", **dict(zip(FIELDS, SHAPES[path], strict=True)))


@pytest.mark.parametrize("name", STUDENTS)
def test_the_shapes_have_as_many_parameters_as_the_checkpoints_are_called_by(name):
    with torch.device("meta"):
        model = AutoModel.from_config(configuration(name))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(
        STUDENTS[name][1], rel=0.02
    )


@pytest.mark.parametrize("preset", ["sst2-modernbert", "squad_v2-modernbert"])
def test_every_student_can_be_paired_with_the_teacher(preset, monkeypatch):
    monkeypatch.setattr(loading, "configuration", configuration)
    params = merged_with(preset)
    assert (params.teacher.model.path, params.student.model.path) == (TEACHER, "jhu-clsp/ettin-encoder-32m")
    for name, (shape, _, interval) in STUDENTS.items():
        student = params.student.model_copy(update={"model": params.student.model.model_copy(update={"path": name})})
        filters = params.student_filters.model_copy(update={"filter_interval": interval})
        changed = {"student": student, "student_filters": filters, "methods": [*params.methods, "ted", "pkd"]}
        resolved = params.model_copy(update=changed)
        plan.check_pairs(resolved)
        reads = plan.readers(resolved, plan.requests(resolved))
        assert reads["lwd"].hidden[-1] == 22 and len(reads["lwd"].hidden) == shape[0]
        assert reads["ted"].hidden == (11, 22)
