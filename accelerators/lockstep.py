"""Threads that take turns: one runs at a time, and all meet at the calls that they make as one."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch

from normlab.errors import NormlabError, PackFellApart

Perform = Callable[[Mapping[int, Any]], Mapping[int, Any]]


class Lockstep:
    """
    The turns of the members of a pack, each of which runs an ordinary training in its own thread.

    A member runs until it calls `meet`; then the next one runs. When all have called, their calls
    are performed as one, and the first member goes on with its result. So each training is what
    it is alone: no other thread changes torch's global random numbers in between, which each
    member has for itself.

    Args:
        members: how many there are, by number from 0.
        perform: makes one call of the calls of those that are left, and returns each one's result.
        random_state: of torch's global random numbers, which `set_random_state` takes.

    Attributes:
        rounds: how many calls were performed.
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
        """Do the *works* of the members; list what each returned or raised, and tell *ended*."""
        found: List[Any] = [None] * len(works)

        def work_on(member: int) -> None:
            self._turns[member].acquire()
            try:
                found[member] = works[member]()
            except BaseException as e:  # of this member: the others go on
                found[member] = e
            try:
                ended(member, found[member])
            finally:
                self._leave(member)

        # those that wait must not keep a process whose other threads cannot start
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
            NormlabError: what performing the calls raised, to every member.
            PackFellApart: it raised something else, which may be the fault of one of them.
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
        """Let the next member run that has not called in this round, or perform the calls."""
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
        except BaseException as e:  # of all members: each one's training says how it ends
            self._results, self._failure = {}, e
