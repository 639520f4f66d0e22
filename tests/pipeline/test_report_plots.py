"""DVC's templates for the report's plots: well-formed, filled by DVC, and made of columns that the tables have."""

import json
import re
from pathlib import Path

import pytest
import yaml

from distill.report import plot_data
from tests.helpers import made_up

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {path.stem: path for path in (ROOT / ".dvc" / "plots").glob("*.json")}


def plots():
    """(file, template and fields) of every plot in dvc.yaml that has one of the project's templates."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in content["stages"].values():
        for plot in stage.get("plots", []):
            for path, settings in plot.items() if isinstance(plot, dict) else ():
                if settings.get("template") in TEMPLATES:
                    yield path, settings
    for plot in content.get("plots", []):
        for settings in plot.values():
            ((path, x),) = settings["x"].items()
            yield path, settings | {"x": x, "y": settings["y"][path]}


@pytest.mark.parametrize("path, settings", list(plots()))
def test_dvc_fills_the_template(path, settings):
    assert settings["x_label"] and settings["y_label"] and settings["title"]
    table = plot_data.tables(made_up.results())[Path(path).stem]
    rows = [row | {"rev": "workspace"} for row in json.loads(table.to_json(orient="records"))]
    fields = {key: settings[key] for key in ("x", "y", "x_label", "y_label", "title", "template")}
    template_dir = str(ROOT / ".dvc" / "plots")
    renderer = pytest.importorskip("dvc_render.vega").VegaRenderer(
        rows, path, revs_with_datapoints=["workspace"], template_dir=template_dir, **fields
    )
    filled = json.dumps(renderer.get_filled_template() | {"data": None})
    assert "<DVC_METRIC" not in filled
    used = set(re.findall(r'"field": "(\w+)"', filled)) - {"rev", "perfect"}
    assert {fields["x"], fields["y"]} <= used <= set(table.columns)


def test_every_template_is_used():
    used = {settings["template"] for _, settings in plots()}
    assert used == set(TEMPLATES)
