"""The exceptions that PopTorch raises."""

from __future__ import annotations


class Error(Exception):
    """
    Base class of PopTorch's errors.

    Its attributes are on the class, as in PopTorch, so handlers must copy them immediately.
    """

    message = ""
    type = "poptorch_py_error"
    location = ""


class RecoverableError(Error):
    """The device failed; `recovery_action` says how to recover it."""

    recovery_action = ""


class UnrecoverableError(Error):
    """The system has to be taken out of operation."""
