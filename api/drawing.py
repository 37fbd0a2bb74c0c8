"""Figures are drawn in a process of their own: matplotlib is large, and a page rarely asks."""

from __future__ import annotations

import subprocess
import sys

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.presentation.figures import FigureQuestion

WITHIN_S = 60.0
_INVALID, _NO_LIBRARY = 2, 3


def drawn(question: FigureQuestion) -> bytes:
    """
    Return the file that *question* asks for.

    Raises:
        InvalidSpec: the table cannot be drawn; with the reason.
        ServiceUnavailable: this server has no matplotlib, or the process was too slow or failed.
    """
    command = [sys.executable, "-m", "normlab.presentation.figures"]
    content = question.model_dump_json().encode()
    try:
        ended = subprocess.run(command, input=content, capture_output=True, timeout=WITHIN_S)
    except subprocess.TimeoutExpired as e:
        raise ServiceUnavailable(f"the figure was not drawn within {WITHIN_S:g} s") from e
    said = ended.stderr.decode(errors="replace").strip()
    if ended.returncode == _INVALID:
        raise InvalidSpec(said)
    if ended.returncode == _NO_LIBRARY:
        raise ServiceUnavailable(
            f"this server cannot draw ({said}): install normlab[study] there, or draw here with "
            "`normlab results STUDY --plot figure.pdf`"
        )
    if ended.returncode != 0:
        raise ServiceUnavailable(f"the figure was not drawn: {said[-500:]}")
    return ended.stdout
