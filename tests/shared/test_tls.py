"""TLS to the broker and to the state database: what is given once works for every client, and nothing less is taken."""

import asyncio
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import sqlalchemy as sa
from flower.utils.broker import Broker as FlowersBroker

from sandbox.services import Services
from shared.broker import build_app, depths, send
from shared.broker_rights import try_commands
from shared.broker_tls import for_celery
from shared.errors import BrokerUnavailable, ServiceUnavailable, StoreUnavailable
from shared.messages import Message, Queue, TaskName
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.tls_proxy import Authority, tls_before
from worker.mparticle.governor import Governor

TLS_HELLO: Final = b"\x16\x03"
"""A handshake of TLS begins so, and no command of Redis does."""


@dataclass(frozen=True)
class Guarded:
    """Both services behind TLS, once under the name that clients use and once under another one."""

    services: Services
    ours: Authority
    strangers: Authority
    broker_port: int
    misnamed_broker_port: int
    store_port: int
    misnamed_store_port: int

    def broker_url(self, port: int, authority: Authority) -> str:
        password = urlsplit(self.services.broker_url).password
        files = f"ssl_ca_certs={authority.ca}&ssl_certfile={self.ours.certificate}&ssl_keyfile={self.ours.key}"
        return f"rediss://:{password}@localhost:{port}/0?{files}"

    def store_url(self, port: int, authority: Authority, **query: str) -> str:
        files = {"sslrootcert": authority.ca, "sslcert": self.ours.certificate, "sslkey": self.ours.key}
        whole = {"sslmode": "verify-full", **{name: str(path) for name, path in files.items()}, **query}
        url = sa.make_url(self.services.database_url).set(host="localhost", port=port, query=whole)
        return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def guarded(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder: Path = tmp_path_factory.mktemp("tls")
    ours, strangers = Authority.made(folder / "ours"), Authority.made(folder / "strangers")
    broker = urlsplit(services.broker_url).port or 0
    store = sa.make_url(services.database_url).port or 0
    with (
        tls_before(broker, ours, name="localhost") as broker_port,
        tls_before(broker, ours, name="elsewhere.test") as misnamed_broker_port,
        tls_before(store, ours, name="localhost", is_postgres=True) as store_port,
        tls_before(store, ours, name="elsewhere.test", is_postgres=True) as misnamed_store_port,
    ):
        yield Guarded(services, ours, strangers, broker_port, misnamed_broker_port, store_port, misnamed_store_port)


def by_celery(url: str) -> object:
    app = build_app(Settings(), broker_url=url)
    before = depths(app)[Queue.CONTROL]
    send(app, [Message(TaskName.SETTLE_RUN, uuid4())])
    after = depths(app)[Queue.CONTROL]
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge(Queue.CONTROL.value)
    return after - before


def by_the_governor(url: str) -> object:
    async def ask() -> object:
        governor = Governor.connect(url)
        try:
            return await governor._client.ping()
        except Exception as error:
            raise BrokerUnavailable(str(error)) from error
        finally:
            await governor.close()

    return asyncio.run(ask())


def by_the_doctor(url: str) -> object:
    return try_commands(url).refused == {}


def by_flower(url: str) -> object:
    told = build_app(Settings(), broker_url=url).connection_for_read().as_uri(include_password=True)
    conf = build_app(Settings(), broker_url=url).conf
    watched: Any = FlowersBroker(told, broker_options=conf.broker_transport_options, broker_use_ssl=conf.broker_use_ssl)
    try:
        return len(asyncio.run(watched.queues([Queue.CONTROL.value])))
    except Exception as error:
        raise BrokerUnavailable(str(error)) from error


clients = pytest.mark.parametrize("client", [by_celery, by_the_governor, by_the_doctor, by_flower])
Client = Callable[[str], object]


@clients
def test_every_client_of_the_broker_speaks_tls_with_what_the_url_names(guarded: Guarded, client: Client) -> None:
    assert client(guarded.broker_url(guarded.broker_port, guarded.ours))


@clients
def test_a_broker_of_another_authority_is_refused_by_every_client(guarded: Guarded, client: Client) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        client(guarded.broker_url(guarded.broker_port, guarded.strangers))


@clients
def test_a_broker_of_another_name_is_refused_by_every_client(guarded: Guarded, client: Client) -> None:
    with pytest.raises(BrokerUnavailable, match=r"[Hh]ostname mismatch.*not valid for 'localhost'"):
        client(guarded.broker_url(guarded.misnamed_broker_port, guarded.ours))


@clients
def test_no_client_says_a_word_in_the_clear_where_tls_is_demanded(guarded: Guarded, client: Client) -> None:
    with listening() as (port, heard), pytest.raises(BrokerUnavailable):
        client(guarded.broker_url(port, guarded.ours))
    assert set(heard) == {TLS_HELLO}


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """Give a port, and how each conversation with it began; nobody is answered."""
    heard: list[bytes] = []

    class Hearing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request.recv(len(TLS_HELLO)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hearing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], heard
        server.shutdown()


def test_without_a_single_parameter_rediss_still_is_tls_that_proves_the_server() -> None:
    app = build_app(Settings(), broker_url="rediss://:sesame@broker.test:6379/0")
    told = app.connection_for_read().ssl
    assert {"ssl_cert_reqs", "ssl_check_hostname"} <= told.keys()
    assert build_app(Settings(), broker_url="redis://localhost:6379/0").conf.broker_use_ssl is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://:sesame@host/0?ssl_ca_certs=/ca.pem", "begins with rediss://"),
        ("rediss://:sesame@host/0?ssl_cert_reqs=none", "ssl_cert_reqs=none would take anybody for the broker"),
        ("rediss://:sesame@host/0?ssl_check_hostname=false", "ssl_check_hostname=false would take anybody"),
        ("rediss://:sesame@host/0?ssl_ca_certs=/no/such/ca.pem", "/no/such/ca.pem cannot be read: No such file"),
        ("rediss://:sesame@host/0?ssl_certfile=/etc/hosts", "belong together"),
        ("rediss://:sesame@host/0?ssl_cert=/etc/hosts", "ssl_cert: of TLS only"),
    ],
)
def test_a_url_that_weakens_tls_or_contradicts_itself_is_refused_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(ServiceUnavailable, match=sentence) as refused:
        for_celery(url)
    assert "sesame" not in str(refused.value)


