"""Records of tokens, and of the audit trail."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, List, Literal, Mapping, Type, TypeVar, Union

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from normlab.errors import InvalidSpec
from normlab.plain_text import visible
from normlab.specs.problems import explain

Scope = Literal["read", "submit", "admin"]
TokenState = Literal["active", "expired", "revoked"]
LONGEST_GRACE_S = 30 * 86_400
AnyAsked = TypeVar("AnyAsked", bound="Asked")


class Asked(BaseModel):
    """A request about tokens."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def read(cls: Type[AnyAsked], given: Mapping[str, Any]) -> AnyAsked:
        """Check *given*; raise InvalidSpec naming each field that is wrong."""
        try:
            return cls.model_validate(given)
        except ValidationError as e:
            raise InvalidSpec.of(explain(e.errors(), given, cls)) from e


class TokenRequest(Asked):
    """The properties of a new token."""

    owner: str = Field(
        min_length=1, max_length=200, description="the owner whose jobs it may change"
    )
    scopes: List[Scope] = Field(
        default=["read"],
        min_length=1,
        max_length=3,
        description="admin includes submit, and both include read",
    )
    expires_at: Union[AwareDatetime, None] = Field(
        None, description="when it expires, with the offset from UTC; null: only when it is revoked"
    )
    note: str = Field("", max_length=200, description="its purpose")

    @field_validator("owner", "note")
    @classmethod
    def _is_plain(cls, text: str) -> str:
        return visible(text)

    @field_validator("scopes")
    @classmethod
    def _in_order(cls, scopes: List[Scope]) -> List[Scope]:
        order: List[Scope] = ["read", "submit", "admin"]
        return [scope for scope in order if scope in scopes]

    @field_validator("expires_at")
    @classmethod
    def _lies_ahead(cls, moment: Union[datetime, None]) -> Union[datetime, None]:
        if moment is not None and moment <= datetime.now(timezone.utc):
            raise ValueError(f"{moment.isoformat()} is in the past; a token ends after now")
        return moment


class Rotation(Asked):
    """How a token is replaced."""

    grace_s: float = Field(
        3600.0, ge=0, le=LONGEST_GRACE_S, description="how long the old secret stays valid"
    )


class TokenRecord(BaseModel):
    """A token as in lists, without its secret."""

    id: str
    owner: str
    scopes: List[Scope]
    note: str
    state: TokenState
    created_at: datetime
    expires_at: Union[datetime, None]
    revoked_at: Union[datetime, None]
    last_used_at: Union[datetime, None] = Field(description="when it was last used, to the minute")
    successor: Union[str, None] = Field(description="the token that replaced it")


class TokenIssued(TokenRecord):
    """A new token with its secret, which is shown only now."""

    secret: str
    predecessor_ends_at: Union[datetime, None] = Field(
        None, description="after a rotation: the time until which the old secret is valid"
    )


class TokenPage(BaseModel):
    """Some tokens, and the cursor of the next page."""

    tokens: List[TokenRecord]
    next_cursor: Union[str, None]


class AuditRecord(BaseModel):
    """One thing that somebody did."""

    seq: int
    at: datetime
    owner: Union[str, None] = Field(description="who did it; null if that is unknown")
    token: Union[str, None] = Field(description="the id of the token that was used")
    action: str = Field(examples=["job.submit"])
    target: Union[str, None] = Field(description="the id of the changed object")
    details: Dict[str, Any]


class AuditPage(BaseModel):
    """Some audit records, newest first, and the cursor of the next page."""

    records: List[AuditRecord]
    next_cursor: Union[str, None]
