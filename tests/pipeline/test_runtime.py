"""Settings of the machine reach the stages that run a model without training it."""

import pytest
import torch

from distill.augmentation import masked_lm, word_replacement
from distill.models import acceleration
from distill.signals import writer
from pipeline import augment, evaluate, predict, retrieve
from pipeline.stage import scoring
from tests.helpers import micro

pytestmark = pytest.mark.slow

# A stage, and what of it runs the model.
STAGES = {
    "predict_teacher": (predict.main, writer, "_store"),
    "evaluate_student": (lambda: evaluate.main("student"), scoring, "predict_split"),
    "retrieve": (retrieve.main, writer, "_store"),
    "augment": (augment.main, word_replacement, "Augmenter"),
}


class Reached(Exception):
    """A stage has come to its model."""


@pytest.fixture
def begin(repo, monkeypatch):
    """Runs a stage in this process up to its model; gives the threads of torch and the attention of each model."""
    monkeypatch.chdir(repo)
    monkeypatch.setenv("DVC_ROOT", str(repo))
    monkeypatch.setenv("DISTILL_TRACKING", "off")
    monkeypatch.setattr(masked_lm, "load", lambda folder: torch.nn.Linear(2, 2))
    (attending, threads), seen = (acceleration._attending, torch.get_num_threads()), []

    def _attending(model, attention, longest):
        seen.append((model.config.num_hidden_layers, attention, longest))
        return attending(model, attention, longest)

    monkeypatch.setattr(acceleration, "_attending", _attending)

    def begin(name, **settings):
        (repo / "params.yaml").write_text(micro.params({f"runtime.{key}": value for key, value in settings.items()}))
        main, module, function = STAGES[name]

        def stop(*_, **__):
            raise Reached

        monkeypatch.setattr(module, function, stop)
        with pytest.raises(Reached):
            main()
        return torch.get_num_threads(), seen

    yield begin
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_computes_with_the_threads_that_are_asked_for(begin, name):
    wanted = torch.get_num_threads() + 1
    assert begin(name, threads=wanted)[0] == wanted


def test_null_leaves_torch_its_own_number_of_threads(begin):
    before = torch.get_num_threads()
    assert begin("predict_teacher", threads=None)[0] == before


@pytest.mark.parametrize(("name", "layers"), [("predict_teacher", 2), ("evaluate_student", 1), ("retrieve", 2)])
def test_predictions_and_scores_have_the_attention_that_is_asked_for(begin, name, layers):
    ((found, attention, longest),) = begin(name, attention="eager")[1]
    assert (found, attention) == (layers, "eager") and 20 < longest <= 128


@pytest.mark.parametrize("name", ["predict_teacher", "evaluate_student"])
def test_auto_leaves_a_model_as_it_is(begin, name):
    assert begin(name, attention="auto")[1] == []
