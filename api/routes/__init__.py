"""The routes, with one module per kind of resource."""

from __future__ import annotations

from api.routes import (
    artifacts,
    audit,
    catalogue,
    events,
    figures,
    inside,
    jobs,
    keeping,
    labels,
    limits,
    logs,
    metrics,
    plugins,
    projects,
    studies,
    study_results,
    tables,
    tokens,
    trash,
    views,
    written,
)

ROUTERS = (
    tables.router,  # before jobs, whose routes for one job would take its verbs
    written.router,
    labels.router,
    jobs.router,
    views.router,
    metrics.router,
    events.router,
    logs.router,
    artifacts.router,
    inside.router,
    catalogue.router,
    trash.router,  # before studies, whose route for verbs would take `restore`
    studies.router,
    study_results.router,
    figures.router,
    plugins.router,
    projects.router,
    keeping.router,
    limits.router,
    tokens.router,
    audit.router,
)
