"""Projects and their members over HTTP."""

from __future__ import annotations

from typing import List

from normlab.client.transport import Transport
from normlab.records.projects import MemberRecord, ProjectList, ProjectRecord


class Projects:
    """The part of a Client that is about projects: `client.projects`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

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
            owner: of tokens; `*` is everybody.
            role: read, submit or admin.
        """
        path, asked = f"/projects/{project}/members", {"owner": owner, "role": role}
        return self.transport.record(MemberRecord, "PUT", path, json=asked, repeatable=True)

    def remove(self, project: str, owner: str) -> None:
        """Remove a member from *project*; NotFound if it is none."""
        path = f"/projects/{project}/members"
        self.transport.send("DELETE", path, params={"owner": owner})
