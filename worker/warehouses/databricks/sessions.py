"""Sessions of a SQL warehouse: where they are opened, as whom, for whom, and how long anything may take.

A session runs one statement at a time: while the client waits for an answer it lets no other request through, not even
the one that cancels. So every query gets a session of its own and is cancelled through another.
"""

import logging
import math
from contextlib import suppress
from typing import Any, Final

from databricks import sql
from databricks.sql.auth.retry import CommandType, DatabricksRetryPolicy
from databricks.sql.backend import thrift_backend
from databricks.sql.backend.reyden_warehouse_cache import extract_warehouse_id, is_known_reyden
from databricks.sql.exc import DatabaseError, ReydenThriftUnsupportedError

from shared.providers.databricks import DatabricksConfig
from worker.warehouses.base import Label
from worker.warehouses.databricks.errors import CLIENT_ERRORS, could_not_open, is_unknown_setting
from worker.warehouses.databricks.signin import Headers

_ATTEMPTS: Final = 4
_LONGEST_PAUSE_S: Final = 5.0
"""Between attempts. The client's own "longest" is its shortest, too, where the server names a pause."""
_ATTEMPTS_TAKE_S: Final = 60.0
_CONTROL_ANSWERS_WITHIN_S: Final = 60.0
_RESULTS_ANSWER_WITHIN_S: Final = 300.0
"""How long a request may go without a byte of an answer; a server that is alive answers sooner."""
_DOWNLOADS: Final = 2
"""Result files fetched ahead; each is up to 20 MB compressed and held in memory."""
_SETTABLE_S: Final = 172_800
"""The longest limit that a statement can have. Source: Databricks SQL, STATEMENT_TIMEOUT."""


class Sessions:
    """Opens the sessions of one connection for one label; each is the client's ``Connection``, in UTC."""

    def __init__(
        self, connection_id: str, config: DatabricksConfig, headers: Headers, *, label: Label, query_timeout_s: float
    ) -> None:
        """Prepare; nothing is opened yet."""
        self._connection_id = connection_id
        self._config = config
        self._headers = headers
        self._tags = dict(label.tags)
        self._query_timeout_s = query_timeout_s

    @property
    def host(self) -> str:
        """Where they are opened."""
        return self._config.host

    def open_control(self) -> Any:
        """Give a session for short requests; errors as of ``open``."""
        return self._opened(_CONTROL_ANSWERS_WITHIN_S)

    def open(self) -> Any:
        """Give a session for one query.

        Raises:
            CredentialsRefused: the sign-in is refused.
            RightsMissing: the SQL warehouse, catalog or schema may not be used.
            WarehouseUnreachable: there is no such host, SQL warehouse, catalog or schema.
            WarehouseBusy: it is throttled, or did not start in time.
        """
        return self._opened(_RESULTS_ANSWER_WITHIN_S)

    def _opened(self, answer_within_s: float) -> Any:
        try:
            connection = self._connected(answer_within_s)
        except CLIENT_ERRORS as error:
            # Without its cause: it may quote headers and addresses with permits.
            raise could_not_open(error, self._connection_id, self.host) from None
        try:
            _ask_once(connection.session.backend.retry_policy)
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
        except CLIENT_ERRORS as error:
            with suppress(*CLIENT_ERRORS):
                connection.close()
            raise could_not_open(error, self._connection_id, self.host) from None
        return connection

    def _connected(self, answer_within_s: float) -> Any:
        try:
            return self._connect(answer_within_s, query_tags=self._tags)
        except DatabaseError as error:
            if not is_unknown_setting(error):
                raise
        return self._connect(answer_within_s)  # Query tags are not enabled there; the user agent tells too.

    def _require_thrift(self) -> None:
        """Keep the client from the protocol that it speaks to real-time warehouses, if that is installed at all."""
        warehouse_id = extract_warehouse_id(self._config.http_path)
        if warehouse_id and is_known_reyden(self._config.server_hostname, warehouse_id):
            raise ReydenThriftUnsupportedError

    def _connect(self, answer_within_s: float, **tags: Any) -> Any:
        config = self._config
        headers = self._headers
        self._require_thrift()
        connection = sql.connect(
            server_hostname=config.server_hostname,
            http_path=config.http_path,
            **({} if config.endpoint is None else {"_connection_uri": config.service_url}),
            credentials_provider=lambda: headers,
            catalog=config.catalog,
            schema=config.schema_name,
            session_configuration={"STATEMENT_TIMEOUT": min(math.ceil(self._query_timeout_s), _SETTABLE_S)},
            user_agent_entry="; ".join(f"{name}={value}" for name, value in self._tags.items()),
            enable_telemetry=False,
            # Result files are downloaded from a cloud's storage, which a server on this machine has none of.
            use_cloud_fetch=not config.is_on_this_machine,
            max_download_threads=_DOWNLOADS,
            _socket_timeout=answer_within_s,
            _retry_delay_min=1.0,
            _retry_delay_max=_LONGEST_PAUSE_S,
            _retry_stop_after_attempts_count=_ATTEMPTS,
            _retry_stop_after_attempts_duration=_ATTEMPTS_TAKE_S,
            **tags,
        )
        if connection.session.use_kernel:
            connection.close()
            raise ReydenThriftUnsupportedError
        return connection


class _AskedOnce(DatabricksRetryPolicy):  # type: ignore[misc] # the client has no types
    """Repeats a fetch only where the server says that it was too busy to take it.

    Another error may stand in place of an answer that was made and lost on its way: fetching again would then give the
    rows behind those lost. Asking for a query's state (not ``OTHER``) has no such danger.
    """

    def should_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> Any:  # noqa: FBT001, FBT002 - the client's own
        if self.command_type is CommandType.OTHER and status_code not in self.status_forcelist:
            return False, "a fetch is not repeated"
        return super().should_retry(method, status_code, has_retry_after)


def _ask_once(policy: Any) -> None:
    """Keep the client from repeating what may have been answered; it makes its policy itself, and takes no other."""
    policy.read = False
    policy.__class__ = _AskedOnce


def _without_permit(record: logging.LogRecord) -> bool:
    """Cut what follows a question mark: the address of a result file holds its own permit there."""
    if isinstance(record.args, tuple):
        record.args = tuple(value.partition("?")[0] if isinstance(value, str) else value for value in record.args)
    return True


# The client logs addresses with their permits and the server's words, which may quote a row, and whole requests as
# "unsafe". All that matters in them comes back as an error and is told by us.
for _name in ("databricks", thrift_backend.unsafe_logger.name):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").addFilter(_without_permit)
