"""Parts that tables share: names of constraints, moments, and the job of a row."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, MetaData, Uuid, text

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
NOW = text("clock_timestamp()")
MOMENT = DateTime(timezone=True)


def job_column() -> Column[object]:
    """Return the first column of the key of a table whose rows go with their job."""
    return Column("job", Uuid, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
