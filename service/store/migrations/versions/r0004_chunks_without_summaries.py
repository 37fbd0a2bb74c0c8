"""Chunks of metrics say of themselves only what is read: where they begin and end."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_DOUBLES = ("t1", "vmin", "vmax", "vsum", "vlast")


def upgrade() -> None:
    """Apply."""
    for name in (*_DOUBLES, "nan_count"):
        op.drop_column("metric_chunk", name)


def downgrade() -> None:
    """Take back; nothing ever read what the chunks until then said here."""
    for name in _DOUBLES:
        _add(name, sa.Double(), "NaN")
    _add("nan_count", sa.Integer(), "0")


def _add(name: str, kind: sa.types.TypeEngine[Any], value: str) -> None:
    column: sa.Column[Any] = sa.Column(name, kind, nullable=False, server_default=value)
    op.add_column("metric_chunk", column)
    op.alter_column("metric_chunk", name, server_default=None)
