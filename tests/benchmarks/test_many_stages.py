"""The project of stand-ins in which DVC's own time is measured."""

import copy
import re

import yaml

from benchmarks import many_stages
from distill import parameters
from distill.config import reading


def test_stand_ins_make_all_that_the_pipeline_s_stages_make_and_read(tmp_path, root):
    repo = many_stages.project(tmp_path, many_stages.METHODS, 2)
    params = reading.parse((repo / "params.yaml").read_text(encoding="utf-8"), "params.yaml")
    parameters.parse(copy.deepcopy(params), repo / "params.yaml")  # or stage inputs refuses them
    assert len(params["methods"]) == many_stages.METHODS and many_stages.CHANGED in params["methods"]
    assert params["seeds"] == [1, 2]
    real, stages = (
        yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"] for folder in (root, repo)
    )
    assert stages.keys() == real.keys() and stages["inputs"] == real["inputs"]
    written = set(many_stages._outputs(stages["inputs"]))
    for name, entry in stages.items():
        if name not in many_stages.REAL:
            assert {**entry, "cmd": ""} == {**real[name], "cmd": ""} and "python" not in entry["cmd"]
            written |= set(re.findall("> ([^ ]+)", entry["cmd"]))
    for outputs in map(many_stages._outputs, stages.values()):
        assert all(any(file == path or file.startswith(f"{path}/") for file in written) for path in outputs)
    assert {"data/prepared/meta.json", params["data"]["train"], "data/signals/kd/line.json"} <= written
