"""The metrics that describe a machine and not the result of learning. Needs no torch."""

from __future__ import annotations


def is_timing(metric: str) -> bool:
    """
    Whether *metric* is the speed or the memory of a job.

    Other bits are expected there on another machine, and an emulation or a pack cannot measure it.
    """
    return metric.startswith(("time/", "device/")) or metric.endswith("_per_s")
