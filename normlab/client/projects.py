"""Projects over HTTP: their members, their limits and those of owners, and what they keep."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional

from normlab.client.transport import Part
from normlab.records.keeping import ExpiredPage, ExpiredRecord, KeepRules
from normlab.records.limits import LimitList, LimitRecord
from normlab.records.projects import MemberRecord, ProjectList, ProjectRecord


class Projects(Part):
    """The part of a Client that is about projects: `client.projects`."""

    def create(self, name: str, note: str = "") -> ProjectRecord:
        """Create a project, for admins; Conflict if there is one of this name."""
        asked = {"name": name, "note": note}
        return self.transport.record(ProjectRecord, "POST", "/projects", json=asked)

    def list(self) -> List[ProjectRecord]:
        """List your projects with their members; admins get all of them."""
        return self.transport.record(ProjectList, "GET", "/projects").projects

    def get(self, name: str) -> ProjectRecord:
        """Return one project with its members."""
        return self.transport.record(ProjectRecord, "GET", f"/projects/{name}")

    def add(self, project: str, owner: str, role: str = "submit") -> MemberRecord:
        """
        Add a member to *project*, or give it another role.

        Args:
            project: its name.
            owner: the owner of tokens; `*` is everybody.
            role: read, submit or admin.
        """
        path, asked = f"/projects/{project}/members", {"owner": owner, "role": role}
        return self.transport.record(MemberRecord, "PUT", path, json=asked, repeatable=True)

    def remove(self, project: str, owner: str) -> None:
        """Remove a member from *project*; NotFound if it is not a member."""
        path = f"/projects/{project}/members"
        self.transport.send("DELETE", path, params={"owner": owner})


class Limits(Part):
    """The part of a Client that is about limits: `client.limits`."""

    def show(self, owner: Optional[str] = None, project: Optional[str] = None) -> List[LimitRecord]:
        """List the limits of *owner* or *project*, with their use; by default your own."""
        params = {"owner": owner, "project": project}
        return self.transport.record(LimitList, "GET", "/limits", params=params).limits

    def set(self, subject: str, name: str, limits: Dict[str, Optional[int]]) -> List[LimitRecord]:
        """
        Set limits, for admins.

        Args:
            subject: owner or project.
            name: its name; `*` stands for all without a limit of their own.
            limits: such as queued or storage_bytes, as in LimitRequest; None removes a limit.
        """
        asked: Dict[str, Any] = {"subject": subject, "name": name, **limits}
        answer = self.transport.record(LimitList, "PUT", "/limits", json=asked, repeatable=True)
        return answer.limits


class Keeping(Part):
    """The part of a Client that is about keep-rules: `client.keeping`."""

    def rules(self, project: str) -> KeepRules:
        """Return what *project* keeps."""
        return self.transport.record(KeepRules, "GET", f"/projects/{project}/keep")

    def set(self, project: str, **rules: Any) -> KeepRules:
        """
        Change what *project* keeps, for its admins; rules that are left out stay.

        Args:
            project: its name.
            rules: such as checkpoints_days, as in KeepRequest; None keeps everything.
        """
        path = f"/projects/{project}/keep"
        return self.transport.record(KeepRules, "PUT", path, json=rules, repeatable=True)

    def expired(self, project: str) -> Iterator[ExpiredRecord]:
        """Yield what the rules of *project* no longer keep and what will be removed."""
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
