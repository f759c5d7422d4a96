"""Real servers: start, find, attach, stop, crash, recover. One home is shared by the tests that leave it running."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.binaries import Places
from sandbox.home import prepare_home, write_address
from sandbox.ports import is_free
from sandbox.postgres import Postgres
from sandbox.processes import wait_for
from sandbox.server import Server
from sandbox.services import Services, running_services, services_for, start_services, stop_services
from sandbox.valkey import Valkey
from shared.errors import ServiceUnavailable

ENVIRONMENT = {"PATH": os.environ["PATH"]}
LIMIT_S = 60


def query(services: Services, sql: str) -> list[tuple[Any, ...]]:
    url = services.database_url.replace("+psycopg", "")
    with psycopg.connect(url, connect_timeout=5) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def broker(services: Services) -> redis.Redis:
    return redis.Redis.from_url(services.broker_url, decode_responses=True, socket_timeout=5)


def put(services: Services, key: str, value: str) -> None:
    with broker(services) as client:
        client.set(key, value)


def get(services: Services, key: str) -> str | None:
    with broker(services) as client:
        return cast("str | None", client.get(key))


def at_work_on(home: Path) -> list[str]:
    """Commands of every living process of ours that works in or names this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join([*process.cmdline(), process.cwd()]) and process.pid != os.getpid():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    stop_services(tmp_path / "home")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Services]]:
    """A home whose servers run; tests give it back running."""
    home = tmp_path_factory.mktemp("shared") / "home"
    try:
        yield home, start_services(home, ENVIRONMENT)
    finally:
        stop_services(home)


def test_both_services_answer_once_started(up: tuple[Path, Services]) -> None:
    _, services = up
    assert query(services, "SELECT 1") == [(1,)]
    put(services, "answers", "yes")
    assert get(services, "answers") == "yes"


def test_a_second_start_attaches_to_the_running_servers(up: tuple[Path, Services]) -> None:
    home, services = up
    before = Postgres(home).pid, Valkey(home).pid
    assert start_services(home, ENVIRONMENT) == services
    assert (Postgres(home).pid, Valkey(home).pid) == before


def test_another_process_finds_the_running_servers(up: tuple[Path, Services]) -> None:
    home, services = up
    script = "import sys; from pathlib import Path; from sandbox.services import running_services as running\n"
    script += "found = running(Path(sys.argv[1])); print(found and found.database_url, found and found.broker_url)"
    found = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert found.stdout.split() == [services.database_url, services.broker_url]


def test_the_environment_decides_first(up: tuple[Path, Services]) -> None:
    home, services = up
    given = {"WAREHOUSE_SYNC_BROKER_URL": "redis://elsewhere/3", "WAREHOUSE_SYNC_DATABASE_URL": ""}
    mixed = Services(services.database_url, "redis://elsewhere/3")
    assert start_services(home, ENVIRONMENT | given) == mixed
    assert running_services(home, given) == mixed


def test_nothing_is_started_when_both_are_given(home: Path) -> None:
    given = {"WAREHOUSE_SYNC_BROKER_URL": "redis://a/0", "WAREHOUSE_SYNC_DATABASE_URL": "postgresql://b/c"}
    assert start_services(home, given) == Services("postgresql://b/c", "redis://a/0")
    assert at_work_on(home) == []


def test_valkey_refuses_those_without_the_password(up: tuple[Path, Services]) -> None:
    home, _ = up
    with (
        redis.Redis(port=Valkey(home).address.port, protocol=2, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError, match="Authentication required"),
    ):
        client.ping()


def test_postgres_never_runs_as_root(up: tuple[Path, Services]) -> None:
    home, _ = up
    pid = Postgres(home).pid
    assert pid is not None
    assert 0 not in psutil.Process(pid).uids()


@pytest.mark.parametrize("role", ["warehouse_sync", "postgres"])
def test_postgres_refuses_those_without_the_password(up: tuple[Path, Services], role: str) -> None:
    home, _ = up
    port = Postgres(home).address.port
    with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no pg_hba\.conf entry"):
        psycopg.connect(host="127.0.0.1", port=port, user=role, password="guess", dbname="warehouse_sync")


