"""What was compared, in a sentence: data, their numbers of rows, and the models."""

from __future__ import annotations

from pathlib import PurePath

from distill.report import formatting
from distill.report.results import Results

#: What splits are called where their rows are counted; others by their names.
_SPLITS = {
    "train": "to train on",
    "transfer": "without labels",
    "selection": "to select on",
    "validation": "to report on",
}


def sentence(results: Results) -> str:
    """Data: reviews.tsv (rows: 8,000 to train on, …). Teacher: …. Student: …. Empty where no settings are known."""
    if not results.settings:
        return ""
    rows = results.analysis.get("rows", {})
    counts = ", ".join(f"{count:,} {_SPLITS.get(split, f'of {split}')}" for split, count in rows.items() if count)
    data = f"Data: {_data(results)}" + (f" (rows: {counts})" if counts else "")
    if results.settings.get("teacher.source") in (None, "model"):
        teacher = _model(results, "teacher")
    elif results.settings["teacher.source"] == "predictions":
        teacher = f"outputs stored in {results.settings.get('teacher.predictions')}"
    else:
        teacher = "an ensemble of " + formatting.listed(results.settings.get("ensemble.members", []))
    return f"{data}. Teacher: {teacher}. Student: {_model(results, 'student')}."


def _data(results: Results) -> str:
    """The data set's name: of the hub, or of the files."""
    settings = results.settings
    source = settings.get("data.source")
    if source == "embedded":
        return f"the embedded corpus, {settings.get('data.embedded')}"
    if source == "hub":
        return "/".join(filter(None, (settings.get("data.name"), settings.get("data.subset"))))
    files = [settings.get(f"data.{split}") for split in ("train", "validation")]
    return formatting.listed([file for file in files if file and PurePath(file).name != "none"])


def _model(results: Results, role: str) -> str:
    """A checkpoint's name; else what the model is made of, and its shape where the parameters say it."""
    settings = results.settings
    if path := settings.get(f"{role}.model.path"):
        return path
    if role == "student" and settings.get("student.init") == "teacher_layers":
        layers = settings.get("student.layers")
        which = f" {formatting.listed(layers)}" if isinstance(layers, list) else ""
        return f"made of the teacher's layers{which}"
    config = {name: settings.get(f"{role}.model.config.{name}") for name in ("model_type", *_SHAPE)}
    shape = ", ".join(f"{config[name]:,} {what}" for name, what in _SHAPE.items() if config[name])
    return f"{config['model_type']} of random weights" + (f" ({shape})" if shape else "")


_SHAPE = {"num_hidden_layers": "layers", "hidden_size": "wide"}
