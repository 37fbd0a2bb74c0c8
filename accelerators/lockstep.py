"""Threads that run one at a time, and that make certain calls together."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch

from normlab.errors import NormlabError, PackFellApart

Perform = Callable[[Mapping[int, Any]], Mapping[int, Any]]


class Lockstep:
    """
    The turns of a pack's members; each member runs an ordinary training in its own thread.

    A member runs until it calls `meet`; then the next one runs. When all have called, their calls
    are performed as one, and the first member continues with its result. Each member has its own
    state of torch's global random numbers, which no other thread changes. So each training is the
    same as without the others.

    Args:
        members: the number of members, which are numbered from 0.
        perform: performs the calls of the remaining members as one, and returns each one's result.
        random_state: returns the state of torch's global random numbers for `set_random_state`.

    Attributes:
        rounds: the number of calls that were performed.
    """

    def __init__(
        self,
        members: int,
        perform: Perform,
        random_state: Callable[[], Any] = torch.get_rng_state,
        set_random_state: Callable[[Any], None] = torch.set_rng_state,
    ) -> None:
        self.left = list(range(members))
        self.rounds = 0
        self._perform = perform
        self._random_state, self._set_random_state = random_state, set_random_state
        self._turns = [threading.Semaphore(0) for _ in range(members)]
        self._calls: Dict[int, Any] = {}
        self._results: Mapping[int, Any] = {}
        self._failure: Optional[BaseException] = None

    def run(
        self, works: Sequence[Callable[[], Any]], ended: Callable[[int, Any], None]
    ) -> List[Any]:
        """Run the members' *works*; list each one's result or error, and call *ended* for each."""
        found: List[Any] = [None] * len(works)

        def work_on(member: int) -> None:
            self._turns[member].acquire()
            try:
                found[member] = works[member]()
            except BaseException as e:  # an error of this member; the others continue
                found[member] = e
            try:
                ended(member, found[member])
            finally:
                self._leave(member)

        # waiting threads must not keep alive a process whose other threads cannot start
        threads = [
            threading.Thread(target=work_on, args=(i,), name=f"member-{i}", daemon=True)
            for i in range(len(works))
        ]
        for thread in threads:
            thread.start()
        self._turns[0].release()
        for thread in threads:
            thread.join()
        return found

    def meet(self, member: int, call: Any) -> Any:
        """
        Return the result of *call*, once all members have called.

        Raises:
            NormlabError: performing the calls raised it; every member gets it.
            PackFellApart: performing the calls raised another error, perhaps because of one member.
        """
        random = self._random_state()
        self._calls[member] = call
        self._pass_on(member)
        self._turns[member].acquire()
        self._set_random_state(random)
        if isinstance(self._failure, NormlabError):
            raise self._failure
        if self._failure is not None:
            said = f"{type(self._failure).__name__}: {self._failure}"
            raise PackFellApart(f"the update of all members failed: {said}") from self._failure
        return self._results[member]

    def _leave(self, member: int) -> None:
        self.left.remove(member)
        self._calls.pop(member, None)
        self._pass_on(member)

    def _pass_on(self, member: int) -> None:
        """Let the next member run that has not called in this round; if there is none, perform."""
        waiting = [other for other in self.left if other > member and other not in self._calls]
        if waiting:
            self._turns[waiting[0]].release()
        elif self.left:
            self._perform_calls()
            self._turns[self.left[0]].release()

    def _perform_calls(self) -> None:
        calls, self._calls, self._failure = self._calls, {}, None
        self.rounds += 1
        try:
            self._results = self._perform(calls)
        except BaseException as e:  # an error for all members; each one's training handles it
            self._results, self._failure = {}, e
