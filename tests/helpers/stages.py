"""A repository of one stage with one input, without DVC and without a model."""

from pathlib import Path
from types import SimpleNamespace

from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage

IN_FILE = []  # what params.yaml said, the newest last
INPUT, OUTPUT = Path("data/in"), Path("data/out.json")


def settings(rate):
    """Parameters with one section, `tuning`; from now on the file has them."""
    Path("params.yaml").write_text(f"tuning: {{rate: {rate}}}\n")
    tracking = SimpleNamespace(experiment="distillation")
    sections = {"tuning": {"rate": rate}}
    IN_FILE.append(SimpleNamespace(sections=sections, tracking=tracking, variants={}, method_of=lambda name: name))
    return IN_FILE[-1]


def build(name="evaluate@ted-1", rate=0.1, outputs=(OUTPUT,), deps=(INPUT,), tracked=False, **changes):
    """A stage that reads `deps` and section `tuning`."""
    definition = Definition(name, ("tuning",), tuple(deps), tuple(outputs))
    return Stage(definition, settings(rate), tracked=tracked, **changes)


def scratches(here):
    return sorted(path.name for path in here.glob(".scratch/*") if path.is_dir())


def finish(stage):
    stage.write_json(OUTPUT, {"a": 1})