def test_the_role_that_clients_use_is_no_superuser_but_may_create_databases(up: tuple[Path, Services]) -> None:
    _, services = up
    roles = query(services, "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
    assert roles == [(False, True)]


def test_postgres_is_modest_and_durable(up: tuple[Path, Services]) -> None:
    _, services = up
    names = "'fsync', 'synchronous_commit', 'max_connections', 'shared_buffers', 'server_encoding', 'TimeZone'"
    rows = query(services, f"SELECT name, current_setting(name) FROM pg_settings WHERE name IN ({names})")
    assert dict(rows) == {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }


def test_valkey_appends_every_write_to_a_file(up: tuple[Path, Services]) -> None:
    _, services = up
    with broker(services) as client:
        settings = {**client.config_get("append*"), **client.config_get("maxmemory-policy")}
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"


def test_everything_in_a_home_is_private(up: tuple[Path, Services]) -> None:
    home, _ = up
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    open_to_others = [path for path in home.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert [path.name for path in open_to_others] in ([], ["valkey.pid"])  # holds a number
    assert stat.S_IMODE((home / "services.json").stat().st_mode) == 0o600


def test_passwords_are_in_no_command_line_and_in_no_repr(up: tuple[Path, Services]) -> None:
    home, services = up
    addresses = [server.address for server in (Postgres(home), Valkey(home))]
    shown = repr(services) + repr(addresses)
    for process in psutil.process_iter():
        try:
            shown += " ".join(process.cmdline())
        except psutil.Error:
            continue
    assert not any(address.password in shown for address in addresses)
    assert not any(address.password in (home / "logs" / "postgres.log").read_text() for address in addresses)


def test_data_survives_a_crash_of_both_servers_at_the_same_addresses(up: tuple[Path, Services]) -> None:
    home, services = up
    query(services, "CREATE TABLE IF NOT EXISTS crashed (n int)")
    query(services, "INSERT INTO crashed VALUES (7)")
    put(services, "crashed", "7")
    with broker(services) as client:
        client.waitaof(1, 0, 5_000)  # on disk; a SIGKILL alone would not need this
    for server in (Postgres(home), Valkey(home)):
        server.kill()
        assert server.pid is None
    assert running_services(home) is None
    assert start_services(home, ENVIRONMENT) == services
    assert query(services, "SELECT n FROM crashed") == [(7,)]
    assert get(services, "crashed") == "7"


def test_a_wiped_valkey_comes_back_empty_at_the_same_address(up: tuple[Path, Services]) -> None:
    home, services = up
    put(services, "wiped", "no")
    valkey = Valkey(home)
    with pytest.raises(ServiceUnavailable, match="stop it before"):
        valkey.wipe()
    valkey.kill()
    valkey.wipe()
    valkey.start()
    assert valkey.url == services.broker_url
    with broker(services) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_a_pid_file_that_names_a_stranger_is_no_obstacle(up: tuple[Path, Services], kind: type[Server]) -> None:
    home, services = up
    server = kind(home)
    server.kill()
    # As after a reboot: the number in the file is somebody else's now, here ours.
    lines = server._pid_file().read_text().splitlines()
    server._pid_file().write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert server.pid is None
    server.start()
    assert start_services(home, ENVIRONMENT) == services


def test_a_port_taken_meanwhile_is_replaced_and_recorded(up: tuple[Path, Services]) -> None:
    home, services = up
    valkey = Valkey(home)
    old = valkey.address
    valkey.stop()
    # A server counts as ended while its last threads still let go of the port.
    assert wait_for(lambda: is_free(old.port), LIMIT_S)
    with socket.create_server(("127.0.0.1", old.port)):
        valkey.start()
    assert valkey.address.port != old.port
    assert valkey.address.password == old.password
    assert running_services(home) == Services(services.database_url, valkey.url)
    valkey.stop()
    write_address(home, "valkey", old)
    valkey.start()
    assert valkey.url == services.broker_url


class Outrun(Valkey):
    """A Valkey whose port is taken between the look at it and the start, the first time."""

    rivals: list[socket.socket]

    def _configure(self) -> Sequence[str]:
        if not self.rivals:
            self.rivals.append(socket.create_server(("127.0.0.1", self.address.port)))
        return super()._configure()


def test_a_port_taken_at_the_last_moment_is_given_up_for_another(home: Path) -> None:
    Valkey(prepare_home(home)).set_up(Places.usual(ENVIRONMENT))
    server = Outrun(home)
    server.rivals = []
    server.start()
    try:
        assert server.answers()
        assert server.address.port not in {rival.getsockname()[1] for rival in server.rivals}
        assert len(server.rivals) == 1
    finally:
        for rival in server.rivals:
            rival.close()


def test_two_homes_run_side_by_side_and_stopping_one_leaves_the_other(up: tuple[Path, Services], home: Path) -> None:
    first_home, first = up
    second = start_services(home, ENVIRONMENT)
    put(first, "home", "first")
    assert get(second, "home") is None
    query(second, "CREATE TABLE only_here (n int)")
    assert query(first, "SELECT count(*) FROM pg_tables WHERE tablename = 'only_here'") == [(0,)]
    stop_services(home)
    assert at_work_on(home) == []
    assert running_services(home) is None
    assert running_services(first_home) == first


def test_a_home_with_a_path_longer_than_a_socket_may_have_works(tmp_path: Path) -> None:
    home = tmp_path.joinpath(*(f'it\'s folder {number} of a long "path"' for number in range(8)))
    assert len(str(home)) > 200
    with services_for(home, ENVIRONMENT) as services:
        assert query(services, "SELECT 1") == [(1,)]
        put(services, "kept", "yes")
    with services_for(home, ENVIRONMENT) as again:
        assert again == services
        assert get(again, "kept") == "yes"
    assert at_work_on(home) == []


def test_several_starters_at_once_agree_on_one_pair_of_servers(home: Path) -> None:
    with ThreadPoolExecutor(3) as starters:
        agreed = set(starters.map(lambda _: start_services(home, ENVIRONMENT), range(3)))
    assert len(agreed) == 1
    assert running_services(home) in agreed

    # The record of addresses and passwords is lost while the servers run: data stays, passwords are made anew.
    (before,) = agreed
    query(before, "CREATE TABLE kept AS SELECT 1 AS n")
    (home / "services.json").unlink()
    assert running_services(home) is None
    after = start_services(home, ENVIRONMENT)
    assert after.database_url != before.database_url
    assert query(after, "SELECT n FROM kept") == [(1,)]


def test_a_block_leaves_servers_running_that_ran_before_it(up: tuple[Path, Services]) -> None:
    home, services = up
    with services_for(home, ENVIRONMENT) as inside:
        assert inside == services
    assert running_services(home) == services


def test_a_killed_starter_leaves_no_server_behind(home: Path) -> None:
    script = dedent("""
        import os, sys, time
        from pathlib import Path
        from sandbox.services import services_for
        with services_for(Path(sys.argv[1]), os.environ):
            print("up", flush=True)
            sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        assert Postgres(home).pid is not None
        starter.kill()
    assert wait_for(lambda: at_work_on(home) == [], LIMIT_S)
    assert "database system is shut down" in (home / "logs" / "postgres.log").read_text()


def test_a_server_that_cannot_start_says_what_its_log_says(home: Path) -> None:
    home.mkdir()
    (home / "valkey").mkdir()
    (home / "valkey" / "appendonlydir").mkdir()
    (home / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(ServiceUnavailable, match=r"Valkey ended right after its start(.|\n)*Invalid AOF manifest"):
        start_services(home, {**ENVIRONMENT, "WAREHOUSE_SYNC_DATABASE_URL": "postgresql://elsewhere/db"})


def test_a_failed_start_stops_the_server_that_came_up(home: Path) -> None:
    home.mkdir()
    (home / "valkey").write_text("a file where a folder should be")
    with pytest.raises(ServiceUnavailable, match=r"Valkey's data folder .* cannot be made"):
        start_services(home, ENVIRONMENT)
    assert at_work_on(home) == []


def test_data_of_another_kind_is_not_overwritten(home: Path) -> None:
    home.mkdir()
    (home / "postgres").mkdir()
    (home / "postgres" / "precious").touch()
    with pytest.raises(ServiceUnavailable, match="holds something else"):
        start_services(home, ENVIRONMENT)
    assert (home / "postgres" / "precious").exists()


def test_stopping_a_home_that_never_ran_does_nothing(tmp_path: Path) -> None:
    stop_services(tmp_path / "none")
    assert running_services(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_a_handle_of_a_home_that_never_ran_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="was never started in"):
        Valkey(tmp_path).start()
