"""Limits of owners and projects over HTTP."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from normlab.client.transport import Transport
from normlab.records.limits import LimitList, LimitRecord


class Limits:
    """The part of a Client that is about limits: `client.limits`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def show(self, owner: Optional[str] = None, project: Optional[str] = None) -> List[LimitRecord]:
        """List the limits of *owner* or *project*, with their use; None: your own."""
        params = {"owner": owner, "project": project}
        return self.transport.record(LimitList, "GET", "/limits", params=params).limits

    def set(self, subject: str, name: str, limits: Dict[str, Optional[int]]) -> List[LimitRecord]:
        """
        Set limits, for admins.

        Args:
            subject: owner or project.
            name: whose; `*` is each without a limit of its own.
            limits: such as queued or storage_bytes, as of LimitRequest; None takes one away.
        """
        asked: Dict[str, Any] = {"subject": subject, "name": name, **limits}
        answer = self.transport.record(LimitList, "PUT", "/limits", json=asked, repeatable=True)
        return answer.limits
