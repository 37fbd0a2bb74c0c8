"""The tables about people: projects and their members, tokens, sessions, the audit trail."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.store.table_parts import MOMENT, NOW, metadata

# A name never changes, because jobs and studies refer to their project by it.
project = Table(
    "project",
    metadata,
    Column("name", Text, primary_key=True),
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("created_by", Text),
)

member = Table(
    "member",
    metadata,
    Column("project", Text, ForeignKey("project.name"), primary_key=True),
    Column("owner", Text, primary_key=True),  # '*': everybody
    Column("role", Text, nullable=False),
    Column("added_at", MOMENT, nullable=False, server_default=NOW),
    CheckConstraint("role in ('read', 'submit', 'admin')", name="role"),
    Index("member_by_owner", "owner"),
)

# Limits that admins set; '*' is each owner, or each project, without a row of its own.
allowance = Table(
    "allowance",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("most", BigInteger, nullable=False),
    CheckConstraint("subject in ('owner', 'project')", name="subject"),
)

# Who uploaded a plugin to a project, or first used it there; its members see it.
upload = Table(
    "upload",
    metadata,
    Column("digest", Text, ForeignKey("plugin.digest"), primary_key=True),
    Column("project", Text, ForeignKey("project.name"), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("origin", JSONB, nullable=False, server_default="{}"),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
)

token = Table(
    "token",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("expires_at", MOMENT),
    Column("revoked_at", MOMENT),
    Column("last_used_at", MOMENT),  # to the minute
    Column("created_by", Text),
    Column("idempotency_key", Text),
    Column("successor", Uuid),  # the token that replaced it in a rotation
    UniqueConstraint("created_by", "idempotency_key"),
)

# A browser that has logged in. Its token may be an operator's own, which has no row.
session = Table(
    "session",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("token_sha256", LargeBinary, nullable=False),
    Column("owner", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("seen_at", MOMENT, nullable=False, server_default=NOW),  # to the minute
    Column("expires_at", MOMENT, nullable=False),
    Column("ended_at", MOMENT),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("at", MOMENT, nullable=False, server_default=NOW),
    Column("owner", Text),  # who did it
    Column("token", Uuid),  # with which token
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("details", JSONB, nullable=False, server_default="{}"),
    Index("audit_by_owner", "owner", "seq"),
)

# A saved choice of columns and filters for a table of jobs; others can open it by its link.
saved_view = Table(
    "saved_view",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("changed_at", MOMENT, nullable=False, server_default=NOW),
    UniqueConstraint("owner", "name"),
)
