"""Stages evaluate and summarize: tables of examples, comparison, analysis, training cost, from three kinds of task."""

import csv
import json
import shutil

import numpy as np
import pytest

from distill.analysis import example_table
from distill.tasks import glue, squad
from pipeline.commands import compare
from tests.helpers import micro, pictures

pytestmark = pytest.mark.slow

METHODS = {"methods": ["ft", "kd"], "seeds": [1, 2]}
COMPARE = {"compare.resamples": 300}
SENTENCES = {"task": "classification", "data.embedded": "sentences"}
SIMILARITY = {
    "task": "regression",
    "data.embedded": "similarity",
    "data.text": "sentence1",
    "data.text_pair": "sentence2",
    "data.label": "score",
}
MODELS = ["teacher", "student", "ft", "kd"]
LABELS = ["teacher", "student", "ft-1", "ft-2", "kd-1", "kd-2"]


# ft and kd with two seeds.
STUDENTS = (("ft", "1"), ("ft", "2"), ("kd", "1"), ("kd", "2"))
FINISH = (
    *(("distill", *student) for student in STUDENTS),
    ("evaluate_teacher",),
    ("evaluate", "student"),
    *(("evaluate", *student) for student in STUDENTS),
    ("cost",),
    ("summarize",),
)


@pytest.fixture(scope="module")
def questions(base, stages, tmp_path_factory):
    repo = shutil.copytree(base, tmp_path_factory.mktemp("questions") / "repo")
    (repo / "params.yaml").write_text(micro.params(METHODS | COMPARE))
    stages.run_all(repo, (("plan",), ("signals",), *FINISH))
    return repo


def texts(kind, stages, tmp_path_factory):
    repo = micro.repo(tmp_path_factory.mktemp("texts") / "repo", METHODS | COMPARE | kind)
    stages.run_all(repo, (*micro.BASE, *FINISH))
    return repo


@pytest.fixture(scope="module")
def sentences(stages, tmp_path_factory):
    return texts(SENTENCES, stages, tmp_path_factory)


@pytest.fixture(scope="module")
def similarity(stages, tmp_path_factory):
    return texts(SIMILARITY, stages, tmp_path_factory)


def content(repo, path):
    return json.loads((repo / path).read_text())


