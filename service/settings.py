"""The operator's settings: read once from the environment, then passed as arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from normlab.errors import FieldProblem, InvalidSpec, told
from normlab.specs.devices import KINDS, Kind
from normlab.stacks.running import default_data_dir
from service.webhook_addresses import why_unusable

_OURS = "NORMLAB_"  # the database's password, the admin's token
_OF_BUCKETS = ("AWS_", "GOOGLE_", "AZURE_")


class Settings(BaseSettings):
    """Each field is the environment variable of the same name with the prefix `NORMLAB_`."""

    model_config = SettingsConfigDict(
        env_prefix="NORMLAB_",
        env_nested_delimiter="_",  # for job_python, the only nested field
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
    )

    database_url: str | None = Field(
        None, description="address of PostgreSQL; none: an embedded server"
    )
    worker_role: str | None = Field(
        None,
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="a database role to which each migration gives the rights of workers, and "
        "no others",
    )
    broker_url: str | None = Field(
        None, description="address of Celery's broker; none: an embedded Redis"
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="folder of databases, job folders and logs"
    )
    storage: str = Field(
        "",
        pattern=r"^(/.*|(s3|gs|az)://[^/\s]+(/\S*)?)?$",
        description="where the files of jobs are kept: a folder, or a bucket that the API and all "
        "workers reach, such as s3://bucket/prefix, gs:// or az://; none: data_dir/jobs",
    )
    storage_patience_s: float = Field(
        600.0,
        gt=0,
        description="time for which a bucket may not answer when a job's files are to be stored "
        "at its end, before the attempt fails",
    )
    data_root: Path | None = Field(None, description="folder of datasets; none: data_dir/datasets")
    token: SecretStr | None = Field(
        None, min_length=16, description="an admin token that the API accepts"
    )

    host: str = "127.0.0.1"
    port: int = Field(8642, ge=0, le=65_535, description="the port; 0: any free port")
    allowed_hosts: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.:*,\[\]-]*$",
        description="further host names of the API, with commas, besides the loopback names and "
        "`host`; `*.example.org`: all names below it",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9_.~@%-]+)*$",
        description="path below which a proxy shows the service, such as `/normlab`",
    )
    trusted_proxies: str = Field(
        "",
        pattern=r"^(\*|[0-9a-fA-F.:/, ]*)$",
        description="addresses and networks, with commas, from which the headers "
        "X-Forwarded-For, -Proto and -Host are believed; `*`: from all; none: from nobody",
    )
    tls_cert: Path | None = Field(
        None, description="certificate chain (PEM); with it, the API serves HTTPS"
    )
    tls_key: Path | None = Field(None, description="private key of `tls_cert` (PEM)")
    max_body_bytes: int = Field(1 << 20, ge=1024)

    lease_s: float = Field(
        30.0, gt=0, description="a worker without a heartbeat for this time loses its job"
    )
    heartbeat_s: float = Field(5.0, gt=0, description="time between the heartbeats of a worker")
    reap_s: float = Field(5.0, gt=0, description="time between checks for expired leases")
    ring_s: float = Field(
        5.0, gt=0, description="time before the message for a queued job is sent again"
    )
    poll_s: float = Field(
        2.0, gt=0, description="time between the queries of an idle worker for queued jobs"
    )
    grace_s: float = Field(20.0, gt=0, description="time from SIGTERM to SIGKILL of a job process")
    retry_backoff_s: float = Field(
        1.0, ge=0, description="time before the second attempt; it doubles with each further one"
    )

    devices: str = Field(
        KINDS[0],
        pattern="^({0})(,({0}))*$".format("|".join(KINDS)),
        description="kinds of devices, with commas; `normlab up` starts one worker for each",
    )
    slots: int = Field(
        1, ge=1, le=1024, description="number of jobs that a worker runs at the same time"
    )
    address: IPvAnyAddress | None = Field(
        None,
        description="IP address at which other hosts reach the worker's host; none: the address "
        "from which it reaches the database",
    )
    warm_host: bool = Field(True, description="keep a process with torch imported")
    job_memory_bytes: int | None = Field(
        None, ge=1 << 28, description="memory for the data of a job process; none: no limit"
    )
    job_python: dict[Kind, Path] = Field(
        default_factory=dict,
        description="the Python interpreter of jobs by device (NORMLAB_JOB_PYTHON_IPU=...); "
        "none: that of the worker",
    )
    plugins: str = Field(
        "",
        description="the operator's plugins: files and folders with `:` between them, whose "
        "normalizers, networks and datasets every job may use",
    )
    plugin_folder: Path | None = Field(
        None,
        description="folder in which each .py file, and each folder with a .py file, is "
        "also a plugin",
    )
    allow_code: str = Field(
        "",
        description="owners who may upload code for their jobs, with commas; `*`: everybody who "
        "may submit; none: nobody",
    )
    inspector_socket: Path | None = Field(
        None,
        description="socket of a process that inspects models; none: the API starts such a process",
    )

    read_timeout_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="time after which a costly read, such as a list or a table, is cancelled",
    )
    session_s: float = Field(
        7 * 86_400, ge=120, description="time until a browser's login ends, even if it is used"
    )
    session_idle_s: float = Field(
        86_400, ge=120, description="time without a request after which a login ends"
    )
    trash_days: int = Field(
        30, ge=0, le=36_500, description="days until deleted jobs and studies are purged"
    )
    audit_days: int = Field(365, ge=1, description="days for which the audit trail is kept")
    webhooks: str = Field(
        "",
        description="URLs, with commas, to which messages about ended studies and lost workers "
        "are sent",
    )
    webhook_secret: SecretStr | None = Field(
        None, min_length=16, description="secret that signs the messages to webhooks"
    )
    max_queued_per_owner: int = Field(20_000, ge=1)
    small_batch_limit: int = Field(
        16, ge=1, description="largest batch for which `auto` prefers an IPU"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _heartbeats_fit_into_a_lease(self) -> Settings:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                f"NORMLAB_HEARTBEAT_S={self.heartbeat_s:g} must be at most half of "
                f"NORMLAB_LEASE_S={self.lease_s:g}, or one late heartbeat loses a healthy job"
            )
        return self

    @field_validator("webhooks")
    @classmethod
    def _webhooks_can_be_reached(cls, urls: str) -> str:
        for url in filter(None, urls.split(",")):
            why = why_unusable(url)
            if why is not None:
                raise ValueError(
                    f"{url!r} is no address of a webhook: {why}; write scheme, host and path, "
                    "such as https://chat.example.org/hooks/normlab"
                )
        return urls

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Settings:
        if self.webhooks and self.webhook_secret is None:
            raise ValueError(
                "NORMLAB_WEBHOOKS needs NORMLAB_WEBHOOK_SECRET, which signs the messages"
            )
        return self

    @model_validator(mode="after")
    def _tls_has_both_files(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, other = ("KEY", "CERT") if self.tls_cert is None else ("CERT", "KEY")
            raise ValueError(f"NORMLAB_TLS_{given} needs NORMLAB_TLS_{other} as well")
        return self

    @property
    def datasets(self) -> Path:
        """The folder of dataset files."""
        return self.data_root or self.data_dir / "datasets"

    @property
    def in_bucket(self) -> bool:
        """Whether the files of jobs are kept in a bucket."""
        return "://" in self.storage

    @property
    def bucket(self) -> str:
        """The bucket of the files of jobs; empty: they are in a folder."""
        return self.storage if self.in_bucket else ""

    @property
    def jobs(self) -> Path:
        """The folder of job folders, unless they are kept in a bucket."""
        kept_in_folder = self.storage and not self.in_bucket
        return Path(self.storage) if kept_in_folder else self.data_dir / "jobs"

    @property
    def scratch(self) -> Path:
        """The folder of what jobs write until it is stored in a bucket, and read from there."""
        return self.data_dir / "scratch"

    @property
    def code(self) -> Path:
        """The folder of the plugins' files, one folder for each digest."""
        return self.data_dir / "code"

    def for_code(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return *environment* without what the code of a job must not see: our credentials."""
        hidden = (_OURS, *_OF_BUCKETS) if self.in_bucket else (_OURS,)
        return {k: v for k, v in environment.items() if not k.startswith(hidden)}

    @property
    def plugin_paths(self) -> list[Path]:
        """The operator's plugins, by name where they lie in one folder."""
        named = [Path(path).absolute() for path in self.plugins.split(os.pathsep) if path]
        return [*named, *_plugins_in(self.plugin_folder)]

    def lets_upload(self, owner: str) -> bool:
        """Return whether *owner* may upload code."""
        allowed = {name.strip() for name in self.allow_code.split(",")} - {""}
        return "*" in allowed or owner in allowed

    @property
    def worker_silence_s(self) -> float:
        """After this time without a heartbeat, a worker does not count as live."""
        return 3 * self.heartbeat_s

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no log may contain."""
        hidden = (self.token, self.webhook_secret)
        return tuple(secret.get_secret_value() for secret in hidden if secret is not None)

    @classmethod
    def from_env(cls) -> Settings:
        """Read the environment; raise InvalidSpec naming each variable that is wrong."""
        try:
            return cls()
        except ValidationError as e:
            # without the values, some of which are secrets
            problems = [
                FieldProblem(_variable(p["loc"]), p["msg"].removeprefix("Value error, "))
                for p in e.errors()
            ]
            raise InvalidSpec(f"settings cannot be used: {told(problems)}", problems) from e


def _plugins_in(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    found = [*folder.glob("*.py"), *(path.parent for path in folder.glob("*/*.py"))]
    return sorted(set(found))


def _variable(location: tuple[int | str, ...]) -> str:
    return (
        "NORMLAB_" + "_".join(str(part) for part in location).upper() if location else "NORMLAB_*"
    )
