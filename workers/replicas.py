"""Run an attempt in several processes with one replica each, and combine their results."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
import traceback
from pathlib import Path
from typing import Dict, List, Tuple, Union

from pydantic import BaseModel

from accelerators.replica_group import is_lost_peer, joined
from accelerators.replicas import SignalException, launch
from normlab.errors import JobStopped
from normlab.events import Failed, Finished
from normlab.host.processes import die_with_parent
from workers.attempt import Send, train
from workers.endings import ending_of, memory_kills
from workers.job_errors import describe
from workers.job_order import JobOrder
from workers.job_pipes import StopRequest

_LAST_S = 10  # a replica outlives its peer for this long, so that the peer's end is seen first


class Word(BaseModel):
    """How a replica ended, by its own report; *lost_peer*: because another replica ended."""

    at: float
    end: Union[Finished, Failed]
    lost_peer: bool = False


def train_replicas(order: JobOrder, send: Send, stop: StopRequest) -> Union[Finished, Failed]:
    """
    Run the attempt in one process per replica, and return its last event.

    If a replica fails or dies, the attempt ends, and another one continues from the checkpoint.
    """
    kills_before = memory_kills()
    with tempfile.TemporaryDirectory(prefix="normlab-replicas-") as name:
        folder = Path(name)
        try:
            ended = launch(
                order.spec.replicas, lambda rank: _be(rank, order, send, stop, folder), folder
            )
        except SignalException:  # it was passed on, and the replicas have reported the rest
            ended = {}
        words = {rank: _word(folder, rank) for rank in range(order.spec.replicas)}
    said = {rank: word for rank, word in words.items() if word is not None}
    return last_word(order.spec.replicas, said, ended, memory_kills() - kills_before)


def last_word(
    replicas: int, words: Dict[int, Word], ended: Dict[int, int], kills: int
) -> Union[Finished, Failed]:
    """
    Decide how an attempt ended from the ends of its replicas.

    Args:
        words: their reports, by number; a killed replica has none.
        ended: the exit status of the replica that failed first, according to the launcher.
        kills: the number of processes that the kernel killed for memory in the meantime.
    """
    failures = _first_to_last([w for w in words.values() if isinstance(w.end, Failed)])
    causes = [end for end, lost_peer in failures if not lost_peer]
    if causes:
        return causes[0]
    if not failures and len(words) == replicas:
        return words[0].end
    silent = [rank for rank in range(replicas) if rank not in words]
    rank = next(iter([*(r for r in ended if r in silent), *silent, *ended]), 0)
    ending = ending_of(None, ended.get(rank), None, kills)
    if not isinstance(ending, Failed):
        raise RuntimeError(f"{ending}: a silent process has failed")
    return ending.model_copy(
        update={"message": f"replica {rank} of {replicas} died: {ending.message}"}
    )


def _first_to_last(words: List[Word]) -> List[Tuple[Failed, bool]]:
    in_time = sorted(words, key=lambda word: word.at)
    return [(w.end, w.lost_peer) for w in in_time if isinstance(w.end, Failed)]


def _be(rank: int, order: JobOrder, send: Send, stop: StopRequest, folder: Path) -> None:
    """Run one replica, in its own process."""
    die_with_parent()
    stop.listen()  # the launcher had installed its own handler
    try:
        if order.memory_bytes is not None:
            share = order.memory_bytes // order.spec.replicas
            resource.setrlimit(resource.RLIMIT_DATA, (share, share))
        with joined(order.device, rank, order.spec.replicas, folder) as group:
            _say(folder, rank, train(order, send, stop, group))
    except JobStopped as e:
        _say(folder, rank, describe(e, order.folder))
        if stop.signalled:  # the launcher then waits for this process to end, not to return
            raise SystemExit(1) from e
    except BaseException as e:
        traceback.print_exc()
        lost_peer = is_lost_peer(e)
        _say(folder, rank, describe(e, order.folder), lost_peer)
        if lost_peer:
            _let_the_launcher_see_the_other_first()
        raise SystemExit(1) from e


def _let_the_launcher_see_the_other_first() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_LAST_S)


def _say(folder: Path, rank: int, end: Union[Finished, Failed], lost_peer: bool = False) -> None:
    word = Word(at=time.monotonic(), end=end, lost_peer=lost_peer)
    part = folder / f"{rank}.part"
    part.write_text(word.model_dump_json())
    part.rename(folder / f"{rank}.json")


def _word(folder: Path, rank: int) -> Union[Word, None]:
    try:
        return Word.model_validate_json((folder / f"{rank}.json").read_text())
    except FileNotFoundError:
        return None
