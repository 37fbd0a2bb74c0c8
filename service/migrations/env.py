"""Run migrations on the connection that `service.database.migrate` opened."""

from __future__ import annotations

from alembic import context

from service.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
