"""Labels of jobs and studies: names, notes, tags, and the archive."""

from __future__ import annotations

from typing import List, Union

from pydantic import Field, StringConstraints, field_validator
from typing_extensions import Annotated

from normlab.plain_text import shown
from normlab.records.access import Asked
from normlab.records.tables import MOST_JOBS, JobId
from normlab.specs.base import Label

MOST_TAGS = 20
Tag = Annotated[
    Label,
    StringConstraints(min_length=1, max_length=50, pattern=r"^[^\s,\"'](?:[^,\"']*[^\s,\"'])?$"),
]
"""Without commas and quotes, which separate tags where several are written."""
Tags = Annotated[List[Tag], Field(max_length=MOST_TAGS)]


class Labels(Asked):
    """
    Changes of the labels of one job or study.

    A field that is left out stays as it is.
    """

    name: Union[Label, None] = Field(
        None,
        min_length=1,
        max_length=200,
        description="the name; null: none, which a study cannot have",
    )
    note: Union[str, None] = Field(None, max_length=4000, description="the note; null: none")
    tags: Union[Tags, None] = Field(
        None, description="all tags, in place of the existing ones; null: none"
    )
    add_tags: Tags = Field([], description="tags to add to the existing ones")
    remove_tags: Tags = Field([], description="tags to remove, whether they exist or not")
    archived: Union[bool, None] = Field(
        None, description="whether lists and tables leave it out unless archived ones are asked for"
    )

    @field_validator("note")
    @classmethod
    def _is_text(cls, text: Union[str, None]) -> Union[str, None]:
        if text is not None and shown(text) != text:
            raise ValueError("it has characters that cannot be shown; use text and line breaks")
        return text


class SeveralLabels(Asked):
    """Tags and the archive, for several jobs at once."""

    jobs: List[JobId] = Field(min_length=1, max_length=MOST_JOBS)
    add_tags: Tags = Field([], description="tags to add to the existing ones")
    remove_tags: Tags = Field([], description="tags to remove, whether they exist or not")
    archived: Union[bool, None] = None
