"""Large libraries that tables need, loaded before the time that their reader has begins."""

from __future__ import annotations

import sys
from importlib import import_module

from fastapi import Request
from starlette.concurrency import run_in_threadpool


async def load_for_tables(request: Request) -> None:
    """Load what a table, a comparison or a decision needs, once for each process."""
    form = request.query_params.get("format")
    for name in ("scipy.special", *(("pyarrow.parquet",) if form == "parquet" else ())):
        if name not in sys.modules:
            await run_in_threadpool(import_module, name)
