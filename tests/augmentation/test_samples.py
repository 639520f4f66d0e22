"""Samples of changed texts: which rows, which texts, and what teacher and student say of them."""

import datasets
import numpy as np
import pytest
import torch

from distill.augmentation import samples
from distill.augmentation.candidates import Candidates
from distill.augmentation.samples import Texts
from distill.data.features import preparation
from distill.data.loading.batches import Collator
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import train
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.manifest import Manifest
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from pipeline.distill import Run, changed_texts
from tests.helpers import masked, text, tiny
from tests.helpers.neighbours import Memory

WORDS = ["red", "green", "blue", "old", "new", "tall", "small", "grey", "wide", "plain"]
METADATA = {"qa": {"version_2": True}, "classification": {"labels": ["no", "maybe", "yes"]}, "regression": {}}
MATE = {"task_weight": 1, "kl_alpha": 1, "adversarial_alpha": 1, "mask_probability": 0.4, "gumbel_temperature": 1}
MATE |= {"generator_steps": 1, "student_steps": 1, "generator_learning_rate": 1e-3}
KNN = {"task_weight": 1, "kl_alpha": 1, "candidate_alpha": 1, "temperature": 2}
METHODS = {"mate": MATE, "knn": KNN | {"neighbours": 3}, "minimax_knn": KNN | {"selected": 1}}
METHODS["kd"] = {"task_weight": 1, "kl_alpha": 1, "temperature": 2, "divergence": "forward", "standardize": False}
METHODS["kd"] |= {"decoupled": False, "decoupled_alpha": 1, "decoupled_beta": 8}


