"""The model card (README.md) of an exported student, from the figures that its run wrote.

Front matter as the Hugging Face hub reads it (`huggingface_hub.ModelCardData`). The language and the licence of the
training data are unknown here: add them before a model is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData

from distill.config.data import Data
from distill.config.schema import Model, Training
from distill.inference.model import INT8, ONNX, Settings
from distill.report import templates
from distill.report.markdown import code, escape
from distill.report.results import title

TEMPLATE = Path(__file__).with_name("card.md.j2")
#: Score → the hub's name of it.
HUB_METRICS = {
    "em": "exact_match",
    "f1": "f1",
    "accuracy": "accuracy",
    "mcc": "matthews_correlation",
    "micro_f1": "f1",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "ndcg_10": "ndcg_at_10",
    "mrr_10": "mrr_at_10",
    "map": "map",
}
#: Tasks that read long texts in overlapping windows.
_WINDOWED = ("qa", "token_classification")
_LABELS = {"student": "the student, fine-tuned without a teacher"}
_FORMS = {
    "pytorch": "PyTorch, float32",
    "onnx": f"`{ONNX}`, float32",
    "int8": f"`{INT8}`, int8",
    "openvino": f"`{ONNX}` in OpenVINO, float32",
    "openvino_int8": f"`{INT8}` in OpenVINO, int8",
}
_COUNTED = ("examples", "answerable", "articles", "features")
_INTENDED = {
    "qa": "Short answers to questions, copied out of a text given with the question; for texts like those below.",
    "classification": "Putting texts like those below into one of these classes: {labels}.",
    "multi_label": "Giving texts like those below any number of these classes, or none: {labels}.",
    "regression": "A number for texts like those below, on the scale of the training labels.",
    "token_classification": "Finding entities in texts like those below, by a tag for each word: {labels}.",
    "ranking": "Putting passages like those below in order by how relevant they are to a query.",
}


@dataclass(frozen=True)
class Facts:
    """What the card says.

    Attributes:
        method, seed: name of the student's method, and its seed.
        summary: description of the method: the opening of its file.
        parameters: section of the method, flat.
        training: section `distill`.
        updates: number of updates that were made; at most, where the training has a patience.
        data, meta: section `data`, and the prepared data's meta.json.
        teacher, start: sections `teacher.model` and `student.model`.
        config: configuration of the student (`PretrainedConfig.to_dict()`).
        weights: number of the student's parameters.
        settings: the exported task.json.
        inputs: names of the ONNX model's inputs.
        runs: scores by label: of `teacher`, of `ft` if it was trained, and of the student.
        shown: names of the scores in tables.
        exported: content of metrics/export/<label>.json.
        versions: version by library.
        commit: commit of the code; None: unknown.
        outputs: file or folder of the teacher's stored predictions (teacher.predictions); None: it is a model.
    """

    method: str
    seed: int
    summary: str
    parameters: Mapping[str, Any]
    training: Training
    updates: int
    data: Data
    meta: Mapping[str, Any]
    teacher: Model
    start: Model
    config: Mapping[str, Any]
    weights: int
    settings: Settings
    inputs: list[str]
    runs: Mapping[str, Mapping[str, float]]
    shown: tuple[str, ...]
    exported: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    outputs: str | None = None


def render(facts: Facts) -> str:
    """The card as Markdown."""
    qa = facts.settings.task == "qa"
    names = [name for name in facts.shown if name in facts.exported["scores"]["onnx"]]
    reported = [name for name in facts.shown if any(name in run for run in facts.runs.values())]
    version_2 = qa and facts.settings.threshold is not None
    splits = facts.meta["splits"]
    columns = [name for name in _COUNTED if name in splits["train"]]
    return templates.load(TEMPLATE).render(
        front_matter=_front_matter(facts, names),
        name=f"{facts.method}-{facts.seed}",
        what=_what(facts),
        method=facts.method,
        seed=facts.seed,
        files=[(file, kind, facts.exported["size_mb"][form]) for form, file, kind in _files(facts)],
        inputs=facts.inputs,
        outputs="`start_logits` and `end_logits`, float32 (batch, length)"
        if qa
        else f"`logits`, float32 (batch, {'length, ' if facts.settings.task in _WINDOWED else ''}classes)",
        max_length=facts.settings.max_length,
        usage=_usage(facts),
        intended=_INTENDED[facts.settings.task].format(labels=", ".join(map(code, facts.settings.labels))),
        data=_data(facts.data),
        columns=columns,
        splits=[(split, [f"{counts[name]:,}" for name in columns]) for split, counts in splits.items()],
        tuned=" and the threshold for questions without an answer" if version_2 else "",
        summary=facts.summary,
        teacher=_model(facts.teacher) if facts.outputs is None else f"stored predictions: {Path(facts.outputs).name}",
        student=f"{_shape(facts.config)}, {facts.weights:,} parameters",
        updates=f"{'at most ' if facts.training.patience else ''}{facts.updates:,}",
        training=_flat({name: getattr(facts.training, name) for name in _TRAINING}),
        parameters=_flat(facts.parameters),
        examples=f"{splits['validation']['examples']:,} {'questions' if qa else 'texts'}",
        threshold=_threshold(facts) if version_2 else "",
        reported=[title(name) for name in reported],
        rows=[
            (_LABELS.get(label, label), [_number(run.get(name)) for name in reported])
            for label, run in facts.runs.items()
        ],
        scores=[title(name) for name in names],
        exported=_measured(facts.exported["examples"], splits["validation"]["examples"]),
        parity=facts.exported["parity_max"],
        forms=[(_FORMS[form], _form(facts.exported, form, names)) for form in _shown_forms(facts.exported)],
        rows_name="windows" if facts.settings.task in _WINDOWED else "texts",
        machine=f"On the CPU, threads: {facts.exported['threads']}; machine: {facts.exported['machine']}.",
        batch_size=facts.exported["batch_size"],
        limits=_limits(facts, version_2),
        versions=", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        commit=facts.commit,
    )


_TRAINING = (
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "lr_scheduler",
    "warmup",
    "precision",
    "init",
    "label_noise",
)


def _front_matter(facts: Facts, names: list[str]) -> str:
    qa, hub = facts.settings.task == "qa", facts.data.source == "hub"
    kind = "question-answering" if qa else "text-classification"
    kind = {"token_classification": "token-classification", "ranking": "text-ranking"}.get(facts.settings.task, kind)
    metrics = {name: HUB_METRICS[name] for name in names if name in HUB_METRICS}
    results = None
    if hub:
        results = [
            EvalResult(
                task_type=kind,
                dataset_type=facts.data.name,
                dataset_name=facts.data.name,
                dataset_config=facts.data.subset,
                dataset_split=facts.data.validation_split,
                dataset_revision=facts.data.revision,
                metric_type=metric,
                metric_value=facts.exported["scores"]["onnx"][name],
                metric_name=f"{title(name)} of {facts.exported['examples']} examples",
            )
            for name, metric in metrics.items()
        ]
    return ModelCardData(
        pipeline_tag=kind,
        tags=["onnx", "knowledge-distillation", str(facts.config["model_type"])],
        metrics=list(metrics.values()),
        datasets=[facts.data.name] if hub else None,
        base_model=facts.start.path if _is_hub_id(facts.start.path) else None,
        model_name=f"{facts.method}-{facts.seed}" if results else None,
        eval_results=results,
    ).to_yaml()


def _is_hub_id(path: str | None) -> bool:
    return path is not None and not Path(path).exists() and not path.startswith((".", "/"))


def _what(facts: Facts) -> str:
    kind = {"qa": "Extractive question answering", "classification": "Classification of texts"}
    kind |= {"multi_label": "Classification of texts, with several labels each"}
    kind |= {"token_classification": "Entities of texts", "ranking": "Order of passages by relevance to a query"}
    return f"{kind.get(facts.settings.task, 'A number for texts')}: {_shape(facts.config)}."


def _shape(config: Mapping[str, Any]) -> str:
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("dim"))
    return f"{config['model_type']} with {layers} {'layer' if layers == 1 else 'layers'} of width {width}"


def _model(model: Model) -> str:
    """Hub id, or folder name, or shape; no path of this machine."""
    if model.path is None:
        return _shape(model.config) + ", trained from scratch"
    revision = f", revision {model.revision}" if model.revision else ""
    return (model.path if _is_hub_id(model.path) else Path(model.path).name) + revision


def _files(facts: Facts) -> list[tuple[str, str, str]]:
    made = facts.exported.get("int8") or {}
    rows = [("onnx", ONNX, "the model, float32")]
    rows.append(("int8", INT8, f"weights in int8, {made.get('kind', 'dynamic')} quantization"))
    return [row for row in rows if row[0] in _shown_forms(facts.exported)]


def _shown_forms(exported: Mapping[str, Any]) -> list[str]:
    """Forms that were exported: a refused int8 model was not."""
    refused = (exported.get("int8") or {}).get("refused")
    return [form for form in exported["scores"] if not (refused and form.endswith("int8"))]


def _usage(facts: Facts) -> str:
    folder = f"data/export/{facts.method}/{facts.seed}"
    if facts.settings.task == "qa":
        return f'python -m distill.answer "a question" "a text" --model {folder}'
    if facts.settings.task == "token_classification":
        return f'python -m distill.tag "a text" --model {folder}'
    if facts.settings.task == "ranking":
        return f'python -m distill.rank "a query" "a passage" "another passage" --model {folder}'
    second = ' "another text"' if facts.settings.pairs else ""
    return f'python -m distill.classify "a text"{second} --model {folder}'


def _data(data: Data) -> str:
    if data.source == "embedded":
        return (
            "The embedded corpus of the toolkit: generated texts about invented towns, for trying things out. What was"
            " learnt from them says nothing about real texts."
        )
    if data.source == "files":
        return f"Own files: {code(Path(data.train).name)}, and for validation {code(Path(data.validation).name)}."
    subset = f", {code(data.subset)}" if data.subset else ""
    revision = f", revision {escape(data.revision)}" if data.revision else ""
    return f"[{escape(data.name)}](https://huggingface.co/datasets/{quote(data.name)}){subset}{revision}."


def _threshold(facts: Facts) -> str:
    return (
        " Scores take the best answer unless “no answer” scores higher; those named “tuned” use the threshold"
        f" {facts.settings.threshold:.3g} on the difference, which is the one in `task.json`."
    )


def _measured(examples: int, all_examples: int) -> str:
    count = "all" if examples == all_examples else f"the first {examples:,}"
    return f"Measured on {count} of them."


def _form(exported: Mapping[str, Any], form: str, names: list[str]) -> list[str]:
    scores = [_number(exported["scores"][form].get(name)) for name in names]
    return [*scores, f"{exported['latency_ms'][form]:.2f}", f"{exported['throughput'][form]:,.1f}"]


def _limits(facts: Facts, version_2: bool) -> list[str]:
    limits = ["It was measured on the data named above and on nothing else: on other texts it may be much worse."]
    if version_2:
        limits.append("Threshold and temperature are those of the float32 model; int8 uses them too.")
    elif facts.settings.task == "qa":
        limits.append("It was trained on questions that have an answer, and always gives one.")
    if facts.settings.task == "qa":
        limits.append(f"Answers have at most {facts.settings.max_answer_length} tokens.")
    elif facts.settings.task not in _WINDOWED:
        limits.append(f"Texts are cut at {facts.settings.max_length} tokens.")
    limits.append("Biases of the teacher and of the data were not looked into; a student inherits them.")
    return limits


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, "none" if value is None else str(value)) for name, value in values.items()]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
