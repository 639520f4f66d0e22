"""The annealing of a teacher's logits (Jafari et al. 2021, arXiv 2104.07163, section 3).

A temperature τ falls through the whole numbers τ_max, τ_max − 1, …, 1, and the student's target is Φ(τ) · z_t with
Φ(τ) = 1 − (τ − 1)/τ_max: it grows from z_t/τ_max to z_t itself. The paper holds each τ for equally many epochs; here
each is held for equally many updates, which is the same where τ_max divides the epochs and possible where it does not.
"""

from __future__ import annotations

# Shares are quotients of whole numbers: one that is a level's beginning must not fall below it by rounding.
_ROUNDING = 1e-9


def tau(share: float, tau_max: int) -> int:
    """The temperature at `share` of the phase, from `tau_max` at 0 to 1 at 1.

    Every level gets equally many steps, give or take one; with fewer steps than levels some levels are left
    out, but neither the first nor the last.
    """
    return max(tau_max - int(share * tau_max + _ROUNDING), 1)


def phi(share: float, tau_max: int) -> float:
    """The factor Φ = 1 − (τ − 1)/τ_max of the teacher's logits, from 1/τ_max to 1.

    Args:
        share: how far the phase is, see `Progress.share`: 0 in its first step, 1 in its last.
        tau_max: the number of levels, 1 or more; with 1 there is no annealing.
    """
    return 1 - (tau(share, tau_max) - 1) / tau_max
