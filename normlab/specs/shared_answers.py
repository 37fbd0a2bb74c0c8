"""Answer questions about many jobs that differ in few fields; equal fields share an answer."""

from __future__ import annotations

import types
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Generic,
    List,
    Mapping,
    Sequence,
    Set,
    Tuple,
    TypeVar,
    cast,
)

from normlab.specs.jobs import JobSpec

AnswerT = TypeVar("AnswerT")


class SharedAnswers(Generic[AnswerT]):
    """
    Answers *question* about jobs; those with the same values in all fields that it reads share one.

    These fields are noted while the question is asked, so they need no declaration.
    Values are the same if they are one object, as in the cells of a grid.

    Args:
        question: reads the job's fields, properties and methods, and gives the same answer for
            the same values.
    """

    def __init__(self, question: Callable[[JobSpec], AnswerT]) -> None:
        self._question = question
        self.reads: FrozenSet[str] = frozenset()
        # with the values, so that no other object gets the identity of one of these
        self._known: Dict[Tuple[int, ...], Tuple[Tuple[Any, ...], AnswerT]] = {}

    def __call__(self, spec: JobSpec) -> AnswerT:
        """Return the answer for *spec*."""
        fields = spec.__dict__
        known = self._known.get(tuple([id(fields[name]) for name in self.reads]))
        return self._ask(spec) if known is None else known[1]

    def _ask(self, spec: JobSpec) -> AnswerT:
        seen = _RecordingSpec(spec)
        answer = self._question(cast("JobSpec", seen))
        if not seen.read <= self.reads:
            self.reads |= seen.read
            self._known.clear()
        values = tuple(getattr(spec, name) for name in self.reads)
        self._known[tuple(map(id, values))] = (values, answer)
        return answer


class ManySharedAnswers(Generic[AnswerT]):
    """
    Answers several *questions* about one job after another, as `SharedAnswers` does for one.

    Cells come in the order of their grid, so most differ from the one before in a field or two:
    the other questions keep their last answers without being looked up.
    """

    def __init__(self, questions: Sequence[Callable[[JobSpec], AnswerT]]) -> None:
        self._each = [SharedAnswers(question) for question in questions]
        self._answers: List[AnswerT] = []
        self._last: Dict[str, Any] = {}
        self._readers: Dict[str, List[int]] = {}  # from a field to the questions that read it

    def __call__(self, spec: JobSpec) -> List[AnswerT]:
        """Return the answers for *spec*, in the order of the questions."""
        fields = spec.__dict__
        if not self._answers:
            self._answers = [question(spec) for question in self._each]
            self._learn_readers(fields)
            return list(self._answers)
        changed = [name for name, value in self._last.items() if fields[name] is not value]
        more = False
        for i in {i for name in changed for i in self._readers[name]}:
            before = self._each[i].reads
            self._answers[i] = self._each[i](spec)
            more |= self._each[i].reads is not before
        for name in changed:
            self._last[name] = fields[name]
        if more:
            self._learn_readers(fields)
        return list(self._answers)

    def _learn_readers(self, fields: Mapping[str, Any]) -> None:
        self._readers.clear()
        for i, question in enumerate(self._each):
            for name in question.reads:
                self._readers.setdefault(name, []).append(i)
        self._last = {name: fields[name] for name in self._readers}


class _RecordingSpec:
    """Stands for a job, and notes which of its fields are read."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self.read: Set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self._spec.__dict__:
            self.read.add(name)
            return getattr(self._spec, name)
        found = getattr(JobSpec, name)
        if isinstance(found, property) and found.fget is not None:
            return found.fget(self)
        return types.MethodType(found, self)
