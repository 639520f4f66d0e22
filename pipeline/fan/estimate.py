"""How long a fan-out takes and what it costs, from how long its stages take: on paper."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.fan.graph import Stage
from pipeline.fan.jobs import Job


@dataclass(frozen=True)
class Estimate:
    """What a plan comes to.

    Attributes:
        seconds: from the first job's start to the last one's end.
        busy_seconds: of all slots together, which are paid for.
        ends: name of a job -> when it ends, in seconds from the start.
    """

    seconds: float
    busy_seconds: float
    ends: Mapping[str, float]

    def cost(self, price: float) -> float:
        """Cost at a price per slot and hour, in its currency, where a slot is given back when nothing waits for it."""
        return self.busy_seconds / 3600 * price


def schedule_estimate(
    jobs: Sequence[Job],
    stages: Mapping[str, Stage],
    seconds: Callable[[str], float],
    slots: int,
    start_seconds: float = 0.0,
) -> Estimate:
    """Hands out jobs in their order to the slots that are free, each when those that it needs have ended.

    Args:
        jobs: as `jobs.plan` orders them.
        stages: name -> stage.
        seconds: name of a stage -> how long it takes on one slot.
        slots: number of jobs at once.
        start_seconds: what a job takes besides its stages: a machine, a clone, downloads.
    """
    maker = {stage: job.name for job in jobs for stage in job.stages}
    needs = {
        job.name: {maker[need] for stage in job.stages for need in stages[stage].needs if need in maker} - {job.name}
        for job in jobs
    }
    length = {job.name: start_seconds + sum(map(seconds, job.stages)) for job in jobs}
    waiting, running, ends, now = list(jobs), [], {}, 0.0
    while waiting or running:
        for job in [job for job in waiting if needs[job.name] <= ends.keys()][: slots - len(running)]:
            heapq.heappush(running, (now + length[job.name], job.name))
            waiting.remove(job)
        now, name = heapq.heappop(running)
        ends[name] = now
    return Estimate(now, sum(length.values()), ends)
