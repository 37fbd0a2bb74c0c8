"""The files of jobs: in a folder of this host, or in a bucket that all hosts reach."""

from __future__ import annotations

from service.settings import Settings
from service.storage.folder import FolderStore
from service.storage.store import Store


def open_store(settings: Settings) -> Store:
    """
    Return the store of the files of jobs.

    Raises:
        InvalidSpec: NORMLAB_STORAGE names a bucket that cannot be understood, or its client is not
            installed.
    """
    if not settings.in_bucket:
        return FolderStore(settings.jobs)
    from service.storage.bucket import BucketStore  # its client takes memory; a folder needs none

    return BucketStore(settings.storage)
