"""Processes that read batches ahead of a training, in the order in which it takes them."""

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

from normlab.data.sources import Source
from normlab.errors import DatasetUnusable, ReaderLost
from normlab.host.processes import die_with_parent

Asked = Tuple[int, List[int]]
"""A number by which the caller knows the answer, and the samples of one batch."""

Read = Callable[[List[int]], Any]
_LOST = "DataLoader worker"  # how torch's message about a worker that died begins


class Readers:
    """
    Reads batches in worker processes; the results come in the order of the questions.

    Args:
        read: what is done with the samples of one question, in a worker.
        workers: their number; 0: this process reads.
        prefetch: questions that each worker has at a time.
        pin: copy results to pinned memory, from which a GPU takes them without waiting.
    """

    def __init__(self, read: Read, workers: int, prefetch: int, pin: bool = False) -> None:
        self._questions = _Questions()
        self._running: Any = None
        several: Dict[str, Any] = {}
        if workers:
            several = {
                "prefetch_factor": prefetch,
                "persistent_workers": True,
                # whatever this Python's default is: forks share the index, and start at once
                "multiprocessing_context": "fork" if sys.platform == "linux" else None,
            }
        with _as_many_as_asked():
            self._loader: Any = DataLoader(
                _Answers(read),
                batch_size=None,
                sampler=self._questions,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=partial(_be_reader, os.getpid()),
                # its own: torch's global random numbers belong to the training
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
            self._running = iter(self._loader)  # it takes what was asked before from the workers
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
        # not by its last reference, as torch does: the traceback of an error may hold others, and
        # until then the death of any worker would be raised wherever this process is
        if self._loader.num_workers and self._running is not None:
            self._running._shutdown_workers()


@contextmanager
def _dead_sockets_named() -> Iterator[None]:
    """Name a worker whose socket is gone, which can be before the kernel says that it died."""
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


class _Answers(Dataset[Any]):
    """What a worker does; an error is an answer too, as torch would wrap it in a traceback."""

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
    """Let a person ask for more workers than there are cores: disks are waited for too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _as_it_is(answer: Any) -> Any:
    return answer


def _be_reader(training: int, number: int) -> None:
    """Become a worker: it ends with the training, and is not asked to stop with it."""
    die_with_parent(training)
    for request in (signal.SIGTERM, signal.SIGINT):  # the training answers, and then ends it
        signal.signal(request, signal.SIG_IGN)


@contextmanager
def lost_readers_named() -> Iterator[None]:
    """
    Let the death of a worker be an error of our own.

    Raises:
        ReaderLost: a worker died; torch raises this wherever its parent is at that moment.
    """
    try:
        yield
    except RuntimeError as e:
        if not str(e).startswith(_LOST):
            raise
        raise ReaderLost(_lost(str(e).splitlines()[0])) from e


def batches_of(source: Source, size: int) -> Iterator[Asked]:
    """Ask for all samples of *source*, *size* at a time; the number is the first's."""
    for begin in range(0, len(source), size):
        yield begin, list(range(begin, min(begin + size, len(source))))
