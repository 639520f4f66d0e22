"""What `evaluate.extra` may name."""

import pytest

from distill.config import metric_names
from distill.errors import UserError
from tests.config.test_data_checks import read
from tests.helpers import metric_scripts


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric_scripts.write(tmp_path)
    (tmp_path / "rouge").mkdir()
    (tmp_path / "rouge/rouge.py").touch()
    return tmp_path


def test_names_and_mappings_are_taken(project):
    (project / "extra_metrics/alone.py").touch()
    entries = ["extra_metrics/overlap", "extra_metrics/alone.py", "bleu", {"name": "someone/f1", "args": {"k": 1}}]
    extra = read({"evaluate.extra": entries}).evaluate.extra
    assert [entry.name for entry in extra] == ["extra_metrics/overlap", "extra_metrics/alone.py", "bleu", "someone/f1"]
    assert [metric_names.prefix(entry.name) for entry in extra] == ["overlap", "alone", "bleu", "f1"]
    assert extra[0].config is None and extra[0].args == {} and extra[3].args == {"k": 1}


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("extra_metrics/none", ("no extra_metrics/none/none.py", "put the metric's script there")),
        ("./metrics/x", ("outside extra_metrics/", "would not score models anew", "extra_metrics/x")),
        ("/tmp/x.py", ("outside extra_metrics/",)),
        ("extra_metrics/../x", ("outside extra_metrics/",)),
        ("rouge", ("'rouge' lies outside extra_metrics/",)),  # evaluate.load takes the folder here, not the hub's
        ("no such", ("'no such' is no metric", "an id on the hub")),
        ("", ("'' is no metric",)),
        ("selection", ("begin with selection_ are the project's own",)),
        ({"name": "bleu", "args": {"references": []}}, ("evaluate.extra.0.args", "'references' is an argument that")),
        ({"name": "bleu", "arg": {}}, ("evaluate.extra.0.arg: unknown parameter",)),
        ({"config": "x"}, ("evaluate.extra.0.name",)),
        (3, ("evaluate.extra.0",)),
    ],
)
def test_others_are_refused_in_one_line_that_names_the_fix(project, entry, parts):
    with pytest.raises(UserError) as caught:
        read({"evaluate.extra": [entry]})
    message = str(caught.value)
    assert message.startswith("params.yaml: evaluate.extra") and "\n" not in message
    assert all(part in message for part in parts), message


def test_two_metrics_of_the_same_name_are_refused(project):
    with pytest.raises(UserError, match="evaluate.extra: two metrics are called 'f1'"):
        read({"evaluate.extra": ["f1", "someone/f1"]})
