"""The exceptions that PopTorch raises."""

from __future__ import annotations


class Error(Exception):
    """
    Anything that PopTorch refuses.

    Its attributes stand on the class, as PopTorch's do: whoever catches one copies them at once.
    """

    message = ""
    type = "poptorch_py_error"
    location = ""


class RecoverableError(Error):
    """The device failed; `recovery_action` says what makes it well."""

    recovery_action = ""


class UnrecoverableError(Error):
    """The system has to be taken out of operation."""
