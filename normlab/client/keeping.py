"""What projects keep of their ended jobs, over HTTP."""

from __future__ import annotations

from typing import Any, Iterator

from normlab.client.transport import Transport
from normlab.records.keeping import ExpiredPage, ExpiredRecord, KeepRules


class Keeping:
    """The part of a Client that is about keep-rules: `client.keeping`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def rules(self, project: str) -> KeepRules:
        """Return what *project* keeps."""
        return self.transport.record(KeepRules, "GET", f"/projects/{project}/keep")

    def set(self, project: str, **rules: Any) -> KeepRules:
        """
        Change what *project* keeps, for those who administer it; what is left out stays.

        Args:
            project: its name.
            rules: such as checkpoints_days, as of KeepRequest; None keeps everything.
        """
        path = f"/projects/{project}/keep"
        return self.transport.record(KeepRules, "PUT", path, json=rules, repeatable=True)

    def expired(self, project: str) -> Iterator[ExpiredRecord]:
        """Yield what the rules of *project* no longer keep, and the collector will remove."""
        return self._all("GET", f"/projects/{project}/expired")

    def remove_expired(self, project: str) -> Iterator[ExpiredRecord]:
        """Remove what the rules of *project* no longer keep, and yield it; it cannot be undone."""
        return self._all("POST", f"/projects/{project}/expired:remove")

    def _all(self, method: str, path: str) -> Iterator[ExpiredRecord]:
        cursor = None
        while True:
            found = self.transport.record(ExpiredPage, method, path, params={"cursor": cursor})
            yield from found.expired
            cursor = found.next_cursor
            if cursor is None:
                return
