"""Assemble a worker: slots, their supervisor, the warm host, heartbeats."""

from __future__ import annotations

import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from normlab import __version__
from normlab.errors import ServiceUnavailable
from normlab.host.clocks import least_ahead_s
from normlab.host.limits import driver_gpus, usable_cores, usable_memory_bytes
from normlab.plain_text import shown
from normlab.specs.devices import DEVICES
from service.jobs import leases, seats, workers
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.jobs.seats import Chair, Offer, Seat
from service.loops import Loop
from service.settings import Settings
from service.storage import open_store
from service.store import releases
from service.store.database import Database, newest_revision, own_address
from service.traces import exported
from workers.gpus import GpuPool, gpu_names
from workers.host_facts import host_facts, probe, unprobed
from workers.ledger import Lags
from workers.loads import Loads
from workers.pack_supervisor import work_on
from workers.process import FreshLauncher, Launcher, import_path, job_environment
from workers.scratch import Scratch
from workers.slots import Bell, SlotGroup
from workers.supervisor import Supervisor
from workers.warm_launcher import WarmLauncher

_CLOCK = text("select extract(epoch from clock_timestamp())::float8")
_log = structlog.get_logger(__name__)


class Worker:
    """
    Runs the jobs of one kind of device until it is asked to stop.

    Args:
        settings: the settings of the service.
        database_url: the database with the jobs.
        device: the kind of device.
        slots: the number of jobs at the same time.
        bell: rings when there may be work.
        environment: the environment of this process; jobs get it without our own settings.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        device: str,
        slots: int,
        bell: Bell,
        environment: Mapping[str, str],
    ) -> None:
        self._hostname = shown(platform.node())
        self.id = f"{self._hostname}-{device}-{os.getpid()}-{secrets.token_hex(3)}"
        self.device = device
        self._settings = settings
        self._database = Database(database_url, pool_size=slots + 1, name=self.id)
        self._python = str(settings.job_python.get(device) or sys.executable)
        of_jobs = settings.for_code(environment)
        self._environment = job_environment(of_jobs, device, settings.data_dir)
        self._store = open_store(settings)
        self._scratch = None if self._store.in_place else Scratch(settings.scratch, self.id)
        self._facts = unprobed(device)
        self._loads = Loads(
            self._database, self.id, settings.code, self._python, self._job_imports()
        )
        self._bell = bell
        self._refusal: str | None = "its release has not been compared yet"
        self._lags = Lags()
        self._warm: WarmLauncher | None = None
        self._gpus: GpuPool | None = None
        if DEVICES[device].owns_units:
            self._gpus = GpuPool(gpu_names(slots, environment, driver_gpus()))
        self._address = None if settings.address is None else str(settings.address)
        self._traces = exported("normlab-worker", environment)
        self._leaving = threading.Event()
        # two slots at once would each take the head of a pack, and find no mate in the queue
        self._claiming = threading.Lock()
        self._supervisor = self._supervise(slots)
        self._slots = SlotGroup(
            slots, self._claim, self._work_on, bell, self._leaving, settings.poll_s
        )
        self._presence = Loop("presence", self._beat, settings.heartbeat_s)
        self._looking = Loop("loads", self._loads.look, settings.heartbeat_s)

    def start(self) -> None:
        """Start to take jobs and to send heartbeats."""
        _log.info("worker_starts", worker=self.id, slots=len(self._slots), python=self._python)
        if self._warm is not None:
            self._warm.warm_up()
        self._presence.start()
        self._slots.start()
        self._looking.start()
        threading.Thread(target=self._probe, name="probe", daemon=True).start()

    def leave(self) -> None:
        """Take no more jobs, return running jobs with a checkpoint, and sign off."""
        _log.info("worker_leaves", worker=self.id, busy=self._slots.busy)
        self._slots.drain()
        self._presence.stop()
        self._loads.close()
        self._looking.stop()
        if self._warm is not None:
            self._warm.close()
        if self._scratch is not None:
            self._scratch.close()
        try:
            workers.leave(self._database, self.id)
        except ServiceUnavailable as e:
            _log.warning("no_farewell", reason=str(e))
        self._database.close()
        if self._traces is not None:
            self._traces.close()

    def _claim(self, offer: UUID | None) -> Lease | Seat | Offer | None:
        if self._warm is not None:  # a job that did not wait would repeat these imports
            self._warm.await_host(self._leaving)
        with self._claiming:
            if self._refusal is not None or self._leaving.is_set():
                return None
            if self._gpus is None:
                return self._take(offer)
            return self._gpus.claim(lambda units: self._take(offer, units), offer)

    def _take(
        self, offer: UUID | None, most_replicas: int | None = None
    ) -> Lease | Seat | Offer | None:
        lease_s = self._settings.lease_s
        if self._address is None:  # not known before the first heartbeat
            alone = leases.claim(
                self._database, self.device, self.id, lease_s, most_replicas, self._loads
            )
            return None if alone is None else self._packed(alone)
        chair = Chair(self.id, self.device, self._address, most_replicas, offer)
        found = seats.claim(self._database, chair, lease_s, self._loads)
        return self._packed(found) if isinstance(found, Lease) else found

    def _packed(self, alone: Lease) -> Lease:
        settings = self._settings
        room = settings.job_memory_bytes or usable_memory_bytes() // settings.slots
        if DEVICES[self.device].owns_units:  # a pack uses one unit alone
            room = self._facts.memory_bytes or room
        return with_mates(self._database, alone, settings.lease_s, room)

    def _work_on(self, work: Lease | Seat) -> None:
        if isinstance(work, Seat):
            self._supervisor.attend(work)
        else:
            work_on(self._supervisor, work)

    def _supervise(self, slots: int) -> Supervisor:
        return Supervisor(
            database=self._database,
            settings=self._settings,
            launcher=self._launcher(),
            threads=max(1, usable_cores() // slots),
            leaving=self._leaving,
            gpus=self._gpus,
            cannot_load=self._loads.learn,
            lags=self._lags,
            store=self._store,
            scratch=None if self._scratch is None else self._scratch.folder,
            traces=self._traces,
        )

    def _launcher(self) -> Launcher:
        fresh = FreshLauncher(self._python, self._environment)
        warm = self._settings.warm_host and DEVICES[self.device].warm_start
        if not warm or sys.platform != "linux":
            return fresh
        self._warm = WarmLauncher(self._python, self._environment, fresh)
        return self._warm

    def _probe(self) -> None:
        warm = self._warm
        if warm is not None and not warm.await_host(self._leaving):
            warm = None
        if self._leaving.is_set():
            return
        self._facts = probe(self.device, self._python, self._job_imports(), warm)
        if self._facts.packages is not None:
            self._loads.know_packages(self._facts.packages)
        if not self._facts.available:
            _log.error("device_unavailable", device=self.device, reason=self._facts.reason)

    def _job_imports(self) -> dict[str, str]:
        return {**self._environment, **import_path(self._python, self._environment)}

    def _beat(self) -> None:
        self._check_release()
        workers.beat(
            self._database,
            worker=self.id,
            device=self.device,
            hostname=self._hostname,
            slots=len(self._slots),
            busy=self._slots.busy,
            description=self._facts.description,
            memory_bytes=self._facts.memory_bytes,
            versions=self._facts.versions,
            facts=self._all_facts(),
            silence_s=self._settings.worker_silence_s,
        )

    def _check_release(self) -> None:
        serves = releases.served(self._database)
        refusal = releases.refusal(__version__, newest_revision(), serves)
        if refusal is None and serves[1] is not None:
            there = releases.storage_of(self._database)
            refusal = releases.storage_refusal(self._settings.bucket, there)
        if refusal is not None and refusal != self._refusal:
            _log.error("worker_refused", worker=self.id, reason=refusal)
        elif refusal is None and self._refusal is not None:
            _log.info("worker_accepted", worker=self.id)
            self._refusal = None
            self._bell.ring()  # its slots found no work before
        self._refusal = refusal

    def _all_facts(self) -> dict[str, Any]:
        return {
            **self._facts.facts,
            **host_facts(self._settings.data_dir),
            "device": self._refusal or self._facts.reason,
            "able": self._facts.available and self._refusal is None,
            "clock_offset_s": round(self._clock_offset_s(), 3),
            "address": self._address,
            "ingest_lag_s": round(self._lags.longest_s, 1),
            "last_look_s": round(self._slots.idle_and_blind_s, 1),
        }

    def _clock_offset_s(self) -> float:
        """Return how far the clock here is ahead of the database's; learn this host's address."""
        asked = time.time()
        with self._database.begin() as connection:
            there = float(connection.execute(_CLOCK).scalar_one())
            self._address = self._address or own_address(connection)
        return least_ahead_s(asked, there, time.time())
