"""rkd: the ALP-KD paper's "regular KD" baseline (Passban et al. 2021, arXiv 2012.14022).

`alpha · soft + (1 − alpha) · task`: kd with the weights alpha and 1 − alpha, under the name that the tables of ALP-KD
and Combinatorial KD give it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill.config.schema import Section
from distill.losses.weights import Rest, ScheduledWeight, Share
from distill.methods.shared.soft_targets import SoftTargets


class Config(Section):
    """Section `rkd`."""

    alpha: Share
    temperature: Annotated[float, Field(gt=0)]


class RegularDistillation(SoftTargets):
    """Task loss and soft targets, whose weights add up to 1."""

    Config = Config
    copies = True

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """1 − `alpha` and `alpha`."""
        return {"task": Rest((self.config.alpha,)), "kl": self.config.alpha}


METHOD = RegularDistillation
