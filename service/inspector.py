"""
Ask the inspection process: about a job's model, and about what a plugin declares.

It has torch, and runs the code of plugins, so that this process does neither.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from normlab.errors import FieldProblem, ServiceUnavailable
from normlab.host.private_files import append_privately
from normlab.plugins.describing import Described, to_question, understood
from normlab.plugins.sources import PluginFiles
from normlab.specs.jobs import JobSpec
from service.inspections import Drawing, Inspection, Unfit
from service.settings import Settings

log = structlog.get_logger(__name__)

SourceOf = Callable[[str], PluginFiles]

ANSWER_WITHIN_S = 15.0
DESCRIBED_WITHIN_S = 60.0
START_WITHIN_S = 60.0  # importing torch takes seconds, and minutes on a busy machine
IDLE_S = 600.0
PAUSE_S = 60.0  # before a failed start, or a question without an answer in time, is retried
AT_ONCE = 8  # questions, each of which keeps a thread waiting
REMEMBERED = 4096

# The fields that an answer depends on; the rest of a spec does not change it.
_RELEVANT = {
    "normalizer",
    "model",
    "dataset",
    "batch_size",
    "replicas",
    "optimizer",
    "label_smoothing",
    "precision",
    "diagnostics",
    "code",
}


_SILENT = {"reason": "the process that builds networks does not answer now; ask again in a minute"}


class Inspector:
    """
    Asks the inspection process questions, and caches the answers.

    Args:
        settings: with `inspector_socket`, the process that listens there is asked; without it, this
            object starts a process at the first question, which exits when there are no more
            questions.
        source_of: returns the source of the plugin with a digest, for jobs that use it.
        environment: for the process that is started here and runs the code of plugins; None: the
            environment of this process.
    """

    def __init__(
        self,
        settings: Settings,
        source_of: SourceOf | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = environment
        self._source_of = source_of
        self._external = settings.inspector_socket
        self._python = str(settings.job_python.get("cpu") or sys.executable)
        self._logs = settings.data_dir / "logs"
        self._answers: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._not_before = 0.0
        self._too_slow: dict[str, float] = {}  # the time until which a question is not asked again
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def ask(self, spec: JobSpec) -> Inspection | None:
        """Return the properties of *spec*'s model; None if they are not available now."""
        found = self.look(spec)
        return found if isinstance(found, Inspection) else None

    def look(self, spec: JobSpec) -> Inspection | Unfit | None:
        """
        Return the properties of *spec*'s model, or why it cannot be trained; None: not known now.

        After a timeout, a model is not inspected again for a while. If AT_ONCE questions are
        already in progress, another one is not asked, because each caller blocks a thread.
        """
        question = _without_rates(spec).model_dump_json(include=_RELEVANT)
        found: Inspection | Unfit | None = self._known_or_asked(question, self._inspection)
        return found

    def anatomy(self, spec: JobSpec) -> Mapping[str, Any]:
        """Return the layers of *spec*'s network, or the `reason` why they are not known now."""
        relevant = _without_rates(spec).model_dump(mode="json", include=_RELEVANT)
        return self._picture({**relevant, "anatomy": True})

    def sample(self, asked: Mapping[str, Any], code: Sequence[str]) -> Mapping[str, Any]:
        """
        Return the input and output values of a normalizer, or the `reason` why there are none.

        Args:
            asked: the normalizer and its input.
            code: the digest of the plugin that defines it, if a plugin does.
        """
        return self._picture({"sample": asked, "code": list(code)})

    def _picture(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = json.dumps(question, sort_keys=True)
        found: Drawing | None = self._known_or_asked(asked, self._drawn)
        return _SILENT if found is None else found.found

    def _drawn(self, question: str) -> Drawing | None:
        answer = self._ask(self._with_sources(question), ANSWER_WITHIN_S)
        return Drawing({"reason": answer["error"]} if "error" in answer else answer)

    def _known_or_asked(self, question: str, asking: Callable[[str], Any]) -> Any:
        with self._lock:
            known = self._answers.get(question)
            if known is not None:
                self._answers.move_to_end(question)
                return known
            if self._too_slow.get(question, 0.0) > time.monotonic():
                return None
        if not self._turns.acquire(blocking=False):
            log.warning("the inspector is busy", questions=AT_ONCE)
            return None
        try:
            answer = asking(question)
        except OSError as e:
            log.warning("the inspector does not answer", reason=str(e))
            if isinstance(e, TimeoutError):
                self._leave_alone(question)
            return None
        finally:
            self._turns.release()
        if answer is not None and answer.lasts:
            self._remember(question, answer)
        return answer

    def close(self) -> None:
        """Stop the process that this object started."""
        starting = self._child
        if starting is not None:
            starting.kill()  # a thread that waits for the start holds the lock, and now releases it
        with self._lock:
            if self._child is not None:
                self._child.kill()
                self._child.communicate()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _leave_alone(self, question: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._too_slow = {q: until for q, until in self._too_slow.items() if until > now}
            self._too_slow[question] = now + PAUSE_S

    def _remember(self, question: str, answer: Inspection | Unfit | Drawing) -> None:
        with self._lock:
            self._answers[question] = answer
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)

    def describe(self, source: PluginFiles) -> Described:
        """
        Return what *source* declares, or why it cannot be used.

        Raises:
            ServiceUnavailable: the process does not answer.
        """
        try:
            answer = self._ask(json.dumps({"describe": to_question(source)}), DESCRIBED_WITHIN_S)
        except OSError as e:
            raise ServiceUnavailable(f"no process here describes plugins: {e}") from e
        return understood(answer, source)

    def _inspection(self, question: str) -> Inspection | Unfit | None:
        answer = self._ask(self._with_sources(question), ANSWER_WITHIN_S)
        if "error" in answer:
            log.warning("a model cannot be inspected", reason=answer["error"])
            return None
        if "problems" in answer:
            problems = tuple(FieldProblem(*problem) for problem in answer["problems"])
            return Unfit(problems, answer.get("lacks"))
        return Inspection(**answer)

    def _with_sources(self, question: str) -> str:
        asked = json.loads(question)
        if not asked["code"] or self._source_of is None:
            return question
        sources = [to_question(self._source_of(digest)) for digest in asked["code"]]
        return json.dumps({**asked, "sources": sources})

    def _ask(self, question: str, within_s: float) -> dict[str, Any]:
        path = self._external or self._own_socket()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within_s)
            connection.connect(str(path))
            connection.sendall(question.encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        answer: dict[str, Any] = json.loads(line or b'{"error": "it ended before it answered"}')
        return answer

    def _own_socket(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="normlab-inspector-"))
            path = self._folder / "socket"
            if self._child is None or self._child.poll() is not None:
                self._start(path)
            return path

    def _start(self, path: Path) -> None:
        if time.monotonic() < self._not_before:
            raise OSError(f"it could not start; see {self._logs}/inspector.log")
        path.unlink(missing_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [self._python, "-m", "accelerators.inspection", "--socket", str(path)]
        command += ["--idle-s", f"{IDLE_S:g}"]
        with append_privately(self._logs / "inspector.log") as out:
            # It exits when its standard input closes, so it never outlives this process. (Its
            # parent is the thread of a request, which may end long before.)
            self._child = subprocess.Popen(
                [*command, "--lifeline"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=self._environment,
            )
        deadline = time.monotonic() + START_WITHIN_S
        while not path.exists():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self._not_before = time.monotonic() + PAUSE_S
                raise OSError(f"it does not start; see {self._logs}/inspector.log")
            time.sleep(0.02)


def _without_rates(spec: JobSpec) -> JobSpec:
    # A search over rates asks about one model, not hundreds.
    optimizer = spec.optimizer.model_copy(update={"lr": 1.0, "weight_decay": 0.0})
    return spec.model_copy(update={"optimizer": optimizer})
