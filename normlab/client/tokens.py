"""Tokens and the audit trail over HTTP, for admins."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from normlab.client.paging import all_items
from normlab.client.transport import Part, Transport
from normlab.records.access import AuditPage, AuditRecord, TokenIssued, TokenPage, TokenRecord


class Tokens(Part):
    """The part of a Client that is about tokens: `client.tokens`."""

    def create(
        self,
        owner: str,
        scopes: Sequence[str] = ("read",),
        *,
        expires_at: Optional[datetime] = None,
        note: str = "",
        idempotency_key: Optional[str] = None,
    ) -> TokenIssued:
        """
        Create a token; its `secret` cannot be read again.

        Args:
            owner: the owner whose jobs it may change.
            scopes: read, submit, admin.
            expires_at: with its time zone; None: it ends when it is revoked.
            note: its purpose.
            idempotency_key: two requests with one key make one token; None makes a key.
        """
        body: Dict[str, Any] = {"owner": owner, "scopes": list(scopes), "note": note}
        body["expires_at"] = None if expires_at is None else expires_at.isoformat()
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self.transport.record(
            TokenIssued, "POST", "/tokens", json=body, headers=headers, repeatable=True
        )

    def list(self, owner: Optional[str] = None) -> Iterator[TokenRecord]:
        """Iterate over tokens, newest first, including those that have ended."""

        def ask(cursor: Optional[str], size: int) -> Tuple[List[TokenRecord], Optional[str]]:
            params = {"owner": owner, "cursor": cursor, "limit": size}
            page = self.transport.record(TokenPage, "GET", "/tokens", params=params)
            return page.tokens, page.next_cursor

        return all_items(ask)

    def revoke(self, token: str) -> TokenRecord:
        """Revoke the token with the id *token* immediately."""
        return self.transport.record(TokenRecord, "DELETE", f"/tokens/{token}", repeatable=True)

    def rotate(self, token: str, grace_s: float = 3600.0) -> TokenIssued:
        """Replace *token* by a new one; the old secret stays valid for *grace_s*."""
        path = f"/tokens/{token}/rotate"
        return self.transport.record(TokenIssued, "POST", path, json={"grace_s": grace_s})


def audit(
    transport: Transport, limit: Optional[int], filters: Mapping[str, Any]
) -> Iterator[AuditRecord]:
    """Iterate over the audit trail, newest first, page by page."""

    def ask(cursor: Optional[str], size: int) -> Tuple[List[AuditRecord], Optional[str]]:
        params = {**filters, "limit": size, "cursor": cursor}
        page = transport.record(AuditPage, "GET", "/audit", params=params)
        return page.records, page.next_cursor

    return all_items(ask, limit, at_once=1000)
