"""Device time and storage in many rows each, so that those who add to them need not wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_SUMS = {"device_time": (["owner", "project", "month"], "device_s", "double precision"),
         "storage": (["owner", "project"], "bytes", "bigint")}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    for table, (whose, _, _) in _SUMS.items():
        shard = sa.Column("shard", sa.SmallInteger(), server_default="0", nullable=False)
        op.add_column(table, shard)
        op.drop_constraint(f"{table}_pkey", table)
        op.create_primary_key(f"{table}_pkey", table, [*whose, "shard"])


def downgrade() -> None:
    """Take back."""
    for table, (whose, what, kind) in _SUMS.items():
        names = ", ".join(whose)
        op.execute(f"""
            create temporary table summed on commit drop as
                select {names}, sum({what})::{kind} as {what} from {table} group by {names}
        """)
        op.execute(f"delete from {table}")
        op.drop_constraint(f"{table}_pkey", table)
        op.drop_column(table, "shard")
        op.create_primary_key(f"{table}_pkey", table, whose)
        op.execute(f"insert into {table} ({names}, {what}) select {names}, {what} from summed")
        op.execute("drop table summed")
