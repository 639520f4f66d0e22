"""What makes a machine faster changes no loss and no weight beyond rounding, and is gone after the training."""

import shutil
import sys
import types

import pytest
import torch

from distill.errors import UserError
from distill.methods.shared.filters import FilterBank, FilterTraining
from distill.models import acceleration, flash_attention
from distill.models.forward import forward_pass, freeze
from distill.tasks.registry import load_task
from distill.training import trainer
from distill.training.finetuning import FineTuningObjective
from distill.training.run import TrainingRun
from tests.helpers import tiny

TASK = load_task("qa")
# With and without fused attention in transformers.
KINDS = ["bert", "deberta-v2"]


def train(folder, kind, dropout=0.1, layers=2, **runtime):
    """Model, losses and weights after a short training."""
    fields = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = tiny.model(kind, layers=layers, width=16, seed=1, **fields)
    objective = FineTuningObjective(model, TASK)
    changes = {"gradient_accumulation": 2, "group_by_length": True, "learning_rate": 1e-3}
    # A large epsilon: where a gradient is nothing but rounding, Adam would make a step of it.
    settings = tiny.training(max_steps=5, log_every=1, adam_epsilon=1e-4, **changes)
    given = (tiny.features(24), 0, TASK.labels, settings, tiny.runtime(100, **runtime), 1, folder, "test")
    result = trainer.train(TrainingRun(objective, *given))
    return model, [row["loss"] for row in result.history], dict(model.state_dict())


