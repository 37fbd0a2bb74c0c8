"""Processes that read batches ahead, in the order in which the training takes them."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple, Union

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from normlab.data.sources import SampleSource
from normlab.errors import DatasetUnusable, ReaderLost
from normlab.host.processes import die_with_parent

Asked = Tuple[int, List[int]]
"""A number that identifies the answer to the caller, and the samples of one batch."""

Read = Callable[[List[int]], Any]
_LOST = "DataLoader worker"  # how torch's message about a worker that died begins


class Readers:
    """
    Reads batches in worker processes; results come in the order of the questions.

    Args:
        read: function that a worker calls with the samples of one question.
        workers: the number of worker processes; with 0, this process reads.
        prefetch: the number of questions that each worker has at a time.
        pin: whether to copy results to pinned memory, from which a GPU copies asynchronously.
    """

    def __init__(self, read: Read, workers: int, prefetch: int, pin: bool = False) -> None:
        self._questions = _Questions()
        self._running: Any = None
        several: Dict[str, Any] = {}
        if workers:
            several = {
                "prefetch_factor": prefetch,
                "persistent_workers": True,
                # forks share the index and start at once, so do not use Python's default
                "multiprocessing_context": "fork" if sys.platform == "linux" else None,
            }
        with _as_many_as_asked():
            self._loader: Any = DataLoader(
                _WorkerAnswers(read),
                batch_size=None,
                sampler=self._questions,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=partial(_be_reader, os.getpid()),
                # a generator of its own, because torch's global one belongs to the training
                generator=torch.Generator(),
                pin_memory=pin,
                **several,
            )

    def answers(self, questions: Iterable[Asked]) -> Iterator[Tuple[int, Any]]:
        """
        Yield the number and the result of each of *questions*; unread answers are dropped.

        Raises:
            DatasetUnusable: a sample cannot be read.
        """
        self._questions.now = questions
        with _as_many_as_asked(), _dead_sockets_named():
            self._running = iter(self._loader)  # this also discards answers to earlier questions
        while True:
            with _dead_sockets_named():
                answer = next(self._running, None)
            if answer is None:
                return
            number, result, trouble = answer
            if trouble is not None:
                raise DatasetUnusable(trouble)
            yield number, result

    def close(self) -> None:
        """End the workers, and wait for them."""
        # Torch ends workers when the last reference goes, but the traceback of an error may hold
        # one; until then torch would raise the death of a worker anywhere in this process.
        if self._loader.num_workers and self._running is not None:
            self._running._shutdown_workers()


@contextmanager
def _dead_sockets_named() -> Iterator[None]:
    """Report a worker whose socket is gone, perhaps before the kernel reports its death."""
    try:
        yield
    except (ConnectionError, EOFError, FileNotFoundError) as e:
        raise ReaderLost(_lost(f"{type(e).__name__}: {e}")) from e


def _lost(said: str) -> str:
    return (
        f"a process that reads the data died ({said}); if memory is short, lower loading.workers "
        "or loading.prefetch"
    )


class _Questions(Sampler[Any]):
    def __init__(self) -> None:
        self.now: Iterable[Asked] = ()

    def __iter__(self) -> Iterator[Asked]:
        return iter(self.now)


class _WorkerAnswers(Dataset[Any]):
    """A worker's answers; errors are answers too, because torch would wrap them in a traceback."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def __getitem__(self, asked: Asked) -> Tuple[int, Any, Union[str, None]]:
        number, samples = asked
        try:
            return number, self._read(samples), None
        except DatasetUnusable as e:
            return number, None, str(e)


@contextmanager
def _as_many_as_asked() -> Iterator[None]:
    """Allow more workers than there are cores, because workers also wait for disks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _as_it_is(answer: Any) -> Any:
    return answer


def _be_reader(training: int, number: int) -> None:
    """Become a worker, which dies with the training's process and ignores requests to stop."""
    die_with_parent(training)
    for request in (signal.SIGTERM, signal.SIGINT):  # the training handles it, then ends us
        signal.signal(request, signal.SIG_IGN)


@contextmanager
def lost_readers_named() -> Iterator[None]:
    """
    Turn the death of a worker into an error of our own.

    Raises:
        ReaderLost: a worker died; torch raises this anywhere in the parent process.
    """
    try:
        yield
    except RuntimeError as e:
        if not str(e).startswith(_LOST):
            raise
        raise ReaderLost(_lost(str(e).splitlines()[0])) from e


def batches_of(source: SampleSource, size: int) -> Iterator[Asked]:
    """Ask for all samples of *source*, *size* at a time; the number is that of the first sample."""
    for begin in range(0, len(source), size):
        yield begin, list(range(begin, min(begin + size, len(source))))
