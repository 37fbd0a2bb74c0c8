"""The trained weights that a job starts from: their source, and what may differ."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, List, Literal, Tuple, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Annotated, Self

from normlab.specs.base import Label, Spec, is_stored
from normlab.specs.json_values import Count, DottedPath, Json

SUFFIX = ".safetensors"
EVERYTHING = ("*",)
_JOB = re.compile(r"[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9_./-]+\.safetensors")
Patterns = Annotated[Tuple[Label, ...], Field(max_length=64)]


class InitFrom(Spec):
    """
    Weights to start from, one of *job*, *file*, *sha256* and *twin*.

    A text is short for one of them, and so is `from` in an object: the id of a job, a file, or a
    SHA-256.
    """

    job: Union[str, None] = Field(None, description="the id of a job that has succeeded")
    file: Union[str, None] = Field(
        None, max_length=256, description="a .safetensors file below the operator's data root"
    )
    sha256: Union[str, None] = Field(
        None,
        pattern=f"^{_SHA256.pattern}$",
        description="SHA-256 of the file of weights, which the service fills in when it accepts "
        "the job. Given by itself, it names the final weights of any job with this content",
    )
    twin: Union[Dict[DottedPath, Json], None] = Field(
        None,
        max_length=64,
        description="the final weights of the same job with fresh weights and with these fields "
        'changed, each path to its new value, such as {"normalizer": "batch"}; that job must '
        "have succeeded before",
    )
    normalizers: Literal["load", "swap"] = Field(
        "load",
        description="load: keep the normalizers of the file, which must be of the same kind. "
        "swap: take new normalizers of this job's kind with the file's scale and shift, and "
        "with its running statistics where both kinds have them",
    )
    head: Literal["load", "new"] = Field(
        "load",
        description="load: the last layer starts with the file's weights. new: it starts with "
        "fresh weights, for other classes",
    )
    missing: Patterns = Field(
        (),
        description="patterns of names that start with fresh weights if the file lacks them or "
        'has them in another shape, such as "5.conv*"; allow: all names',
    )
    unused: Patterns = Field(
        (),
        description="patterns of names in the file that the network need not have; allow: "
        "all names",
    )

    def science(self) -> Dict[str, Any]:
        """
        Return what a fingerprint depends on: the content, and not the name by which it was found.

        For a twin, whose content follows from its specification, these are the changed fields.
        """
        unnamed = set() if self.sha256 is None else {"job", "file"}
        if self.twin is None:  # the same as before this field existed
            unnamed.add("twin")
        return self.model_dump(mode="json", exclude=unnamed)

    @property
    def named(self) -> str:
        """Return the source of the weights, in words."""
        if self.job is not None:
            return f"job {self.job}"
        if self.twin is not None:
            changes = ", ".join(f"{path} {json.dumps(v)}" for path, v in self.twin.items())
            return f"its twin with {changes}" if changes else "its twin"
        return self.file or f"SHA-256 {self.sha256}"

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, given: Any) -> Any:
        if isinstance(given, str):
            return _place(given)
        if isinstance(given, dict) and isinstance(given.get("from"), str):
            rest = {name: value for name, value in given.items() if name != "from"}
            return {**rest, **_place(given["from"])}
        return given

    @field_validator("missing", "unused", mode="before")
    @classmethod
    def _allowed(cls, given: Any) -> Any:
        return EVERYTHING if given == "allow" else given

    @field_validator("job")
    @classmethod
    def _whole_id(cls, job: Union[str, None]) -> Union[str, None]:
        if job is not None and not _JOB.fullmatch(job):
            raise ValueError(
                f"{job!r} is not the id of a job; write the whole id, a {SUFFIX} file below the "
                "data root, or the SHA-256 of weights"
            )
        return job

    @field_validator("file")
    @classmethod
    def _below_the_data_root(cls, file: Union[str, None]) -> Union[str, None]:
        if file is None:
            return file
        if not _FILE.fullmatch(file):
            raise ValueError(f"{file!r} is not a {SUFFIX} file; weights are read only from these")
        if file.startswith("/") or ".." in file.split("/"):
            raise ValueError(f"{file} leads out of the operator's data root; name a file below it")
        return file

    @model_validator(mode="after")
    def _with_its_content(self, info: ValidationInfo) -> Self:
        if is_stored(info):
            return self
        places = {"job": self.job, "file": self.file, "twin": self.twin}
        given = [name for name, place in places.items() if place is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given together; name one")
        if not given and self.sha256 is None:
            raise ValueError("names no weights; give the id of a job, a file, or a twin")
        if self.twin is not None:
            if self.sha256 is not None:
                raise ValueError(
                    "a twin is found for each job, so it has no sha256; leave sha256 out"
                )
            return self  # found for each job, once it is whole
        found = _content(self)
        object.__setattr__(self, "sha256", found)  # in place: a caller has this object
        return self


Finder = Callable[[InitFrom], str]
_finder: List[Finder] = []  # the finder of the service, or empty in a process without one


def find_with(finder: Union[Finder, None]) -> None:
    """
    Use *finder* to find the SHA-256 of weights that a job names; with None, trust the job.

    The finder raises ValueError if there are none, with the reason and the way out.
    """
    _finder[:] = [] if finder is None else [finder]


def content_of(file: str, sha256: Union[str, None]) -> Union[str, None]:
    """
    Return the SHA-256 of the weights in *file*; *sha256* if this process cannot read them.

    Raises:
        ValueError: there are none, or their SHA-256 differs; with the reason and the way out.
    """
    return _content(InitFrom.model_construct(file=file, sha256=sha256))


def _content(start: InitFrom) -> Union[str, None]:
    found = _finder[0](start) if _finder else start.sha256
    if start.sha256 not in (None, found):
        raise ValueError(
            f"the weights of {start.named} have the SHA-256 {found} now, not {start.sha256}; "
            "leave sha256 out to use these"
        )
    return found


def _place(text: str) -> Dict[str, str]:
    if text.endswith(SUFFIX):
        return {"file": text}
    return {"sha256": text} if _SHA256.fullmatch(text) else {"job": text}


class Continuation(Spec):
    """The checkpoint from which a job continues; `normlab continue` fills it in."""

    job: str = Field(
        pattern=r"^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$",
        description="the id of the earlier job",
    )
    step: Count = Field(description="number of updates that it had made")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its checkpoint")
    schedule: Literal["same", "new"] = Field(
        "same",
        description="same: the learning rates so far were those of the longer job, so it ends "
        "with the same numbers as one longer job. new: the learning rates of the longer job apply "
        "from here on",
    )


class Longer(BaseModel):
    """The body of a request to continue a job."""

    model_config = ConfigDict(extra="forbid")

    epochs: Union[int, None] = Field(
        None,
        ge=1,
        le=100_000,
        description="total number of epochs, including those of the earlier job",
    )
    max_steps: Union[Count, None] = Field(
        None,
        description="total number of updates, including those of the earlier job; null: as "
        "many as the epochs have",
    )
    anyway: bool = Field(
        False, description="accept that the result differs from that of one longer job"
    )
