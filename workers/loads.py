"""The code that a worker's jobs can load: packages, libraries, and plugins that were tried."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import structlog

from service.plugins import abilities, store
from service.plugins.abilities import Abilities, Wanted
from service.store.database import Database
from workers.job_order import CodeReference

_TRIED_WITHIN_S = 600.0
_log = structlog.get_logger(__name__)


class Loads:
    """
    Knows which plugins and libraries the jobs of this worker can load; for all of its threads.

    Args:
        worker: the id of the worker.
        folder: the folder of the plugins' files.
        python: the interpreter of jobs.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        folder: Path,
        python: str,
        environment: Mapping[str, str],
    ) -> None:
        self._database = database
        self._worker = worker
        self._folder = folder
        self._python = python
        self._environment = environment
        self._packages: dict[str, str] | None = None
        self._judged: dict[str, bool] = {}  # whether it can be loaded, by digest or library
        self._tried: dict[str, str] = {}  # by digest, why it cannot be loaded, or ""
        self._asked: set[str] = set()  # each plugin of the operator is tried once
        self._written: tuple[dict[str, str] | None, dict[str, str]] = (None, {})
        self._lock = threading.Lock()
        self._trial: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End a trial that runs."""
        if self._trial is not None:
            self._trial.kill()

    def know_packages(self, packages: Mapping[str, str]) -> None:
        """Store the packages that jobs find."""
        with self._lock:
            self._packages = dict(packages)

    def learn(self, digest: str, reason: str) -> None:
        """Record why a job process cannot load the plugin with *digest*; "" if it can."""
        with self._lock:
            self._tried[digest] = reason
            self._judged[digest] = not reason

    def unloadable(self) -> Collection[str]:
        """Return the plugins and libraries that jobs cannot load, as far as is known."""
        with self._lock:
            return [digest for digest, can in self._judged.items() if not can]

    def unjudged(self, code: Sequence[str]) -> bool:
        """Return whether one of *code*, which a job requires, has not been judged."""
        return any(digest not in self._judged for digest in code)

    def judge(self, code: Sequence[str]) -> Collection[str]:
        """Judge *code*, which a job requires, and return what cannot be loaded now."""
        with self._database.autocommit() as connection:
            plugins = {p.digest: p for p in abilities.wanted(connection, code)}
        with self._lock:
            return [digest for digest in code if not self._can(digest, plugins.get(digest))]

    def look(self) -> None:
        """Try the operator's plugins that are new, and advertise what has changed."""
        self._advertise()
        new = [d for d in store.in_force(self._database) if d not in self._asked]
        if new:
            self._asked.update(new)
            for digest, reason in self._try(new).items():
                self.learn(digest, reason)
            self._advertise()

    def _advertise(self) -> None:
        with self._lock:
            now = (self._packages, dict(self._tried))
        if now != self._written and abilities.advertise(self._database, self._worker, *now):
            self._written = now

    def _can(self, digest: str, plugin: Wanted | None) -> bool:
        if digest in self._judged:
            return self._judged[digest]
        if plugin is not None and plugin.needs and self._packages is None:
            return False  # until the packages are known
        offer = Abilities("", "", self._packages, self._tried)
        # Code that is nowhere to be found makes the job itself fail, with the reason.
        self._judged[digest] = plugin is None or not offer.lacks(plugin)
        return self._judged[digest]

    def _try(self, digests: Sequence[str]) -> dict[str, str]:
        named = []
        for digest in digests:
            name, folder = store.written(self._database, digest, self._folder)
            named.append(CodeReference(digest=digest, name=name, folder=str(folder.absolute())))
        try:
            found = self._answer(json.dumps([one.model_dump() for one in named]).encode())
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as e:
            _log.warning("plugins_not_tried", reason=str(e))
            return {}
        for digest, reason in found.items():
            if reason:
                _log.error("plugin_unloadable", plugin=digest, reason=reason)
        return found

    def _answer(self, question: bytes) -> dict[str, str]:
        with subprocess.Popen(
            [self._python, "-m", "workers.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**self._environment, "OPENBLAS_NUM_THREADS": "1"},
        ) as self._trial:
            try:
                out, _ = self._trial.communicate(question, _TRIED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._trial.kill()
                raise
        answer: dict[str, str] = json.loads(out.splitlines()[-1])
        return answer
