"""Observers by other authors: any class that has some of an observer's methods."""

from __future__ import annotations

from typing import Any, Dict

from normlab.diagnostics.moment import Moment, Observer
from normlab.diagnostics.untouched import unturned


class ActingObserver(Observer):
    """
    Calls an author's object at each moment for which the object has a method.

    Args:
        author: object with `after_update`, `after_epoch` or `at_end`; its `is_due`, `state_dict`
            and `load_state_dict` are used if it has them.
    """

    def __init__(self, author: Any) -> None:
        self._author = author

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether to call `after_update` at this step, by the author's `is_due` if any."""
        if not hasattr(self._author, "after_update"):
            return False
        asked = getattr(self._author, "is_due", None)
        return True if asked is None else bool(asked(step, steps_per_epoch))

    def after_update(self, moment: Moment) -> None:
        """Called after an update."""
        self._call("after_update", moment)

    def after_epoch(self, moment: Moment) -> None:
        """Called after an epoch."""
        self._call("after_epoch", moment)

    def at_end(self, moment: Moment) -> None:
        """Called at the end."""
        self._call("at_end", moment)

    def state_dict(self) -> Dict[str, Any]:
        """Return the author's state, if there is one."""
        return dict(self._author.state_dict()) if hasattr(self._author, "state_dict") else {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        if hasattr(self._author, "load_state_dict"):
            self._author.load_state_dict(state)

    def _call(self, name: str, moment: Moment) -> None:
        method = getattr(self._author, name, None)
        if method is not None:
            method(moment)


class LookingObserver(ActingObserver):
    """Like `ActingObserver`, for a diagnostic: restores random numbers and training mode."""

    def _call(self, name: str, moment: Moment) -> None:
        with unturned(moment.model):
            super()._call(name, moment)
