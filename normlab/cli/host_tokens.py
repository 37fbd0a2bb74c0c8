"""Tokens on the host of a stack: a process of the service changes them in its database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from normlab.client.paging import all_items
from normlab.client.problems import from_problem
from normlab.errors import ServiceUnavailable
from normlab.records.access import TokenIssued, TokenPage, TokenRecord
from normlab.stacks.own import require_server

WITHIN_S = 60.0


class HostTokens:
    """The same as `client.tokens`, for the stack with the data folder *data_dir*."""

    def __init__(self, data_dir: Path) -> None:
        require_server()
        self.environment = {**os.environ, "NORMLAB_DATA_DIR": str(data_dir)}

    def create(
        self,
        owner: str,
        scopes: Sequence[str] = ("read",),
        *,
        expires_at: Optional[datetime] = None,
        note: str = "",
    ) -> TokenIssued:
        """Create a token; its `secret` cannot be read again."""
        ends = None if expires_at is None else expires_at.isoformat()
        asked = {"owner": owner, "scopes": list(scopes), "expires_at": ends, "note": note}
        return TokenIssued.model_validate(self._ask("create", asked))

    def list(self, owner: Optional[str] = None) -> Iterator[TokenRecord]:
        """Iterate over tokens, newest first, including those that have ended."""

        def ask(cursor: Optional[str], size: int) -> Tuple[Sequence[TokenRecord], Optional[str]]:
            asked = {"owner": owner, "cursor": cursor, "limit": size}
            page = TokenPage.model_validate(self._ask("list", asked))
            return page.tokens, page.next_cursor

        return all_items(ask)

    def revoke(self, token: str) -> TokenRecord:
        """Revoke the token with the id *token* immediately."""
        return TokenRecord.model_validate(self._ask("revoke", {"token": token}))

    def rotate(self, token: str, grace_s: float = 3600.0) -> TokenIssued:
        """Replace *token* by a new one; the old secret stays valid for *grace_s*."""
        return TokenIssued.model_validate(self._ask("rotate", {"token": token, "grace_s": grace_s}))

    def _ask(self, verb: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        # a separate process, because the client never imports the service
        done = subprocess.run(
            [sys.executable, "-m", "service.access"],
            input=json.dumps({"do": verb, **fields}),
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode not in (0, 1) or not done.stdout:
            raise ServiceUnavailable(f"service.access ended with {done.returncode}: {done.stderr}")
        answer: Dict[str, Any] = json.loads(done.stdout)
        if done.returncode:
            raise from_problem(500, answer, "")
        return answer