def rows(repo, label):
    with (repo / f"data/predictions/{label}.examples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(repo, label, name):
    return np.array([float(row[name]) for row in rows(repo, label)])


def test_question_tables_give_the_scores_of_their_run(questions):
    for label in LABELS:
        scores = content(questions, f"metrics/runs/{label}.json")
        names = ["id", "em", "f1", "tuned_em", "tuned_f1", "confidence", "calibrated", "correct"]
        assert list(rows(questions, label)[0]) == names
        for name in names[1:5]:
            assert column(questions, label, name).mean() == pytest.approx(scores[name], abs=1e-9)
        assert (column(questions, label, "correct") == column(questions, label, "em") / 100).all()
        assert [row["id"] for row in rows(questions, label)] == list(
            content(questions, f"data/predictions/{label}.json")
        )
        assert 0.05 <= scores["temperature"] <= 20 and 0 <= scores["ece_calibrated"] <= 100


def test_class_tables_give_the_scores_of_their_run(sentences):
    classes = content(sentences, "data/prepared/meta.json")["labels"]
    for label in LABELS:
        table, scores = rows(sentences, label), content(sentences, f"metrics/runs/{label}.json")
        gold, predicted = (np.array([classes.index(row[name]) for row in table]) for name in ("gold", "predicted"))
        assert glue.classification(predicted, gold, len(classes)) == {
            name: scores[name] for name in ("accuracy", "f1", "mcc", "macro_f1")
        }
        assert column(sentences, label, "accuracy").mean() == pytest.approx(scores["accuracy"])
        said = content(sentences, f"data/predictions/{label}.json")
        assert column(sentences, label, "confidence") == pytest.approx(
            [max(item["probabilities"].values()) for item in said.values()], abs=1e-6
        )


def test_number_tables_give_the_scores_of_their_run(similarity):
    for label in LABELS:
        scores = content(similarity, f"metrics/runs/{label}.json")
        found = glue.regression(column(similarity, label, "predicted"), column(similarity, label, "gold"))
        assert found == pytest.approx({name: scores[name] for name in found})
        assert list(rows(similarity, label)[0]) == ["id", "gold", "predicted"]


@pytest.mark.parametrize(
    ("kind", "metric"), [("questions", "f1"), ("sentences", "accuracy"), ("similarity", "pearson")]
)
def test_the_summary_compares_every_method_with_ft(kind, metric, request):
    repo = request.getfixturevalue(kind)
    summary = content(repo, "metrics/summary.json")
    assert list(summary) == MODELS
    assert not any("verdict" in summary[name] for name in ("teacher", "student", "ft"))
    kd, ft, teacher = summary["kd"], summary["ft"], summary["teacher"]
    assert kd[f"{metric}_vs_ft"] == pytest.approx(kd[metric] - ft[metric])
    assert kd[f"{metric}_vs_ft_low"] <= kd[f"{metric}_vs_ft"] <= kd[f"{metric}_vs_ft_high"]
    assert 0 < kd[f"{metric}_vs_ft_p"] <= 1 and kd["verdict"] in ("better", "worse", "cannot tell")
    gap = teacher[metric] - ft[metric]
    assert kd["gap_closed"] == (pytest.approx(100 * (kd[metric] - ft[metric]) / gap) if gap > 0 else None)
    with (repo / "metrics/summary.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["", "", "", kd["verdict"]]


def test_the_same_inputs_give_the_same_bytes(questions, stages):
    files = ["summary.json", "summary.csv", "analysis.json"]
    before = [(questions / "metrics" / name).read_bytes() for name in files]
    stages.run(questions, "evaluate", "kd", "1")
    stages.run(questions, "summarize", env=pictures.DRAWN)
    assert [(questions / "metrics" / name).read_bytes() for name in files] == before
    assert "<path" in (questions / "metrics/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "names", "metric"),
    [
        ("questions", ["answerable", "question_word", "answer_length", "context_length"], "f1"),
        ("sentences", ["class", "text_length"], "accuracy"),
        ("similarity", ["gold", "text_length"], "mse"),
    ],
)
def test_slices_hold_every_example_once_and_average_to_the_score(kind, names, metric, request):
    repo = request.getfixturevalue(kind)
    analysis = content(repo, "metrics/analysis.json")
    assert [part["name"] for part in analysis["slices"]] == names
    total = len(rows(repo, "teacher"))
    for part in analysis["slices"]:
        sizes = np.array([group["examples"] for group in part["groups"]])
        assert part["metric"] == metric and sizes.all()
        if part["name"] == "answer_length":  # only of the questions that have one
            assert 0 < sizes.sum() < total
            continue
        assert sizes.sum() == total
        for label in ("teacher", "student"):
            scores = [group["scores"][label] for group in part["groups"]]
            score = content(repo, f"metrics/runs/{label}.json")[metric]
            assert np.average(scores, weights=sizes) == pytest.approx(score)
        assert [list(group["scores"]) for group in part["groups"]] == [MODELS] * len(sizes)


def test_questions_with_and_without_an_answer_have_the_official_scores(questions):
    part = content(questions, "metrics/analysis.json")["slices"][0]
    summary = content(questions, "metrics/summary.json")
    for group, key in zip(part["groups"], ("has_answer_f1", "no_answer_f1"), strict=True):
        assert group["scores"] == pytest.approx({name: summary[name][key] for name in MODELS})
    assert [group["group"] for group in part["groups"]] == ["HasAns", "NoAns"]


@pytest.mark.parametrize("kind", ["questions", "sentences"])
def test_calibration_is_the_mean_over_seeds(kind, request):
    repo = request.getfixturevalue(kind)
    found = content(repo, "metrics/analysis.json")["calibration"]
    assert list(found) == MODELS
    for name, labels in {"teacher": ["teacher"], "kd": ["kd-1", "kd-2"]}.items():
        runs = [content(repo, f"metrics/runs/{label}.json") for label in labels]
        for key in ("ece", "ece_calibrated", "temperature"):
            assert found[name][key] == pytest.approx(np.mean([run[key] for run in runs]))
        bins = found[name]["bins"]
        assert [(item["from"], item["to"]) for item in bins] == [(k / 10, (k + 1) / 10) for k in range(10)]
        for prefix in ("", "calibrated_"):
            assert sum(item[f"{prefix}examples"] for item in bins) == len(rows(repo, "teacher"))
    if kind == "sentences":  # one seed: the bins alone give the error
        gaps = [b["examples"] * abs(b["accuracy"] - b["confidence"]) for b in found["teacher"]["bins"] if b["examples"]]
        assert found["teacher"]["ece"] == pytest.approx(100 * sum(gaps) / len(rows(repo, "teacher")))


def test_numbers_have_no_calibration_and_agree_by_correlation(similarity):
    found = content(similarity, "metrics/analysis.json")
    assert found["calibration"] == {}
    numbers = {label: column(similarity, label, "predicted") for label in LABELS}
    expected = [100 * np.corrcoef(numbers["teacher"], numbers[label])[0, 1] for label in ("kd-1", "kd-2")]
    assert found["agreement"]["kd"] == pytest.approx(np.mean(expected))
    assert found["disagreements"] == {"models": ["teacher", "ft", "kd"], "counts": []}
    shown = content(similarity, "data/disagreements.json")["examples"]
    first = shown[0]
    error = {name: abs(first["answers"][name] - first["gold"]) for name in ("ft", "kd")}
    assert error["kd"] < error["ft"] and first["right"] == [] and set(first["text"]) == {"text", "text_pair"}


def test_agreement_is_of_normalised_answers(questions):
    said = {label: content(questions, f"data/predictions/{label}.json") for label in LABELS}

    def share(label):
        same = [squad.normalize(said[label][key]) == squad.normalize(text) for key, text in said["teacher"].items()]
        return 100 * np.mean(same)

    found = content(questions, "metrics/analysis.json")["agreement"]
    assert list(found) == ["student", "ft", "kd"]
    assert found["student"] == pytest.approx(share("student"))
    assert found["ft"] == pytest.approx((share("ft-1") + share("ft-2")) / 2)


def test_disagreements_have_texts_and_say_who_is_right(questions):
    listed = content(questions, "data/disagreements.json")
    counts = content(questions, "metrics/analysis.json")["disagreements"]
    assert listed["models"] == counts["models"] == ["teacher", "ft", "kd"]
    assert sum(item["examples"] for item in counts["counts"]) == len(rows(questions, "teacher"))
    right = {
        name: column(questions, label, "correct")
        for name, label in zip(("teacher", "ft", "kd"), ("teacher", "ft-1", "kd-1"), strict=True)
    }
    ids = [row["id"] for row in rows(questions, "teacher")]
    for item in listed["examples"]:
        place = ids.index(item["id"])
        assert item["right"] == [name for name in right if right[name][place]]
        assert 0 < len(item["right"]) < 3
        assert all(answer in item["text"]["context"] for answer in item["gold"])
        assert item["answers"]["kd"] == content(questions, "data/predictions/kd-1.json")[item["id"]]


def test_training_cost_has_the_teachers_part_of_what_needs_it(questions):
    found = content(questions, "metrics/training.json")
    assert list(found) == MODELS

    def seconds(stage):
        return content(questions, f"data/runs/{stage}.json")["seconds"]

    teacher = seconds("finetune_teacher") + seconds("predict_teacher")
    assert found["kd"]["teacher_seconds"] == pytest.approx(teacher, abs=1e-3)
    assert found["ft"]["teacher_seconds"] == found["teacher"]["teacher_seconds"] == 0
    both = (seconds("distill-kd-1") + seconds("distill-kd-2")) / 2
    assert found["kd"]["seconds"] == pytest.approx(both, abs=1e-3) and found["kd"]["runs"] == 2
    assert found["student"]["updates"] == 8


def test_the_confidence_in_answers_has_scores_with_intervals(sentences):
    for name, row in content(sentences, "metrics/analysis.json")["calibration"].items():
        labels = [label for label in LABELS if label.split("-")[0] == name]
        sure, right = (
            np.array([column(sentences, label, key) for label in labels]) for key in ("confidence", "correct")
        )
        assert row["answer_brier"] == pytest.approx(((sure - right) ** 2).mean())
        for score in ("ece", "ece_calibrated", "answer_brier", "answer_log_loss", "answer_log_loss_calibrated"):
            assert 0 <= row[f"{score}_low"] <= row[f"{score}_high"]


def test_any_pair_can_be_compared_afterwards(questions, monkeypatch, capsys):
    monkeypatch.chdir(questions)
    assert compare.main(["kd", "ft"]) == 0
    kd = content(questions, "metrics/summary.json")["kd"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| kd − ft"))
    assert f"{kd['f1_vs_ft']:+.2f}".replace("-", "−") in line and f" {kd['f1_vs_ft_p']:.3f} " in line
    assert compare.main([]) == 0 and "| kd − ft |" in capsys.readouterr().out


def test_another_baseline_further_seeds_of_it_and_fresh_seeds(questions, stages, tmp_path):
    """kd as the baseline with seed 2 for itself alone; seed 2 of ft and kd stands for fresh seeds in a second run."""
    repo = shutil.copytree(questions, tmp_path / "repo")
    changes = METHODS | COMPARE | {"compare.baseline": "kd", "seeds": [1], "compare.baseline_seeds": [2]}
    (repo / "params.yaml").write_text(micro.params(changes))
    stages.run(repo, "summarize")
    summary = content(repo, "metrics/summary.json")
    assert summary["kd"]["seeds"] == [1, 2] and summary["ft"]["seeds"] == [1] and "verdict" not in summary["kd"]
    assert summary["ft"]["f1_vs_kd"] == pytest.approx(summary["ft"]["f1"] - summary["kd"]["f1"])
    assert content(repo, "metrics/confirm.json") == {}
    fresh = {"seeds": [1], "compare.also": ["kd"], "confirm.methods": ["kd", "ft"], "confirm.seeds": [2]}
    (repo / "params.yaml").write_text(micro.params(METHODS | COMPARE | fresh))
    stages.run(repo, "summarize")
    confirm, runs = content(repo, "metrics/confirm.json"), content(questions, "metrics/runs/kd-2.json")
    assert (
        confirm["kd"]["f1"] == runs["f1"] and confirm["kd"]["seeds"] == [2] and list(confirm) == ["teacher", "kd", "ft"]
    )
    assert confirm["kd"]["verdict"] == "one seed"
    summary = content(repo, "metrics/summary.json")
    assert summary["ft"]["verdict_vs_kd"] == "one seed" and "verdict" not in summary["ft"]
    assert summary["ft"]["f1_vs_kd"] == pytest.approx(-summary["kd"]["f1_vs_ft"])
    assert "On fresh seeds: 2" in (repo / "metrics/report.md").read_text()


def test_one_seed_says_so(questions, stages, tmp_path):
    repo = shutil.copytree(questions, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(METHODS | COMPARE | {"seeds": [2]}))
    stages.run(repo, "summarize")
    kd = content(repo, "metrics/summary.json")["kd"]
    assert kd["verdict"] == "one seed" and kd["f1_vs_ft_p"] is None and kd["f1_std"] is None
    assert kd["f1_vs_ft_low"] <= kd["f1_vs_ft"] <= kd["f1_vs_ft_high"]


def test_without_ft_nothing_is_compared(questions, stages, tmp_path):
    repo = shutil.copytree(questions, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(METHODS | COMPARE | {"methods": ["kd"]}))
    stages.run(repo, "summarize")
    kd = content(repo, "metrics/summary.json")["kd"]
    assert not {"verdict", "gap_closed", "f1_vs_ft"} & set(kd)
    assert content(repo, "data/disagreements.json")["models"] == ["teacher", "kd"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "kd-2.examples.csv: missing: run `dvc repro`"),
        (lambda path: path.write_text("a,b\n1,2\n"), "kd-2.examples.csv: not a table of examples"),
        (
            lambda path: path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n"),
            "kd-2.examples.csv: has other examples than data/predictions/teacher.examples.csv",
        ),
    ],
)
def test_tables_of_an_older_run_are_refused_with_the_fix(questions, stages, tmp_path, damage, said):
    repo = shutil.copytree(questions, tmp_path / "repo")
    damage(repo / "data/predictions/kd-2.examples.csv")
    before = (repo / "metrics/summary.json").read_bytes()
    done = stages.run(repo, "summarize", check=False)
    assert done.code == 2 and said in done.err and "dvc repro" in done.err and done.err.count("\n") == 1
    assert (repo / "metrics/summary.json").read_bytes() == before


def test_the_tables_read_as_they_were_written(sentences):
    path = sentences / "data/predictions/kd-1.examples.csv"
    table = example_table.read(path)
    assert list(table.index) == [row["id"] for row in rows(sentences, "kd-1")]
    assert table["confidence"].tolist() == column(sentences, "kd-1", "confidence").tolist()
