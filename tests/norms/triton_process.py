"""A process of its own for Triton, which reads when it is imported whether it shall interpret."""

from __future__ import annotations

import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

Run = Callable[..., Any]


@contextmanager
def triton_process(cache: Path, interpreted: bool) -> Iterator[Run]:
    """Yield a function that calls another one with its arguments in the process."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed here")
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pool, pytest.MonkeyPatch.context() as variables:
        variables.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
        variables.setenv("TRITON_CACHE_DIR", str(cache))
        variables.setenv("OMP_NUM_THREADS", "1")
        pool.submit(int).result()  # it starts now, with these variables
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
