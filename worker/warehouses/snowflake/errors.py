"""Snowflake's errors, translated: the only place that reads its codes and words.

A number above 1000 is the server's own. Smaller ones, and 250001, are the client's and say little; what went wrong is
then only in its words. Those are read and never shown, for they may hold addresses with signatures. Of the server's
words, those about the query's text and about rights are shown; the others may quote a row.

Source: the client's ``_internal/error_kinds.py``, and answers seen in its issues; the codes are documented nowhere.
"""

import re
from typing import Any, Final

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
from shared.providers.snowflake import SnowflakeConfig
from shared.sql import Query
from worker.warehouses.base import Label

_ROLE_UNKNOWN: Final = 390189
_DEFAULT_UNKNOWN: Final = 390201
_ADDRESS_BLOCKED: Final = frozenset({390420, 390422})
_SIGN_IN: Final = range(390_000, 396_000)
_INSUFFICIENT_PRIVILEGES: Final = 3001
_NO_WAREHOUSE: Final = 606
_NO_DATABASE: Final = frozenset({90105, 90106})
_RESOURCE_MONITOR: Final = 90073
_RESULT_GONE: Final = frozenset({612, 709, 710})
_CANCELLED: Final = "57014"
_TIMED_OUT: Final = 630
_SERVER_FAULTS: Final = range(300_000, 400_000)
_INCIDENT: Final = 603
_INTERNAL: Final = "XX000"
"""With 603, an incident of the server's own: "Processing aborted due to error 300010:391167117; incident 5388518"."""
_FIRST_OF_THE_SERVER: Final = 600
_CLIENT_FAILED_TO_CONNECT: Final = 250_001
_CLIENT_TIMED_OUT: Final = "HYT00"

_COMPILATION: Final = "SQL compilation error"
_ACCESS: Final = "SQL access control error"
_PLACE: Final = re.compile(r"(?:(?<=: )error )?line (?P<line>\d+) at position (?P<position>\d+)")
_STATUS: Final = re.compile(r"(?:last|error) status:? (?P<status>\d{3})")
_NO_SUCH_PLACE: Final = ("failed to lookup address", "Connection refused", "certificate", "corrupt message")
"""Words of the client about an address where Snowflake is not."""
_PASSING: Final = "Temporary failure in name resolution"
_NOT_AN_ACCOUNT: Final = frozenset({"403", "404"})


def could_not_sign_in(error: Any, connection_id: str, config: SnowflakeConfig) -> SyncError:
    """Translate an error of signing in."""
    place, code, words = f"connection {connection_id!r}", error.errno, _words(error)
    if code == _ROLE_UNKNOWN:
        return RightsMissing(
            f"{place}: user {config.user!r} does not have role {config.role!r}, or there is no such role; "
            "grant it, or correct `role`"
        )
    if code == _DEFAULT_UNKNOWN:
        return WarehouseUnreachable(
            f"{place}: Snowflake does not know the database {config.database!r}, schema {config.schema_name!r} or "
            f"compute warehouse {config.warehouse!r}, or the role may not use it: {_told(words)}; grant USAGE on it, "
            "or correct its name"
        )
    if code in _ADDRESS_BLOCKED:
        return CredentialsRefused(
            f"{place}: Snowflake does not let this address in (its network policy); allow the workers' addresses"
        )
    if code in _SIGN_IN:
        by = "password" if config.private_key is None else "private_key"
        return CredentialsRefused(
            f"{place}: Snowflake refuses user {config.user!r} with its {by} (code {code}): {_told(words)}"
        )
    return _not_connected(place, config, words)


