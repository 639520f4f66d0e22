"""Sections `evaluate`, `cost` and `export` of params.yaml: what is measured of models, and which are taken away."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from distill.config import metric_names
from distill.config.schema import Count, Precision, Section, Seed


class ExtraMetric(Section):
    """A further metric: a name alone, or with the name of its configuration and keyword arguments of `compute`."""

    name: Annotated[str, AfterValidator(metric_names.check)]
    config: str | None = None
    args: Annotated[dict[str, Any], AfterValidator(metric_names.check_args)] = {}


class Evaluate(Section):
    """Answer search and scoring."""

    batch_size: Count
    precision: Precision
    metric: str | None
    n_best: Count
    max_answer_length: Count
    extra: Annotated[
        list[Annotated[ExtraMetric, BeforeValidator(metric_names.as_mapping)]], AfterValidator(metric_names.check_all)
    ]


class Cost(Section):
    """How size, latency and throughput of teacher and student are measured."""

    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0)]
    precision: Precision


class Export(Section):
    """Students to take away as ONNX."""

    methods: list[str]
    seeds: list[Seed]
    int8: Literal["static", "dynamic", "none"]
    max_loss: Annotated[float, Field(ge=0)]
    calibration_rows: Count
    weight_bits: Literal[7, 8]
    max_examples: Count | None
