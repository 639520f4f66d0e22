"""Whatever params.yaml says is read, or refused in one line that names the place: never a traceback."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from distill import parameters
from distill.config import training
from distill.config.params import Params
from distill.errors import UserError
from distill.methods import registry
from tests.helpers import micro

FILE = Path("params.yaml")
METHODS = ["ft", "kd", "ted", "takd", "mate", "alp", "pkd", "ckd", "tinybert"]
LAYERS = {"teacher.model.config.num_hidden_layers": 4, "student.model.config.num_hidden_layers": 2}
BASE = yaml.safe_load(micro.params({"methods": METHODS} | LAYERS))


def places(values: Any, prefix: tuple = ()) -> list[tuple]:
    """The way to every value, sections among them."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [way for key, value in items for way in ((*prefix, key), *places(value, (*prefix, key)))]


WORDS = st.sampled_from(
    [
        "",
        " ",
        "null",
        "~",
        "../..",
        "a b",
        "é\u202e",
        "\x00",
        "1e-05",
        "nan",
        "-1",
        "last",
        "uniform",
        "teacher_layers",
        "bert",
    ]
)
NUMBERS = st.one_of(
    st.integers(-3, 5), st.sampled_from([2**31, 2**32, 2**63, -(2**70), 10**400]), st.floats(width=32), st.booleans()
)
SCALARS = st.one_of(st.none(), WORDS, NUMBERS, st.text(max_size=5))
KEYS = st.one_of(WORDS, st.sampled_from(["value", "schedule", "warmup", "path", "config"]), SCALARS)
WILD = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS.filter(lambda key: key == key), inner, max_size=3),
    max_leaves=6,
)


def put(values: dict, way: tuple, value: Any) -> None:
    for key in way[:-1]:
        values = values[key]
    values[way[-1]] = value


def read(values: Any) -> Params | str:
    try:
        return parameters.parse(values, FILE)
    except UserError as error:
        message = str(error)
        assert message.startswith("params.yaml: ") and "\n" not in message and "Traceback" not in message
        return message


@given(st.sampled_from(places(BASE)), WILD)
@example(("rkd",), {"\n": None})
@example(("seeds",), [-1])
@example(("seeds",), [2**32])
@example(("teacher", "model", "config"), {"num_hidden_layers": 10**400})
@example(("teacher", "model", "config", "num_hidden_layers"), [])
@example(("student", "model", "config", "num_hidden_layers"), 2**63)
@example(("student", "model", "config", "num_attention_heads"), "two")
@example(("kd", "kl_alpha"), {"value": 1, "schedule": "linear", "warmup": float("nan")})
@example(("methods",), [["kd"]])
@example(("methods",), [None])
@example(("export", "methods"), {"kd": 1})
@example(("training",), None)
@example(("assistant", "chain"), [{}])
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_value_anywhere_is_read_or_refused(way, value):
    values = copy.deepcopy(BASE)
    put(values, way, value)
    answer = read(values)
    if isinstance(answer, str) and way[0] not in ("training", "methods", "seeds", "task"):
        assert way[0] in answer


def test_the_file_itself_is_read():
    assert isinstance(read(copy.deepcopy(BASE)), Params)


@given(st.sampled_from(places(BASE)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_value_may_be_missing(way):
    values = copy.deepcopy(BASE)
    parent = values
    for key in way[:-1]:
        parent = parent[key]
    del parent[way[-1]]
    answer = read(values)
    overridable = way[-1] in training.shared(way[0]) if way[0] in training.SECTIONS else False
    unlisted = len(way) == 1 and way[0] in registry.available() and way[0] not in METHODS
    assert isinstance(answer, str) or overridable or unlisted or isinstance(parent, list) or "config" in way


@given(st.one_of(SCALARS, st.lists(WORDS, max_size=2)), WILD)
@example("<", None)
@example("[key]", 1)
@example("", 1)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_further_section_is_refused(name, value):
    if isinstance(name, list) or name != name or name in BASE:
        return
    assert isinstance(read(BASE | {name: value}), str)


@given(st.binary(max_size=40), st.integers(0, len(micro.params())))
@example(b"\xff\xfe", 0)
@example("é".encode("latin-1"), 30)
@example(b"[" * 40, 0)
@example(b"a: &a [*a]\n", 0)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_bytes_in_the_file_are_read_or_refused(tmp_path_factory, content, place):
    file = tmp_path_factory.mktemp("wild") / "params.yaml"
    text = micro.params().encode()
    file.write_bytes(text[:place] + content + text[place:])
    try:
        parameters.load(file)
    except UserError as error:
        assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
