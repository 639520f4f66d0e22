"""What the command prints of a pair and of all pairs; the slow tests of stage summarize run it on a whole project."""

import numpy as np
import pytest

from distill.analysis.bootstrap import Mean
from distill.analysis.significance import Scored, compare, pairs
from distill.errors import UserError
from distill.tasks.registry import load_task
from pipeline.commands import compare as command
from pipeline.stage import paths
from tests.helpers import micro

NAMES = ["ft", "kd", "ted"]


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"methods": NAMES, "seeds": [1, 2, 3], "compare.resamples": 500}
    (tmp_path / "params.yaml").write_text(micro.params(changes))
    return paths.params(pinned=False)


@pytest.fixture
def scored(params):
    """ted is 6 points above the others."""
    generator = np.random.default_rng(0)
    levels = np.repeat([50.0, 50.0, 56.0], 3)[:, None] + generator.normal(0, 0.3, (9, 1))
    values = levels + generator.normal(0, 10, 300) + generator.normal(0, 3, (9, 300))
    return Scored(Mean(values), [(name, seed) for name in NAMES for seed in (1, 2, 3)], params.compare)


def test_a_pair_is_that_of_the_table_of_all_against_the_second(params, scored):
    found = command.pair("ted", "kd", scored, params)
    assert found["ted", "kd"] == compare(scored, NAMES, "kd").differences["ted"]
    text = command.lines(found, load_task("qa", None), params)
    assert text[0] == "| F1 | difference | 95% interval | p | smallest | verdict |"
    assert text[2].startswith("| ted − kd | +") and text[2].endswith("| better |")
    assert text[-1].startswith("3 seeds. Verdicts are not corrected for other comparisons.")


def test_all_pairs_are_corrected_for_their_number(params, scored):
    text = command.lines(pairs(scored, NAMES), load_task("qa", None), params)
    assert [line.split(" | ")[0] for line in text[2:5]] == ["| kd − ft", "| ted − ft", "| ted − kd"]
    assert [line.split(" | ")[-1] for line in text[2:5]] == ["cannot tell |", "better |", "better |"]
    assert "corrected for 3 pairs (Holm)" in text[-1]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["ted"], "ted: give two different methods"),
        (["ted", "ted"], "give two different methods"),
        (["ted", "kd", "ft"], "give two different methods"),
        (["ted", "lwd"], "lwd: not among methods"),
    ],
)
def test_other_names_are_refused_in_a_line(params, names, said):
    with pytest.raises(UserError, match=said):
        command.check(names, params)


def test_one_method_has_no_pairs(params):
    with pytest.raises(UserError, match="nothing to compare"):
        command.check([], params.model_copy(update={"methods": ["ft"]}))
