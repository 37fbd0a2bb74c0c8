"""How jobs are named in tables."""

from __future__ import annotations

from normlab.cli.output import device_of
from normlab.records import JobRecord


def a_job(**fields: object) -> JobRecord:
    return JobRecord.model_construct(**{"device": "ipu", **fields})  # type: ignore[arg-type]


def test_a_device_that_was_emulated_is_marked() -> None:
    real = a_job(runtime="poptorch-hardware", timing_valid=True)
    emulated = a_job(runtime="host-emulation", timing_valid=False)
    assert [device_of(job) for job in (real, emulated)] == ["ipu", "ipu (host-emulation)"]
