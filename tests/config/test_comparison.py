"""Baselines and seeds for confirmation that contradict the rest are refused before anything runs."""

from pathlib import Path

import pytest

from distill import parameters
from distill.config import reading
from distill.errors import UserError
from tests.helpers import micro

CONFIRMED = {"methods": ["ft", "kd", "ted"], "confirm.methods": ["ted", "ft"], "confirm.seeds": [7, 8]}


def load(changes):
    return parameters.parse(reading.parse(micro.params(changes), "params.yaml"), Path("params.yaml"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"methods": ["kd"]},  # the default baseline is not listed: no comparison, as ever
        {"methods": ["ft", "lwd"]},  # nor is kd
        {"methods": ["ft", "kd"], "compare.baseline": "kd"},  # compare.also still names kd
        {"compare.also": []},
        {"seeds": [1, 2], "compare.baseline_seeds": [3, 4]},
        CONFIRMED,
    ],
)
def test_what_goes_together_passes(changes):
    params = load(changes)
    assert params.compare.baseline == changes.get("compare.baseline", "ft")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compare.baseline": "tedd"}, ["compare.baseline: no method 'tedd'", "did you mean 'ted'"]),
        ({"compare.also": ["kdd"]}, ["compare.also: no method 'kdd'"]),
        ({"compare.also": ["kd", "kd"]}, ["compare.also", "each once"]),
        ({"compare.baseline_seeds": [2, 2]}, ["compare.baseline_seeds: [2, 2]", "each once"]),
        ({"seeds": [1, 2], "compare.baseline_seeds": [2]}, ["compare.baseline_seeds: 2 is among seeds [1, 2]"]),
        ({"methods": ["kd"], "compare.baseline_seeds": [2]}, ["the baseline 'ft' is not trained", "add it to methods"]),
        (CONFIRMED | {"confirm.seeds": []}, ["confirm.seeds: empty, but confirm.methods is not"]),
        (CONFIRMED | {"confirm.methods": []}, ["confirm.methods: empty, but confirm.seeds is not"]),
        (CONFIRMED | {"confirm.seeds": [1]}, ["confirm.seeds: 1 is among seeds [1]"]),
        (
            CONFIRMED | {"compare.baseline_seeds": [7]},
            ["confirm.seeds: 7 is among compare.baseline_seeds [7]", "choose another number"],
        ),
        (CONFIRMED | {"confirm.methods": ["ft", "lwd"]}, ["confirm.methods: 'lwd' is not trained"]),
        (CONFIRMED | {"confirm.methods": ["kd", "ted"]}, ["confirm.methods", "without compare.baseline 'ft'"]),
        (CONFIRMED | {"confirm.methods": ["ft"]}, ["the baseline alone"]),
        ({"confirm.seeds": [-1]}, ["confirm.seeds.0", "-1"]),
    ],
)
def test_a_contradiction_is_one_line_that_says_the_fix(changes, words):
    with pytest.raises(UserError) as error:
        load(changes)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)
