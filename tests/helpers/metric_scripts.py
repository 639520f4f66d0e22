"""Scripts of metrics for the library `evaluate`, as users write them."""

from pathlib import Path

_SCRIPT = """
import datasets
import evaluate


class Made(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=datasets.Features(
            {{"predictions": {features}, "references": {features}}}
        ))

    def _compute(self, predictions, references, scale=1.0):
        config = self.config_name
        return {results}
"""
INT, FLOAT = 'datasets.Value("int64")', 'datasets.Value("float64")'
AGREEING = (
    '{"share": scale * sum(p == r for p, r in zip(predictions, references)) / len(references),'
    ' "rows": len(references), "each": list(predictions), "config": config}'
)


def write(root: Path, name: str = "overlap", results: str = AGREEING, features: str = INT) -> str:
    """Write extra_metrics/<name>/<name>.py below `root`; its name for `evaluate.extra` is returned.

    Args:
        results: Python expression of predictions, references, scale and config: what `compute` returns.
        features: Python expression: the type of predictions and of references.
    """
    folder = root / "extra_metrics" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(_SCRIPT.format(features=features, results=results), encoding="utf-8")
    return f"extra_metrics/{name}"
