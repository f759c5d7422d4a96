"""The configuration of a process: read once from the environment, then frozen.

Every field is the environment variable ``WAREHOUSE_SYNC_<NAME>``. Every limit carries its unit in its name and its
reason in its description; ``docs/limits.md`` is checked against this module by a test.
"""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import DeclarationInvalid

PREFIX = "WAREHOUSE_SYNC_"
KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

Count = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


def _listed(value: object) -> object:
    """Read a list as people write it: separated by commas, or as JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Addresses = Hosts
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """Where a process finds its services, and the limits it keeps."""

    # Compose files and charts name every variable, and leave those empty that nobody has set.
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(
        Path(".warehouse-sync"), description="folder of the embedded servers, the local spool and the logs"
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL; unset means embedded")
    broker_url: SecretStr | None = Field(None, description="Redis or Valkey; unset means embedded")
    spool_url: str | None = Field(
        None, description="file:///folder, s3://bucket/prefix or gs://bucket/prefix; unset: spool/ under home"
    )
    log_format: Literal["auto", "json", "columns"] = Field(
        "auto", description="auto: columns on a terminal, JSON elsewhere"
    )
    pulse_file: Path | None = Field(
        None, description="file that a worker or a beat touches while it works, for health checks; unset: none"
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="port on which `serve` answers /metrics to whoever reaches it, without a sign-in; unset: on none",
    )
    workspace_id: str | None = Field(
        None, description="mParticle's id of the workspace that the API serves; unset: any id in a path will do"
    )
    secret_env_prefix: str = Field(
        "WAREHOUSE_SYNC_SECRET_", description="an env: secret reference may only name variables that begin so"
    )
    secret_folder: Path = Field(
        Path("/run/secrets"), description="a file: secret reference may only lead into this folder"
    )
    public_key: str | None = Field(
        None, description="what secrets are sealed to; unset: only env: and file: references are taken"
    )
    private_keys: Path | None = Field(
        None, description="file with the private keys, one a line, newest first; for workers only"
    )
    feed_hosts: Hosts = Field((), description="hosts a feed may point to besides mParticle's own, e.g. a test server's")
    warehouse_hosts: Hosts = Field(
        (), description="hosts a connection may sign in at besides the vendors' own, e.g. a private link's"
    )
    duckdb_folders: Folders = Field(
        (), description="folders that DuckDB connections may read; none: DuckDB connections are refused"
    )

    chunk_max_rows: Count = Field(
        10_000,
        description="rows of a chunk; about 100 bodies: seconds at full speed, a minute at the default quota",
    )
    chunk_max_bytes: Count = Field(
        8 * MiB, description="Arrow bytes of a chunk in memory; bounds an uploader's memory with wide rows"
    )
    slice_chunks: Count = Field(
        8,
        description="chunks after which a slice ends where the result can be continued; more is lost by a crash, "
        "less is asked of the store",
    )
    record_batch_rows: Count = Field(10_000, description="rows asked of a warehouse's driver at a time")
    requests_in_flight: Count = Field(
        32,
        description="bodies on their way at once from one upload process; latency, not CPU, decides the rate",
    )
    body_max_batches: Count = Field(100, le=100, description="batches in one request; mParticle's own limit")
    body_max_events: Count = Field(
        100, description="events in one request; mParticle's page may mean 100 batches, 100 events or both"
    )
    body_max_bytes: Count = Field(
        256_000, le=256_000, description="bytes of one request, uncompressed; mParticle's own limit"
    )
    batch_max_bytes: Count = Field(
        128_000, le=128_000, description="bytes of one batch, uncompressed; mParticle's own limit"
    )
    batch_max_events: Count = Field(
        100, description="events of one user that are sent as one batch; 1: each is a batch of its own"
    )
    request_timeout_s: Seconds = Field(30, description="one request, from connect to the end of the answer")
    backoff_first_s: Seconds = Field(
        0.5, description="first pause after a 5xx, a timeout or a reset; doubled, jittered"
    )
    backoff_max_s: Seconds = Field(30, description="longest pause inside a worker; a longer one is left to the store")
    attempt_target_s: Seconds = Field(
        60, description="an upload attempt yields after this; far below the broker's visibility timeout"
    )
    progress_every_s: Seconds = Field(
        2, description="how often an attempt records how far it is; what is repeated after a crash"
    )
    run_window_chunks: Count = Field(
        32, description="chunks of one run that are in the queue or at work; a huge run never fills the queue"
    )
    plan_lease_s: Seconds = Field(120, description="a planner's claim; describing a slow view may take a while")
    extract_lease_s: Seconds = Field(
        120, description="an extraction's claim, renewed by a heartbeat and as record batches arrive"
    )
    upload_lease_s: Seconds = Field(60, description="an upload attempt's claim, renewed every third of it")
    max_deaths: Count = Field(
        5,
        description="claimants of one chunk, slice or plan that may die without an answer before it is given up",
    )
    max_reopenings: Count = Field(3, description="automatic reopenings of a failed run before the pipeline is faulted")
    query_timeout_s: Seconds = Field(4 * 3600, description="one query in the warehouse, from start to last row")
    probe_timeout_s: Seconds = Field(30, description="how long somebody waits for the answer to a probe")
    spool_soft_bytes: Count = Field(20 * GiB, description="a slice starts only below this much spooled data")
    spool_hard_bytes: Count = Field(40 * GiB, description="an extraction that passes this fails and frees its files")
    chunk_retention_s: Seconds = Field(
        60, description="how long chunks stay after their run is settled or abandoned; nothing reads them any more"
    )
    reject_retention_s: Seconds = Field(30 * 86400, description="how long rejected rows stay; they hold personal data")
    beat_every_s: Seconds = Field(1, description="how often beat looks for pipelines that are due")
    upkeep_every_s: Seconds = Field(30, description="how often lost work is looked for")
    resend_after_s: Seconds = Field(
        60, description="a recorded message not claimed by then is sent again, with doubling intervals"
    )
    resend_max_s: Seconds = Field(3600, description="the longest of those intervals")
    retry_after_s: Seconds = Field(
        30, description="how long work waits after a transient failure; upkeep looks no more often than this"
    )
    silence_max_s: Seconds = Field(
        600, description="the longest pause of a run whose feed answers nothing; others have its slots meanwhile"
    )
    doubt_max_s: Seconds = Field(
        25 * 86400, description="unfinished chunks older than this stop: mParticle forgets ids after 30 days"
    )
    max_newer_rows: Count = Field(
        5_000_000,
        description="users of one pipeline that are remembered as changed while its history is loaded, 110 to 200 "
        "bytes of PostgreSQL each, by the length of the pipeline's id; beyond it the history stops, to be read anew",
    )
    soft_shutdown_s: Seconds = Field(
        20,
        description="how long a worker that is told to stop lets its tasks end; what stops containers waits longer. "
        "Attempts yield within a request's time, so that nothing is killed",
    )
    visibility_timeout_s: Count = Field(
        1800, description="an unacknowledged message comes back after this; longer than any attempt"
    )

    alert_webhook_url: SecretStr | None = Field(
        None, description="where alerts are posted as JSON, or an env: or file: reference to it; for control workers"
    )
    alert_webhook_secret: SecretStr | None = Field(
        None, description="what signs them (HMAC-SHA256), or a reference to it; unset: they are not signed"
    )
    alert_slack_url: SecretStr | None = Field(
        None, description="a Slack incoming webhook for alerts, or a reference to it; for control workers"
    )
    alert_smtp_url: SecretStr | None = Field(
        None,
        description="smtp://user:password@host:587 (STARTTLS) or smtps://..., or a reference to it; alerts are mailed "
        "through it, for control workers",
    )
    alert_email_from: str | None = Field(None, description="whom mailed alerts are from")
    alert_email_to: Addresses = Field((), description="whom alerts are mailed to")
    alert_hosts: Hosts = Field(
        (), description="hosts that alerts may be sent to without TLS, besides this machine; they can be read there"
    )
    alert_link_base: str | None = Field(
        None, description="alerts link to /runs/NUMBER and /pipelines/ID below it; unset: they hold no link"
    )
    alert_rejected_ratio: float = Field(
        0.05, gt=0, lt=1, description="the share of rejected rows above which people are told; pipelines may differ"
    )
    alert_calm_s: float = Field(
        300, ge=0, description="how long what was the matter must be gone before people are told that it is over"
    )
    alert_timeout_s: Seconds = Field(
        10,
        description="one step of telling one channel; a silent one holds a slot so long, one that drips six times so",
    )
    alert_retry_first_s: Seconds = Field(
        30, description="first pause after a channel failed, also for its other messages; doubled for the same one"
    )
    alert_retry_max_s: Seconds = Field(3600, description="the longest of those pauses")
    alert_give_up_s: Seconds = Field(86400, description="a message that was not delivered by then is given up")
    alert_retention_s: float = Field(
        30 * 86400, ge=2 * 86400, description="how long alerts that are over stay; events are looked for within a day"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.spool_soft_bytes > self.spool_hard_bytes:
            raise ValueError(f"{PREFIX}SPOOL_SOFT_BYTES must not be above {PREFIX}SPOOL_HARD_BYTES")
        if self.batch_max_bytes + 2 > self.body_max_bytes:
            raise ValueError(f"{PREFIX}BODY_MAX_BYTES must hold {PREFIX}BATCH_MAX_BYTES and two brackets")
        if self.visibility_timeout_s < 2 * (self.attempt_target_s + self.request_timeout_s + self.backoff_max_s):
            raise ValueError(
                f"{PREFIX}VISIBILITY_TIMEOUT_S must be at least twice {PREFIX}ATTEMPT_TARGET_S, {PREFIX}"
                f"REQUEST_TIMEOUT_S and {PREFIX}BACKOFF_MAX_S together, or attempts are sent out twice"
            )
        if self.alert_smtp_url is not None and not (self.alert_email_from and self.alert_email_to):
            raise ValueError(f"{PREFIX}ALERT_SMTP_URL needs {PREFIX}ALERT_EMAIL_FROM and {PREFIX}ALERT_EMAIL_TO")
        return self


@cache
def settings() -> Settings:
    """Give this process's settings, read from the environment at the first call.

    Raises:
        DeclarationInvalid: a variable's value cannot be used; the message names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise DeclarationInvalid("; ".join(_complaint(**wrong) for wrong in error.errors())) from None


def _complaint(*, loc: tuple[int | str, ...], msg: str, input: object, **_: Any) -> str:  # noqa: A002 - pydantic's word
    if not loc:  # Several variables contradict each other; the sentence names them, and the input is all of them.
        return msg.removeprefix("Value error, ")
    return f"{PREFIX}{str(loc[0]).upper()}: {msg.removeprefix('Value error, ')}, not {input!r}"
