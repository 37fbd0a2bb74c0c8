"""How jobs are named in tables."""

from __future__ import annotations

from normlab.cli.output import device_of
from normlab.records import JobRecord


def a_job(**fields: object) -> JobRecord:
    return JobRecord.model_construct(**{"device": "ipu", **fields})


def test_a_device_that_was_emulated_is_marked() -> None:
    real = a_job(runtime="poptorch-hardware", timing_valid=True)
    emulated = a_job(runtime="host-emulation", timing_valid=False)
    assert [device_of(job) for job in (real, emulated)] == ["ipu", "ipu (host-emulation)"]


def test_a_job_that_shared_its_device_with_others_says_with_how_many() -> None:
    packed = a_job(device="cpu", runtime="packed", timing_valid=False, packed=8)
    went_on_alone = a_job(device="cpu", runtime="cpu", timing_valid=False, packed=4)
    assert device_of(packed) == "cpu (packed: 8)"
    assert device_of(went_on_alone) == "cpu (packed: 4)"
