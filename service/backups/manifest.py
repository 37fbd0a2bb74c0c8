"""The manifest of a backup: what is in it, with checksums, and what it needs to be restored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from normlab.errors import InvalidSpec
from service.store.database import known_revisions, newest_revision

NAME = "manifest.json"
DUMP = "database.dump"
JOBS = "jobs"


def _stays_inside(name: str) -> str:
    parts = name.split("/")
    if parts[0] not in (DUMP, JOBS, NAME) or {"", ".", ".."} & set(parts):
        raise ValueError("is not a place in a backup")
    return name


class BackupFile(BaseModel):
    """A file of a backup."""

    name: Annotated[str, AfterValidator(_stays_inside)] = Field(
        description="its place in the backup"
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class LostFile(BaseModel):
    """A file that the database names, and that was not on disk already."""

    job: str
    name: str
    reason: str


class Manifest(BaseModel):
    """Everything about a backup except its content."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    version: str = Field(description="the release of normlab that wrote it")
    revision: str = Field(description="revision of the database's schema")
    created_at: AwareDatetime
    jobs: dict[str, int] = Field(description="number of jobs by state")
    files: list[BackupFile]
    lost: list[LostFile] = []
    damaged: list[str] = Field([], description="files that differ from what their job wrote")

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.bytes for file in self.files)

    @classmethod
    def read(cls, content: bytes, where: str) -> Manifest:
        """Read *content*; raise InvalidSpec, naming the backup *where*, if it is no manifest."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as e:
            first = e.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InvalidSpec(
                f"{where} cannot be read: its {NAME} is damaged or of a later version "
                f"({place or 'whole'}: {first['msg']})"
            ) from e

    def refuse_newer(self, where: str) -> None:
        """Raise InvalidSpec if the backup *where* has a schema that this version does not know."""
        if self.revision not in known_revisions():
            raise InvalidSpec(
                f"{where} was written by normlab {self.version} at revision {self.revision} of the "
                f"database; the newest that this version knows is {newest_revision()}; restore it "
                f"with normlab {self.version} or a later one"
            )


def now() -> datetime:
    """Return the time for a new manifest."""
    return datetime.now().astimezone()
