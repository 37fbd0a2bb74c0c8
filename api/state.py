"""The dependencies of the routes: made once by the composition root, injected by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.callers import Callers
from api.costly import CostlyReads
from api.measures import Measures
from api.ringing import Ringer
from api.shared_looks import SharedLooks
from api.streams import OpenStreams
from api.things import Things
from api.wakeups import Wakeups
from service.admission import Admission
from service.inspector import Inspector
from service.jobs.doorbell import Doorbell
from service.plugins.operators import OperatorPlugins
from service.plugins.uploads import CodeUploads
from service.settings import Settings
from service.storage.store import Store
from service.store.database import Database
from service.store.write_probe import WriteProbe


@dataclass(frozen=True)
class State:
    """The parts of a running application."""

    settings: Settings
    database: Database
    reads: Database
    """The database for costly reads: separate connections with a statement timeout."""
    costly: CostlyReads
    tables: CostlyReads
    previews: CostlyReads
    validations: CostlyReads
    doorbell: Doorbell
    ringer: Ringer
    wakeups: Wakeups
    measures: Measures
    callers: Callers
    things: Things
    streams: OpenStreams
    looks: SharedLooks
    inspector: Inspector
    plugins: OperatorPlugins
    uploads: CodeUploads
    admission: Admission
    write_probe: WriteProbe
    files: Store
    """The logs of jobs."""


async def _state(request: Request) -> State:
    state: State = request.app.state.normlab
    return state


StateDep = Annotated[State, Depends(_state)]
