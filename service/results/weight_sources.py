"""The weights that jobs start from: final ones of other jobs, or files below the data root."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, text

from normlab.errors import Conflict, InvalidSpec, NormlabError, NotFound
from normlab.specs.array_files import heads
from normlab.specs.dataset_contents import sha256
from normlab.specs.jobs import JobSpec
from normlab.specs.starting_weights import InitFrom
from service.jobs.reading import unknown
from service.results import weight_twins
from service.results.artifacts import removal
from service.storage.store import StoredFile
from service.store.database import Database
from service.store.identity import parse_id
from service.store.sight import IN_SIGHT, Sight, current

NAME = "weights.safetensors"
REMEMBER_S = 2.0
_OF_JOB = text("""
    select job.id, job.state, job.project, job.trashed_at, artifact.path, artifact.sha256,
        artifact.bytes
    from job left join artifact on artifact.job = job.id and artifact.name = :name
    where job.id = :job
""")
_OF_CONTENT = text(f"""
    select a.path, a.sha256, a.bytes from artifact a join job j on j.id = a.job
    where a.kind = 'weights' and a.name = :name and a.sha256 = :sha256
        and {IN_SIGHT.format(project="j.project")}
    order by a.created_at desc limit 100
""")


def of_job(database: Database, job: str) -> StoredFile:
    """
    Return the final weights of *job*.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not succeeded, or it trained for no epochs.
    """
    with database.autocommit() as connection:
        return _of_job(connection, job)


def weights_for(
    database: Database, spec: JobSpec, data_root: Path, fetch: Callable[[StoredFile], Path]
) -> str | None:
    """
    Return the file of the weights that *spec* starts from; None if it names none.

    Args:
        data_root: the operator's folder of datasets.
        fetch: returns a file of this host with the same content, or raises NotFound.

    Raises:
        InvalidSpec: it is no longer stored.
    """
    start = spec.init_from
    if start is None:
        return None
    if start.file is not None:
        return str((data_root / start.file).absolute())
    with database.autocommit() as connection:
        if start.twin is not None:
            stored = weight_twins.stored(connection, spec, NAME)
        else:
            values = {"name": NAME, "sha256": start.sha256, **current().values}
            stored = [StoredFile(*row) for row in connection.execute(_OF_CONTENT, values)]
    looked = []
    for file in stored:
        try:
            return str(fetch(file))
        except NotFound as e:
            looked.append(str(e))
    why = "; ".join(looked) or "no job has weights with this content"
    raise InvalidSpec(f"init_from: the weights of {start.named} are gone: {why}")


class WeightSources:
    """
    Finds the content of the weights that jobs name, and remembers the answers for a moment.

    Requests are looked up in a thread before their validation, which must not wait.

    Args:
        data_root: the operator's folder of datasets.
    """

    def __init__(self, database: Database, data_root: Path) -> None:
        self._database = database
        self._data_root = data_root
        # end of validity, and the answer, which depends on the caller
        self._known: dict[tuple[str, Sight], tuple[float, str | NormlabError]] = {}
        self._lock = Lock()

    def __call__(self, start: InitFrom) -> str:
        """Return the SHA-256 of the weights; raise ValueError with the reason if there are none."""
        if start.file is not None:
            return _of_file(self._data_root, start.file)
        asked = (str(start.job or start.sha256), current())
        with self._lock:
            until, found = self._known.get(asked, (0.0, ""))
        if until < time.monotonic():
            found = self._look_up(asked, start)
        if isinstance(found, NormlabError):
            raise ValueError(str(found)) from found
        return found

    def _look_up(self, asked: tuple[str, Sight], start: InitFrom) -> str | NormlabError:
        found: str | NormlabError
        try:
            with self._database.autocommit() as connection:
                found = _content(connection, start)
        except (NotFound, Conflict, InvalidSpec) as e:
            found = e
        now = time.monotonic()
        with self._lock:
            self._known = {one: kept for one, kept in self._known.items() if kept[0] > now}
            self._known[asked] = (now + REMEMBER_S, found)
        return found


def _content(connection: Connection, start: InitFrom) -> str:
    if start.job is not None:
        return _of_job(connection, start.job, usable=True).sha256
    values = {"name": NAME, "sha256": start.sha256, **current().values}
    if connection.execute(_OF_CONTENT, values).first() is None:
        raise InvalidSpec(f"no job has final weights with the SHA-256 {start.sha256}")
    return str(start.sha256)


def _of_job(connection: Connection, job: str, *, usable: bool = False) -> StoredFile:
    row = connection.execute(_OF_JOB, {"job": parse_id(job), "name": NAME}).first()
    if row is None or not current().sees(row.project):
        raise unknown(job)
    if row.state != "succeeded":
        raise Conflict(f"job {job} is {row.state}; only one that succeeded has final weights")
    if usable and row.trashed_at is not None:
        raise Conflict(f"job {job} is in the trash; restore it first")
    if row.path is None:
        gone = removal(connection, row.id, "weights")
        why = "it trained for no epochs" if gone is None else f"they were {gone}"
        raise Conflict(f"job {job} keeps no weights: {why}")
    return StoredFile(row.path, row.sha256, row.bytes)


def _of_file(data_root: Path, file: str) -> str:
    path = data_root / file
    try:
        stat = path.stat()
        return _sha256(path, stat.st_mtime_ns, stat.st_size)
    except OSError as e:
        reason = e.strerror or str(e)
        raise ValueError(f"{file}: {reason}; put it below the operator's data root") from e


@lru_cache(maxsize=256)
def _sha256(path: Path, changed_ns: int, size: int) -> str:
    try:
        ends = [head.begin + head.bytes for head in heads(path).values()]
    except ValueError as e:
        raise ValueError(f"{path.name} {e}") from e
    if max(ends, default=0) > size:
        rule = f"{path.name} ends early: it has {size} bytes, and its head names {max(ends)}"
        raise ValueError(f"{rule}; copy it again")
    return sha256(path)
