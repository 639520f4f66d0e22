"""A teacher with a tokenizer of its own: what methods ask for decides which of them can learn from it."""

import pytest

from distill import parameters
from distill.errors import UserError
from distill.methods import own_tokens, registry, requirements
from tests.helpers import token_table

COUNTS = {"student": 2, "teacher": 4}
TEXTS = {"task": "classification", "data.embedded": "sentences"}
LOGITS = {"ft", "adv", "kd", "dist", "rkd", "rw_kd", "annealing", "freelb", "tfkd_self", "tfkd_reg", "born_again"}
LOGITS |= {"pro_kd"}
ALL_TOKENS = "compares the states of all tokens, one by one"
NEIGHBOURS = "learns from neighbours of the training texts, which are tokens of the student"
WINDOWS = "compares the first token's states of windows, which are not of the same text in both tokenizers"
ALONG = "runs the teacher along, on tokens of the student (the method needs the model itself)"
ALWAYS = {
    "cilda": ALONG,
    "ckd": ALL_TOKENS,
    "combined": ALONG,
    "context": ALL_TOKENS,
    "knn": NEIGHBOURS,
    "lwd": ALL_TOKENS,
    "mate": ALONG,
    "minimax_knn": NEIGHBOURS,
    "relation": "runs the teacher along, on tokens of the student (the method needs attention scores and queries, keys"
    " and values)",
    "takd": "needs an assistant that starts with layers of the teacher, whose embeddings are of another vocabulary"
    " (assistant.chain.0.init)",
    "ted": ALL_TOKENS,
    "tinybert": "runs the teacher along, on tokens of the student (the method needs attention scores and the model"
    " itself)",
}


def load(root, methods, **changes):
    return parameters.load(root / "tests/params.yaml", {"methods": list(methods), "teacher.snapshots": 2} | changes)


def asked(params):
    return {name: requirements.request(name, params, COUNTS) for name in params.methods}


def reasons(params):
    return {name: why for name, request in asked(params).items() if (why := own_tokens.reason(request, params))}


def test_with_texts_logits_and_first_token_states_are_enough(root):
    params = load(root, registry.available(), **TEXTS)
    assert reasons(params) == ALWAYS
    assert set(params.methods) - set(ALWAYS) == LOGITS | {"pkd", "hidden", "alp", "rail"}


def test_with_questions_logits_alone(root):
    params = load(root, registry.available())
    assert reasons(params) == ALWAYS | dict.fromkeys(("pkd", "hidden", "alp", "rail"), WINDOWS)


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("alp", {"alp.tokens": "all"}, ALL_TOKENS),
        ("rail", {"rail.pooling": "mean"}, ALL_TOKENS),
        ("lwd", {"lwd.mask": False}, "runs the teacher along, .* needs the states of padding too"),
        ("kd", {"augment.methods": ["kd"]}, "learns from augmented copies, .* \\(augment.methods\\)"),
        ("pkd", {"augment.methods": ["pkd"]}, "learns from augmented copies"),
        ("ft", {"distill.init": "teacher_layers"}, "starts with layers of the teacher, .* \\(distill.init\\)"),
        ("kd", {"distill.init": "teacher_layers"}, "starts with layers of the teacher"),
    ],
)
def test_settings_decide_too(root, method, changes, said):
    params = load(root, [method, "tfkd_self"] if method == "ft" else [method], **TEXTS | changes)
    with pytest.raises(UserError, match=f"different tokenizers .*'{method}' {said}"):
        own_tokens.check(params, asked(params))


def test_all_that_is_refused_is_named_at_once(root):
    params = load(root, ["ft", "kd", "lwd", "mate", "pkd"], **TEXTS)
    with pytest.raises(UserError) as error:
        own_tokens.check(params, asked(params))
    assert str(error.value) == (
        "params.yaml: teacher and student have different tokenizers (teacher.tokenizer, student.tokenizer): 'lwd'"
        f" {ALL_TOKENS}; 'mate' {ALONG}: take them out of methods, or give both models one tokenizer"
    )
    own_tokens.check(load(root, ["ft", "kd", "pkd"], **TEXTS), asked(load(root, ["ft", "kd", "pkd"], **TEXTS)))


def test_a_student_of_the_teachers_layers_is_refused(root):
    params = load(root, ["ft"], **{"student.init": "teacher_layers"})
    with pytest.raises(UserError, match="student.init is 'teacher_layers', .*: set it to random or pretrained"):
        own_tokens.check(params, asked(params))


def test_an_assistant_that_starts_by_itself_is_taken(root):
    params = load(root, ["takd"])
    (link,) = params.assistant.chain
    own = link.model_copy(update={"init": "random", "model": params.student.model})
    chain = params.assistant.model_copy(update={"chain": [own, link]})
    params = params.model_copy(update={"assistant": chain})
    assert reasons(params) == {}


def test_the_page_says_what_stage_plan_does():
    assert token_table.PAGE.read_text() == token_table.page(), "run python -m tests.helpers.token_table"