def rows(task, count=30):
    """Questions with an answer in every other context; or pairs of texts."""
    draw, made = np.random.default_rng(1), []
    for i in range(count):
        phrase = " ".join(draw.choice(WORDS, 6))
        if task == "qa":
            answer = {"text": [phrase.split()[2]], "answer_start": [len(" ".join(phrase.split()[:2])) + 1]}
            answer = answer if i % 2 else {"text": [], "answer_start": []}
            made.append({"id": f"q{i}", "title": "", "context": phrase, "question": f"{WORDS[i % 10]} ?"})
            made[-1]["answers"] = answer
        else:
            label = i % 3 if task == "classification" else i / 4
            made.append({"id": f"t{i}", "text": phrase, "text_pair": " ".join(draw.choice(WORDS, 3)), "label": label})
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepared data by task, in words of one token each."""
    tokenizer, made = train([f"{word} ?" for word in WORDS] * 20, 200, lowercase=True), {}
    for task, meta in METADATA.items():
        folder = tmp_path_factory.mktemp(task) / "data"
        splits, extra = {"train": rows(task)}, {"task": task, **meta}
        if task == "qa":
            preparation.write(folder, splits, tokenizer, 32, 8, extra)
        else:
            preparation.write_texts(folder, splits, tokenizer, 32, task == "regression", extra)
        made[task] = Prepared(folder)
    return made


def built(prepared, name, task, seed=1, candidates=None):
    """(run, objective, teacher) of a method on tiny models."""
    data = prepared[task]
    tokenizer, kind = data.tokenizer(), load_task(task, labels=data.meta.get("labels", ()))
    fields = {"vocab_size": len(tokenizer)}
    if task == "qa":
        student, teacher = (tiny.model(seed=seed, **fields) for seed in (1, 2))
    else:
        student, teacher = (text.model(seed=seed, channels=kind.channels, **fields) for seed in (1, 2))
    setup = Setup(kind, student.config, teacher.config, seed, tokenizer, generator=masked.generator(**fields))
    setup.candidates = candidates
    method = registry.load(name)
    online = OnlineTeacher(teacher, kind, hidden=False, precision="fp32")
    objective = Distillation(student, method(method.Config(**METHODS[name]), setup), online).train()
    run = Run(None, Precision, name, seed, data, kind, Manifest("teacher", True, False, None))
    return run, objective, online


class Precision:
    """As much of the parameters as a sample reads."""

    class distill:
        precision = "fp32"


def neighbours(prepared, task):
    """Two candidates of each row: the rows after it, with logits that are known."""
    data = prepared[task]
    features = data.features("train")
    kind = load_task(task, labels=data.meta.get("labels", ()))
    lengths = np.array(features["length"]) if kind.per_token else np.ones(len(features), int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    logits = np.random.default_rng(2).normal(size=(offsets[-1], kind.channels)).astype(np.float32)
    near = (np.arange(len(features))[:, None] + [1, 2, 3]) % len(features)
    plain = features.select_columns(["input_ids", "token_type_ids", "length"])
    return Candidates(plain, Memory(logits, offsets, kind.per_token), near.astype(np.int32), kind, 0), logits


def alone(data, row, columns=("input_ids", "token_type_ids")):
    """A training row as a batch of one, without padding."""
    item = data.features("train")[row]
    batch = {name: torch.tensor([item[name]]) for name in columns}
    return batch | {"attention_mask": torch.ones_like(batch["input_ids"])}


def test_rows_are_spread_over_the_data():
    assert samples.rows_of(1000)[:3] == [0, 53, 105] and samples.rows_of(1000)[-1] == 999
    assert samples.rows_of(3) == [0, 1, 2] and len(set(samples.rows_of(21))) == samples.ROWS


@pytest.mark.parametrize("task", METADATA)
def test_texts_are_those_of_the_examples(prepared, task):
    data = prepared[task]
    names = ("question", "context") if task == "qa" else ("text", "text_pair")
    found = Texts.of(data)(Collator(0, ())([data.features("train")[row] for row in range(5)]))
    for texts, example in zip(found, data.examples("train").select(range(5)), strict=True):  # blanks may differ
        assert {name: "".join(shown.split()) for name, shown in texts.items()} == {
            name: "".join(example[name].split()) for name in names
        }


def test_a_single_text_may_hold_what_looks_like_a_separator():
    tokenizer = tiny.tokenizer()
    batch = {"input_ids": torch.tensor([[2, 5, 3, 6, 3, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0]])}
    assert Texts(tokenizer, ("text",))(batch) == [{"text": "w0 [SEP] w1"}]
    assert Texts(tokenizer, ("text", "text_pair"))(batch) == [{"text": "w0", "text_pair": "w1"}]
    no_pair = {name: value[:, [0, 1, 3, 4]] for name, value in batch.items()}
    assert Texts(tokenizer, ("text", "text_pair"))(no_pair) == [{"text": "w0 w1", "text_pair": ""}]


@pytest.mark.parametrize("task", METADATA)
def test_a_generator_changes_what_may_change_and_the_sample_is_the_same_again(prepared, task):
    run, objective, online = built(prepared, "mate", task)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    found = changed_texts(run, objective, online, None)
    assert objective.training and objective.method.adversary.generator.training
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    torch.rand(7)
    assert changed_texts(run, objective, online, None) == found  # whatever was drawn before
    assert changed_texts(*built(prepared, "mate", task, seed=2), None) != found
    examples = run.data.examples("train")
    assert [entry["row"] for entry in found] == samples.rows_of(30) and {e["source"] for e in found} == {"generator"}
    different = 0
    for entry in found:
        example, (changed,) = examples[entry["row"]], entry["changed"]
        assert entry["id"] == example["id"]
        old, new = entry["original"]["text"], changed["text"]
        names = ["context"] if task == "qa" else ["text", "text_pair"]
        if task == "qa":
            assert entry["gold"] == example["answers"]["text"] and new["question"] == old["question"]
            assert all(answer in new["context"] for answer in entry["gold"])  # it may go on: green##s
        else:
            labels = run.data.meta.get("labels")
            assert entry["gold"] == (labels[example["label"]] if labels else example["label"])
        different += sum(old[name] != new[name] for name in names)
    assert different > len(found) / 2


@pytest.mark.parametrize("task", METADATA)
def test_probabilities_are_those_of_each_text_alone(prepared, task):
    run, objective, online = built(prepared, "mate", task)
    entry = changed_texts(run, objective, online, None)[3]
    batch = alone(run.data, entry["row"])
    for name, model in (("teacher", online.model), ("student", objective.student)):
        with torch.no_grad():
            outputs, answers = model.eval()(**batch), entry["original"][name]
        if task == "qa":
            start, end = (side.double().softmax(1)[0] for side in (outputs.start_logits, outputs.end_logits))
            item = run.data.features("train")[entry["row"]]
            labelled = start[item["start_positions"]] * end[item["end_positions"]]
            best = max(start[i] * end[j] for i in range(len(start)) for j in range(i, len(end)))
            expected = {"labelled span": labelled.item(), "likeliest span": best.item()}
        elif task == "classification":
            expected = dict(zip(("no", "maybe", "yes"), outputs.logits.double().softmax(1)[0].tolist(), strict=True))
        else:
            expected = {"score": outputs.logits.item()}
        assert answers == pytest.approx(expected, abs=2e-5)
        assert entry["changed"][0][name].keys() == expected.keys()


@pytest.mark.parametrize(("name", "shown"), [("knn", 2), ("minimax_knn", 1)])
@pytest.mark.parametrize("task", ["qa", "classification"])
def test_neighbours_have_the_teachers_answers_of_the_cache(prepared, name, shown, task):
    candidates, logits = neighbours(prepared, task)
    run, objective, online = built(prepared, name, task, candidates=candidates)
    found, texts = changed_texts(run, objective, online, None), Texts.of(run.data)
    assert len(found) == samples.ROWS and {entry["source"] for entry in found} == {"neighbours"}
    for entry in found:
        assert len(entry["changed"]) == shown
        near = candidates.neighbours[entry["row"]].tolist()
        places = [(texts(alone(run.data, row))[0], row) for row in near]
        for k, changed in enumerate(entry["changed"]):
            possible = [
                row
                for shown_text, row in (places if name == "minimax_knn" else [places[k]])
                if shown_text == changed["text"]
            ]
            if task == "qa":  # a retrieved question has no label
                assert changed["teacher"].keys() == changed["student"].keys() == {"likeliest span"}
                assert possible
                continue
            known = [torch.from_numpy(logits[row]).double().softmax(0).tolist() for row in possible]
            assert any(list(changed["teacher"].values()) == pytest.approx(values, abs=1e-5) for values in known)


def test_copies_are_shown_beside_their_originals(prepared):
    run, objective, online = built(prepared, "kd", "classification")
    originals = run.data.features("train")
    marked = [
        {**row, "input_ids": [*row["input_ids"][:1], 20 + k, *row["input_ids"][2:]]}
        for row in originals
        for k in range(3)
    ]
    both = datasets.concatenate_datasets([originals, datasets.Dataset.from_list(marked, features=originals.features)])
    assert changed_texts(run, objective, online, None) == []
    found, words = changed_texts(run, objective, online, both), run.data.tokenizer().convert_ids_to_tokens([20, 21])
    assert len(found) == samples.ROWS and {entry["source"] for entry in found} == {"copies"}
    for entry in found:
        old = entry["original"]["text"]["text"].split()
        assert [changed["text"]["text"].split()[1:] for changed in entry["changed"]] == [old[1:]] * 2
        assert [changed["text"]["text"].split()[0] for changed in entry["changed"]] == words
        assert all(
            changed[name].keys() == {"no", "maybe", "yes"}
            for changed in entry["changed"]
            for name in ("teacher", "student")
        )


def test_without_a_teacher_there_are_no_answers_of_one(prepared):
    run, objective, online = built(prepared, "mate", "classification")
    run.manifest = Manifest("student", True, False, None)  # what it learnt from is another model
    for entry in changed_texts(run, objective, online, None):
        assert entry["original"].keys() == entry["changed"][0].keys() == {"text", "student"}
