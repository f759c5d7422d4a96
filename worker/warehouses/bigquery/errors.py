"""BigQuery's errors, translated: the only place that reads its reasons and words.

An error is told by a request (JSON with a reason, or a gRPC status) or by a job that has ended (the same reasons).
While a query is only looked at, words speak of its text and are kept. Once it runs they may quote a row's values
("Bad int64 value: ..."), so only those of reasons that speak of tables, rights and limits are kept then.

Source: BigQuery, "Error messages" (reasons); the words about sessions and time limits are from reports of users.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import RefreshError

from shared.errors import (
    CredentialsRefused,
    ModelInvalid,
    QueryTimedOut,
    ResultExpired,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.providers.bigquery import BigQueryConfig
from shared.sql import Query
from worker.warehouses.base import Label

_ABOUT_RIGHTS: Final = frozenset({"accessDenied", "billingNotEnabled", "blocked", "forbidden"})
_SENTENCES: Final[tuple[tuple[frozenset[str], type[SyncError], str], ...]] = (
    (
        frozenset({"authError", "required"}),
        CredentialsRefused,
        "BigQuery no longer accepts the sign-in of {account}; enable the account again, or create a new key",
    ),
    (
        _ABOUT_RIGHTS,
        RightsMissing,
        "BigQuery does not let {account} do this: {words}; grant the right, or correct what is asked for",
    ),
    (
        frozenset({"accessNotConfigured"}),
        WarehouseUnreachable,
        "BigQuery is not enabled in project {project!r}: {words}",
    ),
    (
        frozenset({"resourcesExceeded", "responseTooLarge", "billingTierLimitExceeded"}),
        ModelInvalid,
        "the query is too large for BigQuery: {words}; make it read or return less",
    ),
    (
        frozenset(
            {
                "quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded", "backendError", "internalError",
                "badGateway", "jobBackendError", "jobInternalError", "tableUnavailable", "resourceInUse", "duplicate",
            }
        ),
        WarehouseBusy,
        "BigQuery cannot do this now ({reason}): {words}; it is tried again",
    ),
)  # fmt: skip
"""What reasons mean, whose words never quote a row."""
_BY_STATUS: Final[Mapping[int, str]] = {
    401: "authError", 403: "accessDenied", 404: "notFound", 409: "duplicate", 429: "rateLimitExceeded",
    499: "cancelled",
}  # fmt: skip
_SERVER_FAILED: Final = 500
_PLACE: Final = re.compile(r"at \[(\d+):(\d+)\]")
_NO_SUCH_HOST: Final = ("NameResolutionError", "Failed to resolve", "DNS resolution failed")
_LONGEST_WORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What an error is about: one query, for whom, where, and how long it may take."""

    query: Query
    label: Label
    config: BigQueryConfig
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Told:
    reason: str
    words: str


def sign_in_failed(error: Exception, connection_id: str, config: BigQueryConfig) -> SyncError:
    """Translate an error of exchanging the key for a token; Google's words name neither key nor token."""
    who = f"connection {connection_id!r}"
    if isinstance(error, RefreshError) and not error.retryable:
        words = str(error.args[0]) if error.args else "no reason given"
        return CredentialsRefused(
            f"{who}: Google refused the key of {config.service_account_id}: {_clean(words)}; create a new key, or "
            "enable the account again"
        )
    return _unreachable(error, who, config)


def query_refused(error: Exception, asked: Asked) -> SyncError:
    """Translate an error of looking at a query or of starting it: its words speak of the text."""
    told = _told(error)
    if told is None:
        return _unreachable(error, str(asked.label), asked.config)
    return _known(told, asked) or ModelInvalid(
        f"{asked.label}: BigQuery refuses the data model's SQL: {_placed(_clean(told.words), asked.query)}"
    )


def query_failed(told: Mapping[str, Any], asked: Asked, *, job_id: str) -> SyncError:
    """Translate what ended a job: its words may quote rows."""
    read = _Told(str(told.get("reason", "")), str(told.get("message", "")))
    place = _PLACE.search(_clean(read.words))
    return _known(read, asked) or ModelInvalid(
        f"{asked.label}: the data model's SQL fails on some row{f' {_placed(place[0], asked.query)}' if place else ''} "
        f"({read.reason}). BigQuery's words are not shown, as they may quote a row; make the SQL bear such rows (e.g. "
        f"SAFE_CAST), or read them in BigQuery's job history, job {job_id}"
    )


def waiting_failed(error: Exception, asked: Asked, *, job_id: str) -> SyncError:
    """Translate an error of asking how far a job is; that it is unknown says nothing of its result."""
    told = _told(error)
    if told is None:
        return _unreachable(error, str(asked.label), asked.config)
    if told.reason == "notFound":
        return WarehouseBusy(f"{asked.label}: BigQuery does not know the job that it was given; it is tried again")
    return _known(told, asked) or _broken_off(told, asked, job_id)


