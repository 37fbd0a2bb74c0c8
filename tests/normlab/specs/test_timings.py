"""Which metrics depend on the machine."""

from __future__ import annotations

import pytest

from normlab.specs.measures import is_timing


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("time/update_s", True),
        ("device/memory_peak_bytes", True),
        ("train/images_per_s", True),
        ("val/accuracy", False),
        ("train/loss", False),
        ("power/scale", False),
    ],
)
def test_speed_and_memory_tell_of_a_machine_and_what_was_learned_does_not(
    metric: str, told: bool
) -> None:
    assert is_timing(metric) is told
