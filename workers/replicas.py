"""Run an attempt in several processes with one replica each, and combine their results."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from pydantic import BaseModel

from accelerators.meeting import Meeting, opened
from accelerators.replica_group import is_lost_peer, joined
from accelerators.replicas import HostsParted, SignalException, launch
from normlab.errors import JobStopped
from normlab.events import Failed, Finished, MeetingOpened
from normlab.host.processes import die_with_parent
from workers.attempt import Send, train
from workers.endings import ending_of, host_lost, memory_kills
from workers.job_errors import describe
from workers.job_order import JobOrder
from workers.job_pipes import StopRequest

_LAST_S = 10  # seconds that a replica outlives a peer, so that the peer's end is seen first


class Word(BaseModel):
    """How a replica ended, by its own report; *lost_peer*: because another replica ended."""

    at: float
    end: Union[Finished, Failed]
    lost_peer: bool = False


def train_replicas(order: JobOrder, send: Send, stop: StopRequest) -> Union[Finished, Failed]:
    """
    Run the attempt in one process per replica of this host, and return its last event.

    If a replica fails or dies, the attempt ends, and another one continues from the checkpoint.
    """
    kills_before = memory_kills()
    with tempfile.TemporaryDirectory(prefix="normlab-replicas-") as name, _met(order, send) as met:
        replicas = _Replicas(order, send, stop, Path(name), met)
        try:
            ended = launch(len(replicas.ranks), replicas.be, replicas.folder, met)
        except SignalException:  # the signal was passed on, and the replicas have reported the rest
            ended = {}
        except HostsParted as e:
            return host_lost(str(e))
        said = {rank: word for rank in replicas.ranks if (word := _word(replicas.folder, rank))}
    by_rank = {replicas.ranks[number]: status for number, status in ended.items()}
    kills = memory_kills() - kills_before
    return last_word(order.spec.replicas, said, by_rank, kills, replicas.ranks)


@contextmanager
def _met(order: JobOrder, send: Send) -> Iterator[Optional[Meeting]]:
    """Open the place where the job's hosts meet, or return where another has opened it."""
    host, hosts = order.host, order.spec.hosts
    if host is None or hosts is None:
        yield None
        return
    run = f"{order.job}-{order.attempt}"
    if host.endpoint is not None:
        yield Meeting(run, hosts, host.seat, host.address, host.endpoint)
        return
    with opened(host.address) as endpoint:
        send(MeetingOpened(endpoint=endpoint))
        yield Meeting(run, hosts, host.seat, host.address, endpoint)


def last_word(
    replicas: int,
    words: Dict[int, Word],
    ended: Dict[int, int],
    kills: int,
    ranks: Optional[Sequence[int]] = None,
) -> Union[Finished, Failed]:
    """
    Decide how an attempt ended from the ends of its replicas on this host.

    Args:
        replicas: the number of replicas on all hosts.
        words: their reports, by number; a killed replica has none.
        ended: the exit status of the replica that failed first, according to the launcher.
        kills: the number of processes that the kernel killed for memory in the meantime.
        ranks: the numbers of the replicas on this host; None: all.
    """
    here = range(replicas) if ranks is None else ranks
    failures = _first_to_last([w for w in words.values() if isinstance(w.end, Failed)])
    causes = [end for end, lost_peer in failures if not lost_peer]
    if causes:
        return causes[0]
    if not failures and len(words) == len(here):
        return words[here[0]].end
    silent = [rank for rank in here if rank not in words]
    if not silent and len(here) < replicas:  # each of them only lost another replica
        return host_lost(failures[0][0].message)
    rank = next(iter([*(r for r in ended if r in silent), *silent, *ended]), here[0])
    ending = ending_of(None, ended.get(rank), None, kills)
    if not isinstance(ending, Failed):
        raise RuntimeError(f"{ending}: a silent process has failed")
    return ending.model_copy(
        update={"message": f"replica {rank} of {replicas} died: {ending.message}"}
    )


def _first_to_last(words: List[Word]) -> List[Tuple[Failed, bool]]:
    in_time = sorted(words, key=lambda word: word.at)
    return [(w.end, w.lost_peer) for w in in_time if isinstance(w.end, Failed)]


class _Replicas:
    """The replicas of an attempt on this host."""

    def __init__(
        self,
        order: JobOrder,
        send: Send,
        stop: StopRequest,
        folder: Path,
        meeting: Optional[Meeting],
    ) -> None:
        self.folder = folder
        each = order.spec.replicas_per_host
        first = 0 if meeting is None else meeting.seat * each
        self.ranks = range(first, first + each)
        self._order = order
        self._send = send
        self._stop = stop
        self._meeting = meeting

    def be(self, number: int) -> None:
        """Run one of them, in its own process."""
        order, stop, rank = self._order, self._stop, self.ranks[number]
        die_with_parent()
        stop.listen()  # the launcher had installed its own handler
        try:
            if order.memory_bytes is not None:
                share = order.memory_bytes // len(self.ranks)
                resource.setrlimit(resource.RLIMIT_DATA, (share, share))
            count = order.spec.replicas
            with joined(order.device, rank, count, self.folder, self._meeting) as group:
                _say(self.folder, rank, train(order, self._send, stop, group))
        except JobStopped as e:
            _say(self.folder, rank, describe(e, order.folder))
            if stop.signalled:  # the launcher then waits for this process to end, not to return
                raise SystemExit(1) from e
        except BaseException as e:
            traceback.print_exc()
            lost_peer = is_lost_peer(e)
            _say(self.folder, rank, describe(e, order.folder), lost_peer)
            if lost_peer and len(self.ranks) > 1:
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
