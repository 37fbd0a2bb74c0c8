"""The tables. `service/store/migrations` creates them; a test keeps the two in agreement."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.store.table_parts import MOMENT, NOW, job_column as _job_column, metadata as metadata
from service.store.tables_of_counts import (
    device_time as device_time,
    job_count as job_count,
    job_index as job_index,
    job_move as job_move,
    loop_place as loop_place,
    storage as storage,
)
from service.store.tables_of_keeping import discarded as discarded, keep_rule as keep_rule
from service.store.tables_of_metrics import (
    metric_chunk as metric_chunk,
    metric_key as metric_key,
    metric_last as metric_last,
)
from service.store.tables_of_people import (
    allowance as allowance,
    audit as audit,
    member as member,
    project as project,
    saved_view as saved_view,
    session as session,
    token as token,
    upload as upload,
)


def _project_column() -> Column[object]:
    belongs = ForeignKey("project.name")
    return Column("project", Text, belongs, nullable=False, server_default="default")


study = Table(
    "study",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    _project_column(),
    Column("spec", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("fingerprint", Text, nullable=False),
    Column("reason", Text),  # why a study failed, or cannot continue now
    # Work that is done slice by slice: how many cells wait to be queued (they count towards the
    # owner's limit); when completion was requested (for cells that had failed); a cancellation; a
    # new priority.
    Column("planned", Integer, nullable=False, server_default="0"),
    Column("asked_at", MOMENT),
    Column("cancelling", Boolean, nullable=False, server_default="false"),
    Column("priority", SmallInteger),
    Column("trashed_at", MOMENT),  # since when it has been in the trash
    Column("note", Text),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("archived_at", MOMENT),
    Column("announced_at", MOMENT),  # when webhooks were told that it has ended
    Index(
        "study_unannounced",
        "id",
        postgresql_where=text("announced_at is null or announced_at < asked_at"),
    ),
    Index("study_by_age", text("created_at desc"), "id"),
    Index(
        "study_once",
        "owner",
        "project",
        "fingerprint",
        unique=True,
        postgresql_where=text("trashed_at is null"),
    ),
    Index("study_planned", "owner", postgresql_where=text("planned > 0")),
    Index("study_held", "id", postgresql_where=text("state = 'paused' or cancelling")),
)

job = Table(
    "job",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner", Text, nullable=False),
    _project_column(),
    Column("name", Text),
    Column("idempotency_key", Text),
    Column("request_hash", Text, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("study", Uuid, ForeignKey("study.id", ondelete="SET NULL")),
    Column("cell", Text),
    # Copied from the spec: the fields that lists show and filter by.
    Column("normalizer", Text, nullable=False),
    Column("proxy", Boolean, nullable=False),
    Column("model", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("samples_per_update", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("device", Text, nullable=False),
    Column("device_reason", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("time_limit_s", Double),
    Column("hosts", Integer, nullable=False, server_default="1"),
    Column("code", ARRAY(Text), nullable=False, server_default="{}"),  # digests of plugins
    # The life cycle.
    Column("state", Text, nullable=False, server_default="queued"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("forgiven", Integer, nullable=False, server_default="0"),
    Column("pack_limit", SmallInteger),  # the most members of its packs, after one failed
    Column("packed", SmallInteger),  # members of the largest pack that trained it; null: none
    Column("lease_until", MOMENT),
    Column("not_before", MOMENT),
    Column("rung_at", MOMENT),
    Column("cancel_requested", Boolean, nullable=False, server_default="false"),
    Column("worker", Text),
    Column("ran_s", Double, nullable=False, server_default="0"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),  # at its last end
    Column("runtime", Text),
    Column("timing_valid", Boolean, nullable=False, server_default="true"),
    Column("step", BigInteger, nullable=False, server_default="0"),
    Column("steps", BigInteger),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("epochs", Integer, nullable=False),
    Column("summary", JSONB),
    Column("error", JSONB),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("started_at", MOMENT),
    Column("finished_at", MOMENT),
    Column("request", Text),  # that submitted it
    Column("trace", Text),  # the `traceparent` of what submitted it
    Column("trashed_at", MOMENT),
    Column("note", Text),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("archived_at", MOMENT),
    CheckConstraint(
        "state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
    ),
    Index("job_once_per_key", "owner", "project", "idempotency_key", unique=True),
    Index("job_once_per_cell", "study", "cell", unique=True),
    Index("job_by_age", text("created_at desc"), text("id desc")),
    Index("job_by_project", "project", text("created_at desc"), text("id desc")),
    Index(
        "job_queue",
        "device",
        "owner",
        text("priority desc"),
        "created_at",
        "id",
        postgresql_where=text("state = 'queued'"),
    ),
    # the job of each device that waits the longest, and those that wait for a moment
    Index(
        "job_oldest",
        "device",
        "created_at",
        postgresql_where=text("state = 'queued' and not cancel_requested and not_before is null"),
    ),
    Index(
        "job_paused",
        "device",
        postgresql_where=text("state = 'queued' and not_before is not null"),
    ),
    Index("job_of_hosts", "device", postgresql_where=text("state = 'queued' and hosts > 1")),
    Index("job_leases", "lease_until", postgresql_where=text("state = 'running'")),
    Index("job_by_fingerprint", "fingerprint"),
    # for filters that few jobs match; of those with few values, the newest jobs are read instead
    Index("job_by_seed", "seed"),
    Index("job_by_name", "name", postgresql_where=text("name is not null")),
    Index("job_tagged", "project", postgresql_where=text("tags <> '{}'")),
    # counts by state, and the few jobs that wait or run, without reading the many that have ended
    Index("job_by_state", "state", "device", postgresql_where=text("trashed_at is null")),
    # what the number of rows of a table depends on, all of it in the index
    Index(
        "job_listed",
        "project",
        "study",
        postgresql_where=text("trashed_at is null and archived_at is null"),
    ),
    Index("job_by_end", "finished_at"),
    Index("job_trashed", "trashed_at", postgresql_where=text("trashed_at is not null")),
)

study_cell = Table(
    "study_cell",
    metadata,
    Column("study", Uuid, ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("coordinates", JSONB, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("job", Uuid, ForeignKey("job.id", ondelete="SET NULL")),
    Column("reused", Boolean, nullable=False, server_default="false"),
    Column("pruned", Boolean, nullable=False, server_default="false"),
    Index("study_cell_by_job", "job"),
)

# Code that jobs use, kept as long as a job may name it.
plugin = Table(
    "plugin",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text),  # who uploaded it; null: the operator
    Column("source", LargeBinary, nullable=False),  # a zip archive
    Column("description", JSONB, nullable=False),
    Column("origin", JSONB, nullable=False, server_default="{}"),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("in_force", Boolean, nullable=False, server_default="false"),  # for every job
    Index("plugin_by_owner", "owner"),
)

# The result of each look at a study that decides; looks are never repeated.
study_look = Table(
    "study_look",
    metadata,
    Column("study", Uuid, ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    Column("seeds", Integer, primary_key=True, autoincrement=False),  # asked for at this look
    Column("comparison", Text, primary_key=True),
    Column("at", MOMENT, nullable=False, server_default=NOW),
    Column("verdict", Text, nullable=False),
    Column("finding", JSONB, nullable=False),
)

# One row for each owner that ever used a kind of device, for fair turns.
turn = Table(
    "turn",
    metadata,
    Column("device", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("served_at", MOMENT),
)

attempt = Table(
    "attempt",
    metadata,
    _job_column(),
    Column("number", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("started_at", MOMENT, nullable=False, server_default=NOW),
    Column("ended_at", MOMENT),
    Column("outcome", Text),
    Column("failure_kind", Text),
    Column("message", Text),
    Column("resumed_from_step", BigInteger),  # null until the job process has reported it
    Column("environment", JSONB, nullable=False, server_default="{}"),
    # Of several: each host's worker and address, by seat, and where they meet once that is open.
    Column("hosts", JSONB, nullable=False, server_default="[]"),
    Column("meeting", Text),
    Column("pack", Uuid),  # the same for all attempts that are trained as one pack
    Index("attempt_by_pack", "pack", postgresql_where=text("pack is not null")),
)

# A slot that waits to be one of a job's hosts, and after that its seat in an attempt.
seat = Table(
    "seat",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("units", Integer),  # of the device that are free there; null: it has no units
    Column("live_until", MOMENT, nullable=False),
    Column("job", Uuid, ForeignKey("job.id", ondelete="CASCADE")),
    Column("attempt", Integer),
    Column("number", Integer),
    Column("leaving", Boolean, nullable=False, server_default="false"),
    Column("ended", JSONB),  # the last report of its job process
    Index("seat_by_job", "job"),
    Index("seat_offers", "device", postgresql_where=text("job is null")),
)

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("job", Uuid, ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", MOMENT, nullable=False, server_default=NOW),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    # The writing transaction: readers of all jobs stop before one that may still commit.
    Column("writer", BigInteger, nullable=False, server_default=text("txid_current()")),
    Index("event_by_job", "job", "seq"),
)

artifact = Table(
    "artifact",
    metadata,
    _job_column(),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),  # in the folder of job folders
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("step", BigInteger),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
)

log_segment = Table(
    "log_segment",
    metadata,
    _job_column(),
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # in the job's log
    Column("attempt", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),  # in the attempt's output
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

diagnostic = Table(
    "diagnostic",
    metadata,
    _job_column(),
    Column("name", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("record", JSONB, nullable=False),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("busy", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("memory_bytes", BigInteger),
    Column("versions", JSONB, nullable=False),
    Column("facts", JSONB, nullable=False, server_default="{}"),
    Column("started_at", MOMENT, nullable=False, server_default=NOW),
    Column("seen_at", MOMENT, nullable=False, server_default=NOW),
    Column("live_until", MOMENT, nullable=False),
    Column("lost_at", MOMENT),  # since when webhooks know that it is silent
    Column("version", Text),  # of normlab, and the schema that it knows; null: too old to say it
    Column("revision", Text),
    # What its jobs find: packages by name (null: not known yet), and the plugins that were tried,
    # by digest, with the reason why they cannot be loaded, or with none.
    Column("packages", JSONB),
    Column("loads", JSONB, nullable=False, server_default="{}"),
)

# The version of the API that started last. A trigger lets workers of others take no jobs.
release = Table(
    "release",
    metadata,
    Column("one", Boolean, primary_key=True, server_default="true"),
    Column("version", Text, nullable=False),
    Column("since", MOMENT, nullable=False, server_default=NOW),
    Column("storage", Text, nullable=False, server_default=""),  # a bucket; else a folder
    CheckConstraint("one", name="one"),
)

# Counts that only grow, which many processes add to.
tally = Table(
    "tally",
    metadata,
    Column("name", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("failure_kind", Text, primary_key=True),
    # each count is the sum of several rows, so that those who add to it need not wait
    Column("shard", SmallInteger, primary_key=True, autoincrement=False, server_default="0"),
    Column("n", BigInteger, nullable=False),
)

# A message to a webhook, until it is delivered.
delivery = Table(
    "delivery",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("created_at", MOMENT, nullable=False, server_default=NOW),
    Column("due_at", MOMENT, nullable=False, server_default=NOW),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("delivered_at", MOMENT),
    Column("problem", Text),
    Index("delivery_due", "due_at", postgresql_where=text("delivered_at is null")),
)
