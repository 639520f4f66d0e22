"""Shapes of students made of a teacher's layers: a grid of them, which fit a budget, and which of those to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, set_seed

from distill.analysis import model_cost
from distill.config.schema import Model, Student
from distill.config.scoring import Cost
from distill.errors import UserError
from distill.models import layer_maps
from distill.models.forward import default_device, freeze
from distill.models.initialization import check_copy
from distill.models.pruning import half_the_heads, unit_field
from distill.tasks.base import Task

#: Weights, in MB, that are in memory together: these models are timed in turns, so that other work slows all alike.
TOGETHER_MB = 2000
#: The teacher's row among those of the shapes.
TEACHER = "teacher"


@dataclass(frozen=True)
class Shape:
    """A student's shape.

    Attributes:
        layers: numbers of the teacher's layers that it is made of, from 1.
        units: feed-forward units of a layer; None: the architecture has no number of them.
        heads: attention heads of a layer; None: the architecture has none.
        trimmed: whether its vocabulary is trimmed to the training texts.
    """

    layers: tuple[int, ...]
    units: int | None
    heads: int | None
    trimmed: bool = False

    @property
    def name(self) -> str:
        """`l2.4.6-u768-h12`, with `-trimmed`."""
        sizes = {"u": self.units, "h": self.heads}
        parts = [f"l{'.'.join(map(str, self.layers))}", *(f"{key}{size}" for key, size in sizes.items() if size)]
        return "-".join([*parts, *(["trimmed"] if self.trimmed else [])])

    @property
    def body(self) -> Shape:
        """The shape that is trained: the vocabulary is trimmed after that."""
        return Shape(self.layers, self.units, self.heads)

    def covers(self, other: Shape) -> bool:
        """Whether it has at least as much of everything as another shape: its training can give what that one's can."""
        sizes = (len(self.layers), self.units or 0, self.heads or 0, not self.trimmed)
        others = (len(other.layers), other.units or 0, other.heads or 0, not other.trimmed)
        return all(own >= size for own, size in zip(sizes, others, strict=True))

    def fields(self, teacher: PretrainedConfig) -> dict[str, Any]:
        """The fields of `student.model.config` that say what differs from the teacher's layers."""
        fields, name = {}, unit_field(teacher)
        if name is not None and self.units != getattr(teacher, name):
            fields[name] = self.units
        if self.heads != heads_of(teacher):
            fields["num_attention_heads"] = self.heads
        return fields


@dataclass(frozen=True)
class Budget:
    """What a student may cost; None: no limit."""

    latency_ms: float | None
    size_mb: float | None

    def excess(self, latency_ms: float, size_mb: float) -> str:
        """What is over the budget, in words; empty: it fits."""
        found = ((latency_ms, self.latency_ms, "ms"), (size_mb, self.size_mb, "MB"))
        return ", ".join(f"{value:.3g} {unit} of {most:g}" for value, most, unit in found if most and value > most)


def heads_of(config: PretrainedConfig) -> int | None:
    """Number of attention heads of a layer; None: the architecture has none."""
    return getattr(config, "num_attention_heads", None)


