"""
`python -m service.migrate`: bring the database of `NORMLAB_DATABASE_URL` up to date.

Use `--restored` after restoring it from a backup, before the API and workers start. Then jobs that
ran when it was dumped return to the queue, and files are listed that it names and that are neither
in the folder nor in the bucket of NORMLAB_STORAGE. If `NORMLAB_WORKER_ROLE` names a role, it gets
the rights of workers for the tables as they are now, in the same transaction.
"""

from __future__ import annotations

import sys

from normlab.errors import NormlabError
from service.backups.settling import missing_files, settle
from service.settings import Settings
from service.storage import open_store
from service.storage.store import Store
from service.store.database import Database, migrate, revisions

_MOST_NAMED = 20


def main() -> int:
    """Migrate, print the new revision of the database, and return the exit code."""
    settings = Settings.from_env()
    if settings.database_url is None:
        print("NORMLAB_DATABASE_URL is not set; `normlab up` migrates its own", file=sys.stderr)
        return 2
    try:
        migrate(settings.database_url, settings.worker_role)
        with Database(settings.database_url) as database:
            print(f"the database is at revision {revisions(database)[0]}")
            if settings.worker_role is not None:
                print(f"the role {settings.worker_role} has the rights of workers")
            if "--restored" in sys.argv[1:]:
                _settle(database, open_store(settings))
    except NormlabError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def _settle(database: Database, files: Store) -> None:
    missing = missing_files(database, files)
    for file in missing[:_MOST_NAMED]:
        print(f"warning: {file.place} is not in {files.url} (job {file.job})", file=sys.stderr)
    if len(missing) > _MOST_NAMED:
        print(f"warning: and {len(missing) - _MOST_NAMED} more files", file=sys.stderr)
    queued = settle(database, [(file.job, file.name) for file in missing])
    print(f"{queued} jobs that ran are queued again; {len(missing)} files are missing")


if __name__ == "__main__":
    sys.exit(main())
