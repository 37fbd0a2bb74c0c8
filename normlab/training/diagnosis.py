"""Run the diagnostics and hooks of a training at their times."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

from torch import Tensor

from normlab.data.batches import EpochBatches
from normlab.data.training_data import TrainingData
from normlab.diagnostics.authors import ActingObserver
from normlab.diagnostics.moment import Moment, Observer
from normlab.diagnostics.observers import make_observers
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import HOOKS
from normlab.specs.named_parts import NamedPart
from normlab.specs.registries import named_object
from normlab.training.accelerator import Session
from normlab.training.reporting import Reporter
from normlab.training.tasks import Task


class Diagnosis:
    """
    The diagnostics and hooks that a job requests; without any, it does nothing.

    Args:
        spec: the job.
        session: the session with the model to observe.
        data: the data for observing.
        reporter: receives the results.
        steps_per_epoch: updates in an epoch.
    """

    def __init__(
        self,
        spec: JobSpec,
        session: Session,
        data: TrainingData,
        reporter: Reporter,
        steps_per_epoch: int,
    ) -> None:
        self._spec = spec
        self._session = session
        self._data = data
        self._reporter = reporter
        self._steps_per_epoch = steps_per_epoch
        self._task = Task(spec)
        self._observers = {**make_observers(spec.diagnostics), **_hooks(spec.hooks)}

    def after_update(self, step: int, learning_rate: float, batches: EpochBatches) -> None:
        """Run the observers that are due."""
        due = [o for o in self._observers.values() if o.is_due(step, self._steps_per_epoch)]
        if due:
            moment = self._moment(step, learning_rate, batches)
            for observer in due:
                observer.after_update(moment)

    def after_epoch(self, step: int, learning_rate: float, batches: EpochBatches) -> None:
        """Run all observers at the end of an epoch."""
        if self._observers:
            moment = self._moment(step, learning_rate, batches)
            for observer in self._observers.values():
                observer.after_epoch(moment)

    def at_end(self, step: int, learning_rate: float, batches: EpochBatches) -> None:
        """Run all observers a last time."""
        if self._observers:
            moment = self._moment(step, learning_rate, batches)
            for observer in self._observers.values():
                observer.at_end(moment)

    def state_dict(self) -> Dict[str, Any]:
        """Return the state that the observers of a resumed training need."""
        return {name: observer.state_dict() for name, observer in self._observers.items()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        for name, observer in self._observers.items():
            observer.load_state_dict(state[name])

    def _moment(self, step: int, learning_rate: float, batches: EpochBatches) -> Moment:
        return Moment(
            step=step,
            steps_per_epoch=self._steps_per_epoch,
            learning_rate=learning_rate,
            batch_size=self._spec.batch_size,
            model=self._session.inspect(),
            loss=self._task.loss,
            train=lambda: batches[(step - 1) % self._steps_per_epoch],
            test=self._test,
            metric=lambda name, value: self._reporter.metric(name, step, value),
            record=self._reporter.event,
        )

    def _test(self, n: int) -> Tuple[Tensor, Tensor]:
        return self._data.first("test", n)


def _hooks(parts: Sequence[NamedPart]) -> Dict[str, Observer]:
    """Make the hooks that a job names, under names that differ from those of diagnostics."""
    made = {part.name: named_object(HOOKS[part.name].path)(**part.options) for part in parts}
    return {f"hook {name}": ActingObserver(hook) for name, hook in made.items()}