def grid(
    teacher: PretrainedConfig,
    counts: Sequence[int] = (),
    units: Sequence[int] = (),
    heads: Sequence[int] = (),
    trimmed: Sequence[bool] = (False,),
) -> list[Shape]:
    """All combinations but the teacher itself, the largest first.

    Args:
        teacher: configuration of the teacher.
        counts: numbers of layers, spread evenly over the teacher's; empty: sixths of the teacher's number.
        units: numbers of feed-forward units; empty: the teacher's, its half and its quarter.
        heads: numbers of heads; empty: the teacher's, and its half where heads can be left out.

    Raises:
        UserError: more of something than the teacher has.
    """
    depth, name = teacher.num_hidden_layers, unit_field(teacher)
    width = None if name is None else getattr(teacher, name)
    counts = counts or sorted({-(-depth * sixth // 6) for sixth in range(1, 7)})
    widths: Sequence[int | None] = units or (
        [None] if width is None else sorted({width, -(-width // 2), -(-width // 4)})
    )
    numbers: Sequence[int | None] = heads or list(
        dict.fromkeys([heads_of(teacher), half_the_heads(teacher) or heads_of(teacher)])
    )
    for option, asked, most in (("--units", units, width), ("--heads", heads, heads_of(teacher))):
        if wrong := [size for size in asked if most is None or not 1 <= size <= most]:
            raise UserError(
                f"{option} {wrong[0]}: the teacher has {most or 'no number of them'}: give 1 to {most or 0}"
            )
    if wrong := [count for count in counts if not 1 <= count <= depth]:
        raise UserError(f"--layers {wrong[0]}: the teacher has {depth}: give 1 to {depth}")
    chosen = [tuple(layer_maps.resolve("uniform", count, depth, "--layers")) for count in sorted(counts, reverse=True)]
    sizes = (sorted(values, key=lambda size: -(size or 0)) for values in (widths, numbers))
    shapes = [Shape(*parts) for parts in product(chosen, *sizes, sorted(set(trimmed)))]
    whole = Shape(tuple(range(1, depth + 1)), width, heads_of(teacher))
    return [shape for shape in shapes if shape.body != whole]


def possible(
    shapes: Iterable[Shape], teacher: PretrainedConfig, student: Student, task: Task
) -> tuple[dict[Shape, PretrainedConfig], dict[Shape, str]]:
    """The configuration of each shape that can be made of the teacher, and of each other one the reason against it.

    Raises:
        UserError: none can be made; the reason is that of the first.
    """
    found: dict[Shape, PretrainedConfig] = {}
    refused: dict[Shape, str] = {}
    for shape in shapes:
        if shape.body in found:
            found[shape] = found[shape.body]
            continue
        try:
            found[shape] = check_copy(section_of(shape, teacher, student), teacher, task, "student")
        except UserError as error:
            refused[shape] = str(error)
    if not found and refused:
        raise UserError(next(iter(refused.values())))
    return found, refused


def section_of(shape: Shape, teacher: PretrainedConfig, student: Student) -> Student:
    """Section `student` of params.yaml for a shape."""
    model = Model(path=None, revision=None, config=shape.fields(teacher))
    changes = {"model": model, "layers": list(shape.layers), "num_layers": None, "init": "teacher_layers"}
    return student.model_copy(update=changes)


def measure(
    configs: Mapping[Shape, PretrainedConfig],
    teacher: PretrainedConfig,
    task: Task,
    features: Any,
    pad_token_id: int,
    section: Cost,
    kept_tokens: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[Shape | str, dict[str, float]]:
    """Size and latency of models of these shapes with random weights, and of the teacher's, by the code of stage cost.

    Args:
        configs: configuration of each shape.
        features: rows that are run one by one (`datasets.Dataset`).
        section: section `cost` of params.yaml.
        kept_tokens: tokens of a trimmed vocabulary.
        progress: receives a line before some models are timed.

    Returns:
        Shape, or TEACHER → latency_ms, latency_ms_p10, latency_ms_p90 (rows one by one), checkpoint_mb (10^6 bytes),
        parameters, parameters_without_embeddings.
    """
    single = section.model_copy(update={"batch_sizes": [1]})
    bodies = {TEACHER: teacher} | {shape.body: config for shape, config in configs.items()}
    length = round(float(features.data.column("length").to_numpy().mean()))
    rows: dict[Shape | str, dict[str, float]] = {}
    models: dict[Shape | str, PreTrainedModel] = {}
    for number, (key, config) in enumerate(bodies.items(), start=1):
        set_seed(0)
        model = task.auto_class().from_config(config, dtype=torch.float32)
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            size = model_cost.size(model, task, length, Path(folder))
        count, width = model.get_input_embeddings().weight.shape
        rows[key] = asdict(size) | {"tokens": count, "token_mb": width * 4 / 1e6}
        models[key] = freeze(model).to(default_device())
        if number == len(bodies) or sum(rows[key]["checkpoint_mb"] for key in models) > TOGETHER_MB:
            progress(f"{number - len(models) + 1}–{number} of {len(bodies)}")
            named = {str(place): model for place, model in enumerate(models.values())}
            speeds = model_cost.speeds(named, task, features, pad_token_id, single)
            for key, speed in zip(models, speeds.values(), strict=True):
                rows[key] |= {name: getattr(speed, name) for name in ("latency_ms", "latency_ms_p10", "latency_ms_p90")}
            models = {}
    found: dict[Shape | str, dict[str, float]] = {TEACHER: rows[TEACHER]}
    for shape in configs:
        found[shape] = dict(rows[shape.body])
        if shape.trimmed and kept_tokens is not None:
            found[shape]["checkpoint_mb"] -= (found[shape]["tokens"] - kept_tokens) * found[shape]["token_mb"]
    return {key: {name: row[name] for name in row if name not in ("tokens", "token_mb")} for key, row in found.items()}


def candidates(fitting: Mapping[Shape, Mapping[str, float]]) -> list[Shape]:
    """The shapes to train first: no other one that fits has as much of everything; the largest encoders first.

    Two of the same body differ in the vocabulary alone, and the whole one comes first: one training is both.
    """
    best = [shape for shape in fitting if not any(other != shape and other.covers(shape) for other in fitting)]
    return sorted(best, key=lambda shape: -fitting[shape]["parameters_without_embeddings"])
