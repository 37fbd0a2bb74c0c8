"""A job with code goes to a worker that can load it, and says what no live worker has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.entries import EntryDescription
from normlab.plugins.sources import PluginFiles
from normlab.specs import registries
from service.admission import Admission
from service.inspector import Inspector
from service.jobs import leases, reading, seats, workers
from service.jobs.leases import Lease
from service.jobs.seats import Chair, Offer
from service.plugins import abilities, store
from service.settings import Settings
from service.store.database import Database
from tests.service.work import spec, submit

pytestmark = pytest.mark.usefixtures("no_plugins")
DIGEST = "d" * 64
NEEDY = PluginDescription(
    digest=DIGEST,
    name="needy.py",
    needs=("einops>=0.7",),
    entries=(EntryDescription(part="normalizer", name="needy", path="a:b", form="module",
        facts={"title": "n", "source": "s", "batch_dependent": True, "runs_on_ipu": False}),),
)  # fmt: skip


class Known:
    """A worker with fixed judgements."""

    def __init__(self, lacks: Collection[str]) -> None:
        self.lacks = lacks
        self.judged: set[str] = set()

    def unloadable(self) -> Collection[str]:
        return self.judged & set(self.lacks)

    def unjudged(self, code: Sequence[str]) -> bool:
        return not self.judged.issuperset(code)

    def judge(self, code: Sequence[str]) -> Collection[str]:
        self.judged |= set(code)
        return self.unloadable()


@pytest.fixture
def needy(database: Database) -> None:
    class Kept(PluginFiles):
        digest = DIGEST

    with database.begin() as connection:
        store.keep(connection, Kept("needy.py", {"n.py": b""}), NEEDY, owner=None, origin={})
    registries.put_in_force([NEEDY.plugin()])


def live(
    database: Database, worker: str, packages: Mapping[str, str], address: str | None = None
) -> None:
    workers.beat(
        database, worker=worker, device="cpu", hostname=worker, slots=1, busy=0, description="",
        memory_bytes=None, versions={}, facts={"address": address} if address else {},
    )  # fmt: skip
    assert abilities.advertise(database, worker, packages, {})


@pytest.mark.usefixtures("needy")
def test_a_claim_leaves_a_job_whose_code_the_worker_cannot_load(database: Database) -> None:
    urgent = submit(database, normalizer="needy", priority=3)
    plain = submit(database)
    lacking, able = Known([DIGEST]), Known([])
    found = [leases.claim(database, "cpu", "w", 30, None, who) for who in (lacking, lacking, able)]
    assert [str(one.job) if one else None for one in found] == [plain.id, None, urgent.id]


ZOO = {"name": "timm/resnet50"}


def test_a_claim_leaves_a_network_whose_library_the_worker_lacks(database: Database) -> None:
    urgent = submit(database, model=ZOO, priority=3)
    plain = submit(database)
    lacking, able = Known(["timm"]), Known([])
    found = [leases.claim(database, "cpu", "w", 30, None, who) for who in (lacking, lacking, able)]
    assert [str(one.job) if one else None for one in found] == [plain.id, None, urgent.id]


def test_a_waiting_network_names_the_library_that_no_live_worker_has(database: Database) -> None:
    job = submit(database, model=ZOO).id
    live(database, "node1", {"torch": "2.13.0", "torchvision": "0.28"})
    assert reading.get(database, job).waiting_for == (
        "a worker for cpu that can load its code; no live one can "
        "(networks of timm: timm is not installed)"
    )
    live(database, "node2", {"timm": "1.0"})
    assert reading.get(database, job).waiting_for == "its turn at a worker for cpu"


@pytest.mark.parametrize(("packages", "who"), [({"timm": "1.0"}, Lease), ({}, Offer)])
def test_a_host_without_the_library_gets_no_seat(
    packages: dict[str, str], who: type, database: Database
) -> None:
    submit(database, model=ZOO, replicas=2, hosts=2)
    chairs = [
        Chair(name, "cpu", address) for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
    ]
    for chair, has in zip(chairs, (packages, {"timm": "1.0"})):
        live(database, chair.worker, has, chair.address)
    seats.claim(database, chairs[0], 30, Known([]))  # it offers a slot, whatever it can load
    assert isinstance(seats.claim(database, chairs[1], 30, Known([])), who)


@pytest.mark.usefixtures("needy")
def test_a_waiting_job_names_what_no_live_worker_has(database: Database) -> None:
    job = submit(database, normalizer="needy").id
    live(database, "node1", {"python": "3.8"})
    assert reading.get(database, job).waiting_for == (
        "a worker for cpu that can load its code; no live one can "
        "(needy.py: einops>=0.7 is not installed)"
    )
    live(database, "node2", {"einops": "0.6"})
    waits = str(reading.get(database, job).waiting_for)
    assert "on node1 needy.py: einops>=0.7 is not installed" in waits
    assert "on node2 needy.py: einops>=0.7 is needed, and 0.6 is installed" in waits
    live(database, "node2", {"einops": "0.8"})
    assert reading.get(database, job).waiting_for == "its turn at a worker for cpu"


@pytest.mark.usefixtures("needy")
def test_admission_says_that_a_job_will_wait_and_auto_takes_a_device_that_can_run_it(
    database: Database,
) -> None:
    live(database, "node1", {})
    admission = Admission(database, Settings(), Inspector(Settings()))
    wanted = spec(normalizer="needy", device="cpu")
    assert "no live worker for cpu can load its code" in admission.admit(wanted).reason
    assert "einops>=0.7 is not installed" in admission.placing()(wanted)[1]
    verdict = next(v for v in admission.verdicts(wanted) if v.device == "cpu")
    assert "none can load its code" in verdict.reason
    live(database, "node1", {"einops": "0.7"})
    assert admission.admit(wanted).reason == "the job asks for it"
