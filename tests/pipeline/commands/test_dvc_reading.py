"""The short cuts through DVC's reading and writing: the same values and bytes as DVC's own."""

import pytest
from dvc.dependency.param import dpath
from dvc.utils.serialize import _yaml

from pipeline.commands import dvc_reading


def test_dvc_writes_its_lock_file_as_without_short_cuts(tmp_path, monkeypatch):
    """Entries that are new, changed, the same again, and gone; values that YAML quotes, folds or leaves empty."""
    odd = ["on", "1e-5", "~", "", "a: b", "- x", "long " * 40, "two\n  lines\n", "'", "\U0001f600"]
    odd += [None, 1e-8, 1e22, 1.0, True, [], {}, [{"x": None}]]
    file = tmp_path / "dvc.lock"

    def changed(name: str, entry: dict | None) -> str:
        with _yaml.modify_yaml(file) as data:
            data.setdefault("schema", "2.0")
            stages = data.setdefault("stages", {})
            if entry:
                stages.update({name: entry})
            else:
                del stages[name]
        return file.read_text()

    def texts() -> list[str]:
        file.unlink(missing_ok=True)
        steps = [
            (name, {"cmd": f"python\n  {name}", "outs": [{"size": size, "md5": None}], "params": {"odd": list(odd)}})
            for size in (1, 2, 2)
            for name in ("distill@kd-1", "plain", "on")
        ]
        return [changed(*step) for step in [*steps, ("plain", None), ("on", None), ("distill@kd-1", None), steps[0]]]

    expected = texts()
    assert len(set(expected)) > 8
    for text in expected:
        assert dvc_reading.parse(text, "dvc.lock") == _yaml.parse_yaml(text, "dvc.lock")
    monkeypatch.setattr(_yaml, "parse_yaml_for_update", dvc_reading.parse_for_update)
    monkeypatch.setattr(_yaml, "_dump", dvc_reading.dump)
    assert texts() == expected


def test_a_parameter_is_the_one_that_dpath_finds():
    tree = {"a": {"b": {"c": 1}, "d": [10, 20]}, "e": None}
    for name in ("a", "a.b.c", "a.d", "a.d.1", "e", "a.*.c"):
        assert dvc_reading.look_up(tree, name, ".") == dpath.get(tree, name, separator=".")
    for name in ("x", "a.x", "e.x"):
        for get in (dvc_reading.look_up, dpath.get):
            with pytest.raises(KeyError):
                get(tree, name, ".")


def test_dvc_gets_values_of_its_own_from_a_text_that_it_has_read(tmp_path):
    text = "a: {b: [1, 1e-5, no]}"
    dvc_reading.parse(text, "x.yaml")["a"]["b"].clear()
    assert dvc_reading.parse(text, "x.yaml") == _yaml.parse_yaml(text, "x.yaml") == {"a": {"b": [1, 1e-5, "no"]}}
    with pytest.raises(_yaml.YAMLFileCorruptedError, match="y.yaml"):
        dvc_reading.parse("a: [", "y.yaml")
