"""Jobs as tables of a notebook."""

from __future__ import annotations

from normlab.records import JobRecord, LastValue
from normlab.records.as_html import jobs_table


def test_metrics_in_bytes_have_a_unit() -> None:
    last = LastValue(step=8, value=3.1e8, min=3.1e8, max=3.1e8)
    job = JobRecord.model_construct(
        id="5f0c9a41", name="a", state="running", normalizer="group", proxy=False, batch_size=8,
        seed=0, step=8, steps=8, last={"device/memory_bytes": last},
    )  # fmt: skip
    assert "device/memory_bytes 295.6 MiB" in jobs_table([job], 1)