def reading_failed(error: Exception, asked: Asked, *, job_id: str) -> SyncError:
    """Translate an error of reading a job's result; the job has succeeded, so that no row is at fault."""
    if isinstance(error, pa.ArrowException):
        return WarehouseBusy(f"{asked.label}: BigQuery broke off the result: what came is no complete Arrow message")
    told = _told(error)
    if told is None:
        return _unreachable(error, str(asked.label), asked.config)
    if told.reason == "notFound" or "session expired" in told.words:
        return ResultExpired(
            f"{asked.label}: BigQuery no longer has the result that was being read: a read session lives 6 hours, a "
            "result 24; start the run over"
        )
    return _known(told, asked) or _broken_off(told, asked, job_id)


def missing_right(error: GoogleAPICallError) -> str | None:
    """Give BigQuery's words, where an error says that the account may not do this."""
    told = _told(error)
    return _clean(told.words) if told is not None and told.reason in _ABOUT_RIGHTS else None


def _known(told: _Told, asked: Asked) -> SyncError | None:
    """Translate a reason that means the same whenever it is told; None for any other."""
    words, label, config = _clean(told.words), asked.label, asked.config
    for reasons, kind, sentence in _SENTENCES:
        if told.reason in reasons:
            shown = sentence.format(
                account=config.service_account_id, project=config.project_id, reason=told.reason, words=words
            )
            return kind(f"{label}: {shown}")
    match told.reason:
        case "notFound":
            return _not_found(words, asked)
        case "timeout" | "stopped":
            return _stopped(words, asked)
        case _:
            return None


def _broken_off(told: _Told, asked: Asked, job_id: str) -> WarehouseBusy:
    return WarehouseBusy(f"{asked.label}: BigQuery broke off ({told.reason}) at job {job_id}; it is tried again")


def _not_found(words: str, asked: Asked) -> SyncError:
    config = asked.config
    if "Not found: Project" in words or f"Not found: Dataset {config.project_id}:{config.dataset_id}" in words:
        return WarehouseUnreachable(
            f"{asked.label}: {words}; correct project_id, dataset_id or region ({config.region}) of the connection"
        )
    return ModelInvalid(f"{asked.label}: BigQuery refuses the data model's SQL: {_placed(words, asked.query)}")


def _stopped(words: str, asked: Asked) -> SyncError:
    if "cancel" in words and "timed out" not in words:
        return WarehouseBusy(f"{asked.label}: somebody cancelled the query's job in BigQuery; it is tried again")
    return QueryTimedOut(
        f"{asked.label}: the query ran longer than {asked.timeout_s:g} s; make it read less, or raise "
        "WAREHOUSE_SYNC_QUERY_TIMEOUT_S"
    )


def _unreachable(error: Exception, who: str, config: BigQueryConfig) -> SyncError:
    """Translate what is no answer. The exception's own text is dropped: it repeats the request."""
    cause = error.cause if isinstance(error, RetryError) and error.cause is not None else error
    text, kind = str(cause), type(cause).__name__
    if isinstance(cause, requests.exceptions.SSLError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return WarehouseUnreachable(
            f"{who}: the host's certificate is not trusted; correct the endpoint, or have workers trust its authority"
        )
    if config.hosts and any(
        words in text for words in _NO_SUCH_HOST
    ):  # Google's own names are right, so that is this machine's resolver.
        hosts = " or ".join(dict.fromkeys(config.hosts))
        return WarehouseUnreachable(f"{who}: there is no host {hosts}; correct the endpoint")
    return WarehouseBusy(f"{who}: the connection to BigQuery broke or could not be made ({kind}); it is tried again")


def _told(error: Exception) -> _Told | None:
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, RefreshError) and not error.retryable:
        return _Told("authError", "")
    if not isinstance(error, GoogleAPICallError) or "DNS resolution failed" in str(error.message):
        return None
    detail = error.errors[0] if error.errors else None
    if isinstance(detail, dict) and detail.get("reason"):
        return _Told(str(detail["reason"]), str(detail.get("message", "")))
    code = int(error.code or _SERVER_FAILED)
    reason = "backendError" if code >= _SERVER_FAILED else _BY_STATUS.get(code, "invalid")
    return _Told("notFound" if isinstance(error, NotFound) else reason, str(error.message or ""))


def _placed(words: str, query: Query) -> str:
    """Tell places in the model's own lines."""
    last = query.text.count("\n") + 1

    def placed(found: re.Match[str]) -> str:
        line = int(found[1])
        if query.lines_before and line == last:
            return "at its end"  # What is told stands behind the model, in text of ours.
        return f"at line {line - query.lines_before}, column {found[2]}"

    return _PLACE.sub(placed, words)


def _clean(words: str) -> str:
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in words).split())
    return shown if len(shown) <= _LONGEST_WORDS else f"{shown[:_LONGEST_WORDS]} ..."
