"""Which stages' time counts as the teacher's part of a method."""

import pytest
import yaml

from distill import parameters
from distill.methods import registry
from pipeline import spent
from pipeline.stage.stage import record_file


@pytest.fixture(scope="module")
def stages(root):
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", registry.available())
def test_every_method_in_every_group_names_stages_of_the_pipeline(name, stages):
    for group in registry.load(name).groups:
        for stage in spent.taught_with(name, 3, group):
            plain, _, item = stage.partition("@")
            assert plain in stages and (not item or item == f"{name}-3" and "matrix" in stages[plain])


def test_a_method_is_taught_with_what_its_group_depends_on():
    assert spent.taught_with("ft", 1, "logits") == spent.taught_with("tfkd_reg", 1, "logits") == []
    assert spent.taught_with("kd", 1, "logits") == ["finetune_teacher", "predict_teacher"]
    assert spent.taught_with("tfkd_self", 1, "logits") == ["finetune_student"]
    assert spent.taught_with("ted", 1, "filtered")[2:] == ["train_teacher_filters", "train_student_filters"]
    assert spent.taught_with("takd", 1, "assisted") == ["finetune_teacher", "predict_teacher", "distill_assistant"]
    assert spent.taught_with("born_again", 2, "generations") == ["finetune_student", "train_generations@born_again-2"]


def test_every_group_is_known(stages):
    assert {f"distill_{group}" for group in spent.UPSTREAM} <= set(stages)
    groups = {group for name in registry.available() for group in registry.load(name).groups}
    assert groups == set(spent.UPSTREAM)


def test_records_of_methods_and_seeds_that_are_no_longer_listed_do_not_count(root, tmp_path, monkeypatch):
    params = parameters.load(root / "params.yaml", {"methods.logits": ["kd"], "seeds": [2]})
    kept = ["finetune_teacher", "predict_teacher", "distill_logits@kd-2", "evaluate_logits@kd-2", "cost"]
    gone = ["distill_logits@kd-1", "distill_logits@ft-2", "evaluate_hidden@pkd-2", "export@kd-2"]
    monkeypatch.chdir(tmp_path)
    for name in [*kept, *gone]:
        record_file(name).parent.mkdir(parents=True, exist_ok=True)
        record_file(name).write_text(f'{{"stage": "{name}"}}')
    assert set(spent.records(params)) == set(kept)
