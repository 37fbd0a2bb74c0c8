"""The background work of every API process: relay, reaper, studies, compaction, purging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from api.state import State
from service.jobs import gauges
from service.jobs.doorbell import Relay
from service.jobs.indexing import Indexer
from service.jobs.reaper import Reaper
from service.keeping.collector import Collector
from service.loops import Loop
from service.results.adding_up import AddingUp
from service.results.compaction import Compactor
from service.store import audit, sessions
from service.store.releases import Announcement
from service.studies.decider import Decider
from service.studies.purging import Purger
from service.studies.rounds import Rounds
from service.studies.searches import Searcher
from service.studies.slices import Slices
from service.webhooks import deliveries
from service.webhooks.news import Herald

_RELAY_S = 1.0
_STUDIES_S = 1.0
_COMPACT_S = 10.0
_INDEX_S = 1.0
_PURGE_S = 5.0
_COLLECT_S = 60.0
_PLUGINS_S = 1.0
_TRIM_S = 600.0
_RELEASE_S = 1.0
_NEWS_S = 2.0
_ROUNDS: Mapping[str, type[Rounds]] = {
    "searcher": Searcher,
    "decider": Decider,
    "slicer": Slices,
}


@contextmanager
def loops(state: State) -> Iterator[None]:
    """Run the relay, reaper, study rounds, compactor, purger and trimmer; others may too."""
    running = [*_of_jobs(state), *_of_studies(state), *_of_the_store(state), *_webhooks(state)]
    for loop in running:
        loop.start()
    try:
        yield
    finally:
        for loop in running:
            loop.stop()


def _of_jobs(state: State) -> list[Loop]:
    settings, database = state.settings, state.database
    relay = Relay(database, state.doorbell, settings.ring_s)
    reaper = Reaper(database, settings.lease_s, failed=_failures(state, "reaper"))
    return [
        Loop("relay", _counted(state, "relay", relay.round), min(_RELAY_S, settings.ring_s)),
        Loop("reaper", _counted(state, "reaper", reaper.round), settings.reap_s),
        Loop("indexer", _counted(state, "indexer", Indexer(database).round), _INDEX_S),
        Loop("plugins", _counted(state, "plugins", state.plugins.record), _PLUGINS_S),
        Loop("release", Announcement(database, storage=settings.bucket).round, _RELEASE_S),
    ]


def _of_studies(state: State) -> list[Loop]:
    rounds = {
        name: kind(
            state.database,
            state.admission.placing,
            state.admission.problems,
            max_queued=state.settings.max_queued_per_owner,
            failed=_failures(state, name),
        )
        for name, kind in _ROUNDS.items()
    }
    return [Loop(n, _counted(state, n, of.round), _STUDIES_S) for n, of in rounds.items()]


def _of_the_store(state: State) -> list[Loop]:
    settings, database, files = state.settings, state.database, state.files
    compactor = Compactor(database, failed=_failures(state, "compactor"))
    adding_up = AddingUp(database, _failures(state, "adding_up"))
    purger = Purger(database, files, settings.trash_days, _failures(state, "purger"))
    collector = Collector(database, files, _failures(state, "collector"))
    return [
        Loop("compactor", _counted(state, "compactor", compactor.round), _COMPACT_S),
        Loop("adding_up", _counted(state, "adding_up", adding_up.round), _COMPACT_S),
        Loop("counts", _counted(state, "counts", partial(gauges.add_up, database)), _COMPACT_S),
        Loop("purger", _counted(state, "purger", purger.round), _PURGE_S),
        Loop("collector", _counted(state, "collector", collector.round), _COLLECT_S),
        Loop("trimmer", _counted(state, "trimmer", partial(_trim, state)), _TRIM_S),
    ]


def _webhooks(state: State) -> list[Loop]:
    settings = state.settings
    urls = [url for url in settings.webhooks.split(",") if url]
    herald = Herald(state.database, urls, settings.lease_s)
    running = [Loop("herald", _counted(state, "herald", herald.round), _NEWS_S)]
    if settings.webhook_secret is not None:
        deliverer = deliveries.Deliverer(state.database, settings.webhook_secret)
        work = _counted(state, "deliverer", deliverer.round)
        running.append(Loop("deliverer", work, _NEWS_S))
    return running


def _trim(state: State) -> int:
    database = state.database
    trimmed = audit.trim(database, state.settings.audit_days) + sessions.trim(database)
    return trimmed + deliveries.trim(database)


def _failures(state: State, name: str) -> Callable[[], None]:
    """Return a function that counts an item whose work failed in the loop *name*."""
    return state.measures.failed_items.labels(name).inc


def _counted(state: State, name: str, work: Callable[[], int]) -> Callable[[], None]:
    measures = state.measures

    def round_() -> None:
        try:
            touched = work()
        except Exception:
            measures.rounds.labels(name, "failed").inc()
            raise
        measures.rounds.labels(name, "done").inc()
        measures.touched.labels(name).inc(touched)

    return round_
