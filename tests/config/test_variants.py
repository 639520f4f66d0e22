"""Variants: a method's section and section distill with changes, under a name of their own."""

import pytest

from distill import parameters
from distill.config.variants import problem_with_name
from distill.errors import UserError

LIGHT = {"methods": ["ft", "ted", "light"], "light.method": "ted", "light.mse_alpha": 7}


@pytest.fixture
def load(root):
    return lambda **changes: parameters.load(
        root / "tests/params.yaml", LIGHT | {k.replace("__", "."): v for k, v in changes.items()}
    )


def test_a_variant_has_the_sections_values_but_for_its_changes(load):
    params = load(light__distill={"learning_rate": 1e-5, "batch_size": 4})
    assert params.method_of("light") == "ted" and params.method_of("ted") == "ted"
    plain, light = params.sections["ted"], params.sections["light"]
    assert light.mse_alpha.value == 7 != plain.mse_alpha.value
    assert light.model_copy(update={"mse_alpha": plain.mse_alpha}) == plain
    resolved = params.resolved("light")
    assert resolved.sections["ted"] is light and params.sections["ted"] is plain
    assert resolved.distill.learning_rate == 1e-5 and resolved.distill.batch_size == 4
    assert resolved.distill.epochs == params.distill.epochs and params.distill.batch_size != 4
    assert params.resolved("ted") is params


def test_a_change_of_the_section_reaches_its_variants(load):
    assert load(ted__temperature=5).sections["light"].temperature == 5
    assert load(ted__temperature=5, light__temperature=1).sections["light"].temperature == 1
    assert load(training__batch_size=64, light__distill={"epochs": 2}).resolved("light").distill.batch_size == 64


def test_a_variant_that_is_not_listed_is_read_all_the_same(load):
    params = load(methods=["ft"])
    assert params.variants["light"].method == "ted"
    with pytest.raises(UserError, match=r"light.mse_alfa: unknown parameter: did you mean 'mse_alpha'"):
        load(methods=["ft"], light__mse_alfa=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"light__mse_alpha": "x"}, r"light\.mse_alpha\.value: 'x': input should be a valid number"),
        ({"light__method": "tde"}, r"light\.method: no method 'tde': did you mean 'ted'"),
        ({"light__method": ["ted"]}, r"light\.method: no method"),
        ({"light__distill": {"epocs": 1}}, r"light\.distill\.epocs: unknown parameter: did you mean 'epochs'"),
        ({"light__distill": {"epochs": 0}}, r"light\.distill\.epochs: 0: input should be greater than 0"),
        ({"light__distill": 3}, r"light\.distill: 3: expected names and values below it"),
        (
            {"light__distill": {"init": "teacher_layers"}},
            r"light\.distill\.init: .* filters are trained on the student",
        ),
        ({"light__mse_alpha": 1000}, r"methods: 'ted' and 'light' are both ted with the same settings: change one"),
        ({"twin": {"method": "ted", "mse_alpha": 7.0}, "methods": ["light", "twin"]}, r"methods: 'light' and 'twin'"),
        ({"light__filter_interval": 3}, r"light: ted\.filter_interval: 3: there are only 2 pairs"),
        ({"distill__epochs": -1}, r"params\.yaml: distill\.epochs: -1: input should be greater than 0$"),
        ({"methods": ["ft", "ligth"]}, r"methods: no method 'ligth': did you mean 'light'"),
        ({"augment__methods": ["light"]}, r"augment\.methods: 'light' cannot learn from copies"),
        ({"variants": {}}, r"variants: unknown section"),
        ({"Kd": {"method": "kd"}}, r"Kd: differs from 'kd' by capitals alone"),
        ({"a b": {"method": "kd"}}, r"a b: expected a name of letters"),
        ({"teacher": {"method": "kd"}}, r"teacher\.method: unknown parameter"),
        ({"filters": {"method": "kd"}}, r"filters: the pipeline's files have this name"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(load, changes, message):
    with pytest.raises(UserError, match=message) as error:
        load(**changes)
    assert "\n" not in str(error.value) and str(error.value).count("epochs: -1") <= 1


def test_copies_make_a_difference(load):
    plain = {"method": "kd"}
    params = load(methods=["kd", "more"], more=plain, augment__methods=["more"])
    assert params.methods == ["kd", "more"]


@pytest.mark.parametrize("name", ["ted-1", "a", "A_b-c", "kd-T4", "x" * 60])
def test_names_may_have_single_hyphens(name):
    assert problem_with_name(name, ["kd"], [name]) is None


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "1a", "a.b", "a/b", "../x", "a b", "ö", "x" * 61, 3, None])
def test_names_are_parts_of_file_names(name):
    assert problem_with_name(name, [], [])


EARLY = {"methods": ["kd", "early"], "early.method": "kd", "early.teacher_snapshot": 2, "teacher.snapshots": 2}


def test_a_variant_may_have_a_checkpoint_of_the_teacher_as_its_teacher(root):
    params = parameters.load(root / "tests/params.yaml", EARLY)
    assert params.snapshot_of("early") == 2 and params.snapshot_of("kd") is None
    assert params.sections["early"] == params.sections["kd"]  # and yet they are not the same


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher.snapshots": 1}, "early.teacher_snapshot: 2, but teacher.snapshots keeps 1 checkpoints: set that to"),
        ({"early.teacher_snapshot": 0}, "early.teacher_snapshot: 0: input should be greater than or equal to 1"),
        ({"early.method": "lwd"}, "early.teacher_snapshot: 2, but lwd learns from more than a teacher's logits"),
        ({"early.method": "mate"}, "early.teacher_snapshot: 2, but mate learns from more than a teacher's logits"),
        ({"early.method": "pro_kd"}, "early.teacher_snapshot: 2, but pro_kd learns from more"),
        ({"augment.methods": ["early"]}, "early.teacher_snapshot: 2, but kd learns from more"),
    ],
)
def test_a_checkpoint_that_is_not_there_or_not_asked_is_refused(root, changes, said):
    with pytest.raises(UserError, match=said):
        parameters.load(root / "tests/params.yaml", EARLY | changes)
