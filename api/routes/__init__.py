"""The routes, with one module per kind of resource."""

from __future__ import annotations

from api.routes import (
    artifacts,
    audit,
    catalogue,
    devices,
    diagnostics,
    events,
    inside,
    jobs,
    logs,
    metrics,
    plugins,
    studies,
    tokens,
    trash,
)

ROUTERS = (
    jobs.router,
    metrics.router,
    events.router,
    logs.router,
    artifacts.router,
    diagnostics.router,
    inside.router,
    catalogue.router,
    devices.router,
    trash.router,  # before studies, whose route for verbs would take `restore`
    studies.router,
    plugins.router,
    tokens.router,
    audit.router,
)
