"""A process of its own for Triton, which reads when it is imported whether it shall interpret."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from normlab.norms import engine_triton

Run = Callable[..., Any]


@contextmanager
def triton_process(cache: Path, interpreted: bool) -> Iterator[Run]:
    """Yield a function that calls another one with its arguments in the process."""
    found = engine_triton.version()
    if found is None or int(found.partition(".")[0]) < engine_triton.LEAST_MAJOR:
        pytest.skip(f"needs triton {engine_triton.LEAST_MAJOR} or newer; found {found}")
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pool, pytest.MonkeyPatch.context() as variables:
        variables.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
        variables.setenv("TRITON_CACHE_DIR", str(cache))
        variables.setenv("OMP_NUM_THREADS", "1")
        pool.submit(int).result()  # it starts now, with these variables
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