def test_what_is_no_matter_of_tls_stays_in_the_url() -> None:
    told = for_celery("rediss://:sesame@host:6380/2?ssl_cert_reqs=required&socket_timeout=3")
    assert told.url == "rediss://:sesame@host:6380/2?socket_timeout=3"


def selected(url: str) -> object:
    database = Database(url, pool_size=1)
    try:
        with database.transaction() as connection:
            return connection.exec_driver_sql("SELECT 1").scalar_one()
    finally:
        database.close()


def test_the_state_database_is_reached_by_tls_with_what_the_url_names(guarded: Guarded) -> None:
    assert selected(guarded.store_url(guarded.store_port, guarded.ours)) == 1


def test_a_state_database_of_another_authority_is_refused(guarded: Guarded) -> None:
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        selected(guarded.store_url(guarded.store_port, guarded.strangers))


def test_a_state_database_of_another_name_is_refused(guarded: Guarded) -> None:
    with pytest.raises(StoreUnavailable, match=r'"elsewhere.test".*does not match host name "localhost"'):
        selected(guarded.store_url(guarded.misnamed_store_port, guarded.ours))


def test_the_state_database_is_not_reached_in_the_clear_where_tls_is_demanded(guarded: Guarded) -> None:
    in_the_clear = sa.make_url(guarded.services.database_url).port or 0
    with pytest.raises(StoreUnavailable, match="does not support SSL"):
        selected(guarded.store_url(in_the_clear, guarded.ours))


def test_whoever_asks_for_no_tls_is_turned_away_by_a_server_that_demands_it(guarded: Guarded) -> None:
    with pytest.raises(StoreUnavailable):
        selected(guarded.store_url(guarded.store_port, guarded.ours, sslmode="disable"))


@pytest.mark.parametrize("trusted", ["ours", "strangers"])
def test_the_systems_authorities_are_those_of_the_images_file(
    guarded: Guarded, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg brings an OpenSSL that looks for them where no system keeps them, unless SSL_CERT_FILE says where."""
    authority: Authority = getattr(guarded, trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    url = guarded.store_url(guarded.store_port, guarded.ours, sslrootcert="system")
    if authority is guarded.ours:
        assert selected(url) == 1
    else:
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            selected(url)
