"""Trainable maps from the student's width to the teacher's, for methods that compare hidden states as they are."""

from __future__ import annotations

from torch import nn


def lifts(student: int, teacher: int, count: int) -> nn.ModuleList:
    """`count` maps of states (…, student) to (…, teacher): Linear without bias, or nothing where the widths are equal.

    A method registers them, so they train with the student and are dropped with the method.
    """
    if student == teacher:
        return nn.ModuleList(nn.Identity() for _ in range(count))
    return nn.ModuleList(nn.Linear(student, teacher, bias=False) for _ in range(count))
