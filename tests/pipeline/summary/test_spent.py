"""Which stages' time counts as the teacher's part of a method."""

import json

import pytest
import yaml

from distill import parameters
from distill.methods import registry
from pipeline.process.records import record_file
from pipeline.summary import spent


@pytest.fixture(scope="module")
def params(root):
    changes = {"methods": registry.available(), "augment.methods": ["rkd"], "teacher.snapshots": 2}
    return parameters.load(root / "tests/params.yaml", changes)


@pytest.mark.parametrize("name", registry.available())
def test_every_method_names_stages_of_the_pipeline(name, params, root):
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert set(spent.upstream(name, params)) <= set(stages)


def test_a_method_is_taught_with_what_its_class_asks_for(params):
    teacher = ["finetune_teacher", "predict_teacher"]
    assert spent.upstream("ft", params) == spent.upstream("tfkd_reg", params) == []
    assert spent.upstream("kd", params) == spent.upstream("pro_kd", params) == teacher
    assert spent.upstream("tfkd_self", params) == spent.upstream("born_again", params) == ["finetune_student"]
    assert spent.upstream("ted", params) == [*teacher, "train_teacher_filters", "train_student_filters"]
    assert spent.upstream("takd", params) == [*teacher, "train_assistants"]
    assert spent.upstream("knn", params) == [*teacher, "retrieve"]
    assert spent.upstream("mate", params) == ["finetune_teacher", "train_generator"]  # its teacher runs along
    assert spent.upstream("tinybert", params) == ["finetune_teacher"]
    assert spent.upstream("rkd", params) == ["finetune_teacher", "train_generator", "augment"]


def test_a_teacher_that_is_no_model_has_no_training(root, tmp_path, monkeypatch):
    params = parameters.load(root / "tests/params.yaml", {"methods": []})
    monkeypatch.chdir(tmp_path)
    record_file("finetune_teacher").parent.mkdir(parents=True)
    for needed, runs, seconds in ((True, 1, 7.0), (False, 0, None)):
        record_file("finetune_teacher").write_text(json.dumps({"needed": needed, "seconds": 7.0}))
        cost = spent.training_costs(params)["teacher"]
        assert (cost["runs"], cost["seconds"]) == (runs, seconds)


def test_records_of_methods_and_seeds_that_are_no_longer_listed_do_not_count(root, tmp_path, monkeypatch):
    params = parameters.load(root / "tests/params.yaml", {"methods": ["kd"], "seeds": [2]})
    listed = ["finetune_teacher", "predict_teacher", "distill@kd-2", "evaluate@kd-2", "cost"]
    others = ["distill@kd-1", "distill@ft-2", "evaluate@pkd-2", "export@kd-2"]
    monkeypatch.chdir(tmp_path)
    for name in [*listed, *others]:
        record_file(name).parent.mkdir(parents=True, exist_ok=True)
        record_file(name).write_text(f'{{"stage": "{name}"}}')
    assert set(spent.records(params)) == set(listed)
