"""Which parameters go with a transfer set, and with no labelled row at all."""

from pathlib import Path

import pytest

from distill.config import reading
from distill.config.data import NO_FILE
from distill.config.data_checks import is_trained
from distill.errors import UserError
from distill.methods import registry
from distill.parameters import parse
from tests.config.test_data_checks import FILES, HUB, SENTENCES, read
from tests.helpers import micro

MORE = FILES | {"data.transfer": "more.json"}
READY = {"teacher.train": False, "teacher.model": {"path": "t", "revision": None, "config": {}}}
NO_LABELS = (
    MORE
    | READY
    | {
        "data.train": NO_FILE,
        "data.selection": "chosen.json",
        "features.tokenizer.path": "t",
        "student.model.config.vocab_size": 100,
    }
)


def listed(name, changes, variant=None):
    """Parameters that list one method, or a variant of it."""
    raw = reading.parse((micro.ROOT / "tests/params.yaml").read_text(), "params.yaml")
    for field, value in changes.items():
        *parents, leaf = field.split(".")
        node = raw
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    raw["methods"] = [name]
    if variant:
        raw[name] = variant
    return parse(raw, Path("params.yaml"))


def test_a_transfer_set_is_a_file_or_a_split_of_the_hub():
    assert read(MORE | {"data.max_transfer_examples": 100}).data.splits()["transfer"] == "more.json"
    assert read(HUB | {"data.transfer_split": "unsupervised"}).data.splits()["transfer"] == "unsupervised"
    assert not read({}).data.has_transfer and read(MORE).data.has_transfer and read(MORE).data.has_labels


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.transfer": "more.json"}, "data.transfer is 'more.json' but data.source is 'embedded'"),
        (FILES | {"data.transfer_split": "x"}, "data.transfer_split is 'x' but data.source is 'files'"),
        (
            FILES | {"data.max_transfer_examples": 5},
            "there is no transfer set to draw from: set it to null",
        ),
        (FILES | {"data.extra": {"transfer": "x.json"}}, "scores that begin with transfer_ are taken"),
        (FILES | {"data.train": NO_FILE}, "and so is data.transfer: there is nothing to learn from"),
        (MORE | {"data.train": NO_FILE}, "and so is data.selection: there is nothing to carve it of"),
        (NO_LABELS | {"teacher.train": True}, "take one that is ready (teacher.train: false, or teacher.source"),
        (NO_LABELS | {"data.max_train_examples": 5}, "data.max_train_examples is 5 but data.train is data/none"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, words):
    with pytest.raises(UserError) as error:
        read(changes)
    assert words in str(error.value) and "\n" not in str(error.value)


ABLE = {
    "alp",
    "cilda",
    "ckd",
    "context",
    "dist",
    "freelb",
    "hidden",
    "kd",
    "knn",
    "lwd",
    "mate",
    "minimax_knn",
    "pkd",
    "rail",
    "relation",
    "rkd",
    "takd",
    "tinybert",
}


@pytest.mark.parametrize("name", registry.available())
def test_without_any_label_methods_that_read_labels_alone_are_refused_by_name(name):
    says = registry.load(name).needs_labels(read(FILES))
    if name in ABLE or not says:
        assert listed(name, NO_LABELS).methods == [name] and not says
        return
    with pytest.raises(UserError, match=f"methods: '{name}': .*(label|filters).*, and data.train is data/none"):
        listed(name, NO_LABELS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distill.transfer_share": 0}, "'kd': distill.transfer_share is 0 and data.train is data/none"),
        ({"distill.label_noise": 0.5}, "'kd': distill.label_noise is 0.5"),
        ({"augment.methods": ["kd"]}, "augment.methods: 'kd': copies are made of labelled texts"),
    ],
)
def test_without_any_label_nothing_else_may_read_them(changes, words):
    with pytest.raises(UserError) as error:
        listed("kd", NO_LABELS | changes)
    assert words in str(error.value)


def test_a_variant_is_asked_for_its_own_settings():
    with pytest.raises(UserError, match="'alone': distill.transfer_share is 0"):
        listed("alone", NO_LABELS, {"method": "kd", "distill": {"transfer_share": 0}})
    with pytest.raises(UserError, match="'plain': with kl_alpha 0 it learns from labels alone"):
        listed("plain", NO_LABELS, {"method": "freelb", "kl_alpha": 0})


def test_a_teacher_needs_labels_where_it_or_a_member_is_trained():
    trained = read(SENTENCES)
    ready = trained.teacher.model_copy(update={"train": False})
    stored = trained.teacher.model_copy(update={"source": "predictions"})
    assert is_trained(trained)
    for teacher in (ready, stored):
        assert not is_trained(trained.model_copy(update={"teacher": teacher}))
    ensemble = trained.teacher.model_copy(update={"source": "ensemble"})
    for members, expected in [((ready, stored), False), ((ready, trained.teacher), True)]:
        named = dict(zip("ab", members, strict=True))
        listed = trained.ensemble.model_copy(update={"members": list(named)})
        params = trained.model_copy(update={"teacher": ensemble, "members": named, "ensemble": listed})
        assert is_trained(params) is expected
