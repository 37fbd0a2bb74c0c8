"""Tokens and the audit trail over HTTP, for admins."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence

from normlab.client.transport import Transport
from normlab.records.access import (
    AuditPage,
    AuditRecord,
    TokenIssued,
    TokenPage,
    TokenRecord,
)


class Tokens:
    """The part of a Client that is about tokens: `client.tokens`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

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
        Make a token; its `secret` cannot be read again.

        Args:
            owner: whose jobs it may change.
            scopes: read, submit, admin.
            expires_at: with its time zone; None: it ends when it is revoked.
            note: what it is for.
            idempotency_key: two requests with one key make one token; None makes a key.
        """
        body: Dict[str, Any] = {"owner": owner, "scopes": list(scopes), "note": note}
        body["expires_at"] = None if expires_at is None else expires_at.isoformat()
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self.transport.send("POST", "/tokens", json=body, headers=headers, repeatable=True)
        return TokenIssued.model_validate_json(answer.content)

    def list(self, owner: Optional[str] = None) -> Iterator[TokenRecord]:
        """Iterate over tokens, newest first, also those that have ended."""
        cursor: Optional[str] = None
        while True:
            params = {"owner": owner, "cursor": cursor}
            answer = self.transport.send("GET", "/tokens", params=params)
            page = TokenPage.model_validate_json(answer.content)
            yield from page.tokens
            cursor = page.next_cursor
            if cursor is None:
                return

    def revoke(self, token: str) -> TokenRecord:
        """End the token of id *token* at once."""
        answer = self.transport.send("DELETE", f"/tokens/{token}", repeatable=True)
        return TokenRecord.model_validate_json(answer.content)

    def rotate(self, token: str, grace_s: float = 3600.0) -> TokenIssued:
        """Put a new token in the place of *token*, whose secret opens for *grace_s* more."""
        answer = self.transport.send("POST", f"/tokens/{token}/rotate", json={"grace_s": grace_s})
        return TokenIssued.model_validate_json(answer.content)


def audit(
    transport: Transport, limit: Optional[int], filters: Mapping[str, Any]
) -> Iterator[AuditRecord]:
    """Yield who did what, newest first, asking for page after page."""
    left, cursor = limit, None
    while left is None or left > 0:
        size = 1000 if left is None else min(left, 1000)
        params = {**filters, "limit": size, "cursor": cursor}
        page = AuditPage.model_validate_json(transport.send("GET", "/audit", params=params).content)
        yield from page.records
        left = None if left is None else left - len(page.records)
        cursor = page.next_cursor
        if cursor is None:
            return