def query_failed(error: Any, *, label: Label, query: Query, timeout_s: float) -> SyncError:
    """Translate an error of a query, or of reading its result."""
    words = _words(error)
    if error.errno == _TIMED_OUT or error.sqlstate == _CLIENT_TIMED_OUT:
        return QueryTimedOut(
            f"{label}: the query ran longer than {timeout_s:g} s; make it read less, use a larger compute warehouse, "
            "or raise WAREHOUSE_SYNC_QUERY_TIMEOUT_S"
        )
    if error.sqlstate == _CANCELLED:
        return WarehouseBusy(f"{label}: the query was cancelled in Snowflake (code {error.errno})")
    return (
        _about_the_query(error.errno, words, label, query)
        or _about_snowflake(error, words, label)
        or ModelInvalid(
            f"{label}: the data model's SQL fails on some row (code {error.errno}). Snowflake's words are not shown, "
            "as they may quote it; make the SQL bear such rows (e.g. TRY_CAST), or run it in Snowflake to read them"
        )
    )


def _about_the_query(code: int, words: str, label: Label, query: Query) -> SyncError | None:
    if code == _INSUFFICIENT_PRIVILEGES or words.startswith(_ACCESS):
        return RightsMissing(f"{label}: the role may not do what the data model's SQL needs: {words}")
    if words.startswith(_COMPILATION) or code in _NO_DATABASE:
        return ModelInvalid(f"{label}: Snowflake refuses the data model's SQL: {_in_the_model(words, query)}")
    return None


def _about_snowflake(error: Any, words: str, label: Label) -> SyncError | None:
    code = error.errno
    if code in _RESULT_GONE:
        return ResultExpired(f"{label}: Snowflake no longer has the query's result (code {code})")
    if code == _NO_WAREHOUSE:
        return WarehouseUnreachable(
            f"{label}: there is no compute warehouse to run the query; correct `warehouse`, or grant the role USAGE "
            "on it"
        )
    if code == _RESOURCE_MONITOR:
        return WarehouseBusy(f"{label}: the compute warehouse has used up its quota: {words}")
    # The end of a session, which another one replaces, among them.
    if code in _SERVER_FAULTS or code == _INCIDENT or error.sqlstate == _INTERNAL:
        return WarehouseBusy(f"{label}: Snowflake broke off (code {code}); it is tried again")
    if code < _FIRST_OF_THE_SERVER or code == _CLIENT_FAILED_TO_CONNECT:
        status = _status(words)
        told = f" (HTTP status {status})" if status else ""
        return WarehouseBusy(f"{label}: the connection to Snowflake broke off{told}; it is tried again")
    return None


def _not_connected(place: str, config: SnowflakeConfig, words: str) -> SyncError:
    where = config.endpoint or f"account {config.full_account!r}"
    status = _status(words)
    if status in _NOT_AN_ACCOUNT:
        return WarehouseUnreachable(
            f"{place}: {where} answers a sign-in with HTTP status {status}; correct `account_identifier`, `region` or "
            "`endpoint`"
        )
    if any(phrase in words for phrase in _NO_SUCH_PLACE) and _PASSING not in words:
        return WarehouseUnreachable(
            f"{place}: Snowflake is not found at {where}; correct `account_identifier`, `region` or `endpoint`, or let "
            "the workers reach it"
        )
    told = f" (HTTP status {status})" if status else ""
    return WarehouseBusy(f"{place}: {where} does not answer the sign-in{told}; it is tried again")


def _words(error: Any) -> str:
    return " ".join(str(error.raw_msg).split())


def _told(words: str) -> str:
    """Give the server's own words, without what the client puts around them."""
    return re.sub(r", code: \d+$", "", words).rpartition("Login error: ")[2].rstrip(".")


def _status(words: str) -> str | None:
    found = _STATUS.search(words)
    return found["status"] if found else None


def _in_the_model(words: str, query: Query) -> str:
    """Tell places in the model's own lines; Snowflake counts lines from one and positions from nought."""

    def told(found: re.Match[str]) -> str:
        line = int(found["line"]) - query.lines_before
        if query.lines_before and not 0 < line < query.text.count("\n"):
            return "at its end"  # What is told stands behind the model, in text of ours.
        return f"at line {line}, column {int(found['position']) + 1}"

    return _PLACE.sub(told, words)