def same(plain, other):
    assert other[1] == pytest.approx(plain[1], rel=1e-4)
    assert list(other[2]) == list(plain[2])
    for name, value in plain[2].items():
        torch.testing.assert_close(other[2][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_computing_layers_again_draws_the_same_dropout(tmp_path, kind):
    found = train(tmp_path / "again", kind, gradient_checkpointing=True)
    same(train(tmp_path / "plain", kind), found)
    assert not any(getattr(m, "gradient_checkpointing", False) for m in found[0].modules())


def test_layers_are_indeed_computed_again():
    model = tiny.model("bert", layers=2, hidden_dropout_prob=0.1).train()
    calls = []
    layer = model.bert.encoder.layer[0].attention.self.query
    layer.register_forward_hook(lambda *_: calls.append(1))
    with acceleration.settings(model, (), tiny.runtime(gradient_checkpointing=True), 12):
        TASK.loss(forward_pass(model, TASK, tiny.batch()).logits, tiny.batch()).backward()
    assert len(calls) == 2


def test_batches_put_together_by_another_process_are_the_same(tmp_path):
    same(train(tmp_path / "plain", "bert"), train(tmp_path / "workers", "bert", workers=1))


def test_eager_attention_and_transformers_choice_agree(tmp_path):
    plain, eager = (train(tmp_path / way, "bert", dropout=0.0, attention=way) for way in ("auto", "eager"))
    same(plain, eager)
    assert plain[0].config._attn_implementation == eager[0].config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
def test_transformers_chooses_sdpa_where_the_architecture_has_it(kind):
    assert tiny.model(kind).config._attn_implementation == "sdpa"


def test_deberta_has_only_the_eager_attention_of_transformers():
    assert tiny.model("deberta-v2").config._attn_implementation == "eager"


def trains_compiled_as_plain(folder):
    plain, compiled = (train(folder / str(on), "bert", dropout=0.0, layers=1, compile=on) for on in (False, True))
    same(plain, compiled)
    assert compiled[0]._compiled_call_impl is None


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.timeout(900)  # what the compiler takes where others compute too
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
def test_a_compiled_model_trains_as_the_plain_one(tmp_path):
    trains_compiled_as_plain(tmp_path)


def test_a_traced_model_trains_as_the_plain_one(tmp_path, monkeypatch):
    """The graphs of both directions as torch.compile makes them, run as they are: what is left out is torch's C++."""
    runs = []

    def traced(graph, inputs):
        run = torch._dynamo.lookup_backend("aot_eager")(graph, inputs)
        return lambda *values: runs.append(graph) or run(*values)

    def compiled(model, **settings):
        model._compiled_call_impl = torch.compile(model._call_impl, backend=traced, **settings)

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    trains_compiled_as_plain(tmp_path)
    assert len(runs) >= 5  # updates


def test_one_graph_serves_all_lengths_and_numbers_of_rows():
    model, graphs = tiny.model("bert", layers=1).eval(), []

    def compile_nothing(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model.compile(dynamic=True, backend=compile_nothing)
    with torch.no_grad():
        for lengths, width in (((9, 5), 16), ((9, 5, 7), 16), ((9, 5, 7, 3), 24), ((20, 33), 40)):
            forward_pass(model, TASK, tiny.batch(lengths, width))
    assert len(graphs) == 1


def test_attention_scores_come_from_the_plain_forward_of_a_compiled_model():
    batch = tiny.batch()
    model = tiny.model("bert").eval()
    expected = forward_pass(model, TASK, batch, attention=True).attention
    with acceleration.settings(model, (), tiny.runtime(compile=True), 12):
        found = forward_pass(model, TASK, batch, attention=True).attention
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_every_model_is_found_once_and_whole():
    inner = tiny.model("bert")
    outer = torch.nn.ModuleDict({"a": FineTuningObjective(inner, TASK), "b": torch.nn.Linear(2, 2)})
    assert acceleration.encoders(outer) == [inner] == acceleration.encoders(inner)


def test_models_that_run_along_are_faster_too_but_keep_nothing_to_compute_again():
    backbone = tiny.model("bert", layers=2)
    objective = FilterTraining(backbone, FilterBank([2], 8, 4, False, "tanh"), TASK, dropout=False, head_dropout=0.1)
    runtime = tiny.runtime(attention="eager", gradient_checkpointing=True)
    with acceleration.settings(objective, objective.companions(), runtime, 12):
        assert backbone.config._attn_implementation == "eager"
        assert not any(getattr(module, "gradient_checkpointing", False) for module in backbone.modules())
    assert backbone.config._attn_implementation == "sdpa"


class Kernel(torch.nn.Module):
    """Stands in for the fused attention: the eager one, or one that is `wrong` in value or in gradient."""

    def __init__(self, source, wrong):
        super().__init__()
        for name, child in source.named_children():
            setattr(self, name, type(child)(child.in_features, child.out_features) if "proj" in name else child)
        self.load_state_dict(source.state_dict())
        self.source, self.wrong = [source], wrong

    def forward(self, *args, **kwargs):
        kwargs.pop("none", None)
        with torch.nn.utils.stateless._reparametrize_module(self.source[0], dict(self.named_parameters())):
            states, scores = self.source[0](*args, **kwargs)
        if self.wrong == "value":
            states = states * 1.01
        if self.wrong == "gradient":
            states = states.detach() + 0.99 * (states - states.detach())
        return states, scores


def package(monkeypatch, wrong=None, works=True):
    """A stand-in for `disentangled_flash`."""
    swapped = []

    def optimize_deberta_training(backbone, backend):
        assert backend == "triton"
        swapped.append(backbone)
        for layer in backbone.encoder.layer if works else []:
            layer.attention.self = Kernel(layer.attention.self, wrong)

    module = types.ModuleType("disentangled_flash")
    module.optimize_deberta_training = optimize_deberta_training
    monkeypatch.setitem(sys.modules, "disentangled_flash", module)
    return swapped


def test_a_right_kernel_is_used_and_leaves_the_trained_model_as_it_was(tmp_path, monkeypatch):
    plain = train(tmp_path / "plain", "deberta-v2", dropout=0.0)
    swapped = package(monkeypatch)
    fused = train(tmp_path / "fused", "deberta-v2", dropout=0.0, attention="disentangled_flash")
    same(plain, fused)
    assert len(swapped) == 2 and swapped[1] is fused[0].base_model  # once for the comparison, once to train
    assert not any(isinstance(module, Kernel) for module in fused[0].modules())


def test_a_frozen_model_is_compared_too_and_stays_frozen(monkeypatch):
    swapped = package(monkeypatch)
    teacher = freeze(tiny.model("deberta-v2"))
    with acceleration.attention(teacher, tiny.runtime(attention="disentangled_flash"), 20):
        assert swapped[1] is teacher.base_model
        assert any(isinstance(module, Kernel) for module in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(isinstance(module, Kernel) for module in teacher.modules())


@pytest.mark.parametrize("wrong", ["value", "gradient"])
def test_a_wrong_kernel_is_refused(monkeypatch, wrong):
    package(monkeypatch, wrong)
    model = tiny.model("deberta-v2")
    with pytest.raises(UserError, match="differs from eager on this model and machine: .*set it to auto") as error:  # noqa: SIM117
        with acceleration.settings(model, (), tiny.runtime(attention="disentangled_flash"), 20):
            pass
    assert ("gradient of" in str(error.value)) == (wrong == "gradient")
    assert not any(isinstance(module, Kernel) for module in model.modules())


def test_a_kernel_that_does_not_run_here_is_refused(monkeypatch):
    package(monkeypatch, works=False)
    with (
        pytest.raises(UserError, match="needs an NVIDIA GPU with Triton"),
        flash_attention.fused(tiny.model("deberta-v2"), 20),
    ):
        pass


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "disentangled_flash", None)
    with pytest.raises(UserError, match=r"pip install -e .\.\[flash\]"), flash_attention.fused(None, 20):
        pass


def test_architectures_without_such_a_kernel_keep_their_attention(monkeypatch):
    swapped = package(monkeypatch)
    with acceleration.settings(tiny.model("bert"), (), tiny.runtime(attention="disentangled_flash"), 20):
        assert not swapped


def test_the_real_package_agrees_with_eager_in_its_torch_form(tmp_path, monkeypatch):
    real = pytest.importorskip("disentangled_flash")  # its kernel needs a GPU
    monkeypatch.setattr(
        flash_attention, "_package", lambda: lambda model: real.optimize_deberta_training(model, backend="torch")
    )
    plain, fused = (train(tmp_path / way, "deberta-v2", 0.0, attention=way) for way in ("auto", "disentangled_flash"))
    same(plain, fused)
