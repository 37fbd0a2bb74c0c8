"""The composition root: builds the application and all its parts from the settings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool

from api import (
    account_pages,
    errors,
    inside_pages,
    label_pages,
    pages,
    project_pages,
    rendering,
    static_files,
    study_pages,
)
from api.auth import things_of
from api.background import loops
from api.callers import Callers
from api.costly import CostlyReads
from api.description import describe
from api.gate import Gate
from api.hosts import AllowedHosts, allowed_hosts
from api.limits import BodyLimit
from api.measures import Measures, RequestTimer
from api.proxies import Forwarded, RootPath
from api.rates import RateHeaders
from api.ringing import Ringer
from api.routes import ROUTERS, health
from api.shared_looks import SharedLooks
from api.stack_measures import StoreCollector
from api.state import State
from api.strangers import Strangers
from api.streams import OpenStreams
from api.things import Things
from api.wakeups import Wakeups
from normlab import __version__
from normlab.specs import registries, starting_weights
from service.admission import Admission
from service.inspector import Inspector
from service.jobs.doorbell import Doorbell, make_doorbell
from service.plugins import store as plugin_store
from service.plugins.operators import OperatorPlugins
from service.plugins.uploads import CodeUploads
from service.results.weight_sources import WeightSources
from service.settings import Settings
from service.storage import open_store
from service.store import audit
from service.store.database import Database
from service.store.write_probe import WriteProbe
from service.traces import Traces

_PAGES = (
    pages, label_pages, inside_pages, study_pages, account_pages, project_pages,
)  # fmt: skip
_DESCRIPTION = """
Train networks with different normalization layers, on CPUs, GPUs and IPUs, and compare them.

A job is submitted as one JSON object, answered at once with its place (202 and `Location`), and
followed by its record, its metrics, its log and its events. Every error is an RFC 9457 problem
with a stable `code` and, for each field that is wrong, the rule that it breaks.

JSON has no NaN and no infinity. A measured number that is one of them is null, and the field
`not_finite` of its record has its place there, as a JSON pointer, and its name: `NaN`, `Infinity`
or `-Infinity`. No mean over seeds includes such a number; `excluded` has it by seed.
"""


def create_app(
    settings: Settings, doorbell: Doorbell | None = None, traces: Traces | None = None
) -> FastAPI:
    """
    Make the application.

    Args:
        settings: `database_url` must be set; `normlab up` sets it.
        doorbell: the sender of wake-up messages, for tests; by default that of
            `settings.broker_url`.
        traces: takes the spans of requests; None: they are not traced.
    """
    state = _state(settings, doorbell)
    app = FastAPI(
        title="normlab",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan(state, traces),
        docs_url=None,  # the framework's pages load scripts from other servers
        redoc_url=None,
    )
    app.state.normlab = state
    # The last one added is the first to handle a request
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Gate, callers=state.callers)
    app.add_middleware(RateHeaders)
    app.add_middleware(AllowedHosts, allowed=allowed_hosts(settings.host, settings.allowed_hosts))
    app.add_middleware(RequestTimer, measures=state.measures, traces=traces)
    app.add_middleware(RootPath, root=settings.root_path)
    app.add_middleware(Forwarded, trusted_hosts=settings.trusted_proxies)
    errors.install(app, page=rendering.error_page)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1", dependencies=[Depends(things_of)])
    app.include_router(health.router)
    for of_pages in _PAGES:
        app.include_router(of_pages.router, include_in_schema=False)
    app.mount("/static", static_files.Static(), name="static")
    app.openapi = lambda: describe(app, settings.root_path)  # type: ignore[method-assign]
    return app


def _state(settings: Settings, doorbell: Doorbell | None) -> State:
    database = Database(str(settings.database_url))
    costly = CostlyReads(within_s=settings.read_timeout_s)
    tables = CostlyReads(within_s=settings.read_timeout_s)
    doorbell = doorbell or make_doorbell(settings.broker_url)
    source_of = partial(plugin_store.source_of, database)
    inspector = Inspector(settings, source_of, settings.for_code(os.environ))
    measures = Measures()
    measures.registry.register(StoreCollector(database))
    return State(
        settings=settings,
        database=database,
        reads=_reads(settings, costly.at_once + tables.at_once),
        costly=costly,
        tables=tables,
        previews=CostlyReads(2, 1, within_s=settings.read_timeout_s),
        validations=CostlyReads(8, 4, within_s=settings.read_timeout_s),
        doorbell=doorbell,
        ringer=Ringer(doorbell),
        wakeups=Wakeups(),
        measures=measures,
        streams=OpenStreams(),
        looks=SharedLooks(),
        things=Things(database),
        callers=_callers(settings, database, measures),
        inspector=inspector,
        plugins=OperatorPlugins(database, settings, inspector),
        uploads=CodeUploads(database, inspector),
        admission=Admission(database, settings, inspector),
        write_probe=WriteProbe(database),
        files=open_store(settings),
    )


def _reads(settings: Settings, at_once: int) -> Database:
    # one more connection, for a statement that is being cancelled
    return Database(
        str(settings.database_url), at_once + 1, "normlab reads", settings.read_timeout_s
    )


def _callers(settings: Settings, database: Database, measures: Measures) -> Callers:
    strangers = Strangers(measures.wrong_tokens, partial(audit.write_guess, database))
    return Callers(database, settings.token, strangers, session_idle_s=settings.session_idle_s)


def _lifespan(
    state: State, traces: Traces | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if traces is not None:
                stack.callback(traces.close)
            stack.callback(state.database.close)
            stack.callback(state.reads.close)
            stack.callback(state.inspector.close)
            await run_in_threadpool(state.plugins.install)
            stack.callback(registries.find_with, None)
            starting_weights.find_with(WeightSources(state.database, state.settings.datasets))
            stack.callback(starting_weights.find_with, None)
            await stack.enter_async_context(state.wakeups.listening(state.database.conninfo))
            stack.enter_context(state.ringer.running())
            stack.enter_context(loops(state))
            yield

    return lifespan
