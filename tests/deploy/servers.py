"""The compose file's two servers without Docker: the wheels' programs, its roles, its access list, its settings."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.account import account_for
from sandbox.binaries import Places
from sandbox.guard import Guard
from sandbox.home import prepare_home
from sandbox.ports import LOOPBACK
from sandbox.postgres import Postgres
from sandbox.server import ENVIRONMENT, STOP_LIMIT_S, Server
from sandbox.valkey import Valkey
from tests.deploy.compose import ROOT

ROLES: Final = ROOT / "deploy" / "postgres" / "roles.sql"
PASSWORDS: Final = {
    "POSTGRES_ADMIN_PASSWORD": "admin-of-the-test",
    "DATABASE_OWNER_PASSWORD": "owner-of-the-test",
    "DATABASE_APP_PASSWORD": "app-of-the-test",
    "DATABASE_READER_PASSWORD": "reader-of-the-test",
    "BROKER_PASSWORD": "broker-of-the-test",
    "FLOWER_PASSWORD": "flower-of-the-test",
}


class RolesPostgres(Postgres):
    """PostgreSQL whose administrator may sign in, as the image's may, and makes the roles."""

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.as_role("postgres", "postgres"), connect_timeout=3) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def as_role(self, role: str, database: str = "warehouse_sync") -> str:
        """Give the URL of a role, by the end of its name."""
        password = PASSWORDS[{"postgres": "POSTGRES_ADMIN_PASSWORD"}.get(role, f"DATABASE_{role.upper()}_PASSWORD")]
        user = role if role == "postgres" else f"warehouse_sync_{role}"
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.address.port}/{database}"

    def make_roles(self, passwords: Mapping[str, str] = PASSWORDS) -> subprocess.CompletedProcess[str]:
        """Run roles.sql as the image does."""
        psql = str(Path(self.address.program) / "psql")
        told = ["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "--file", str(ROLES)]
        return subprocess.run(
            [psql, *told, self.as_role("postgres", "postgres")],
            env={**ENVIRONMENT, **passwords},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _prepare(self) -> None:
        if self._has_data():
            return
        new = self.home / f"{self.name}.new"
        new.mkdir(mode=0o700)
        account_for(new).own(new)
        self._run(new, ["initdb", "-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        with (new / "postgresql.conf").open("a") as settings:
            settings.write("include_if_exists 'warehouse_sync.conf'\n")
        self._write(new, "pg_hba.conf", f"host all all {LOOPBACK}/32 scram-sha-256\n")
        self._single_user(new, f"ALTER ROLE postgres PASSWORD '{PASSWORDS['POSTGRES_ADMIN_PASSWORD']}'")
        new.rename(self.folder)


class ListedValkey(Valkey):
    """Valkey started by the compose file's own script, with its configuration and its access list."""

    @property
    def url(self) -> str:
        return f"redis://warehouse_sync:{PASSWORDS['BROKER_PASSWORD']}@{LOOPBACK}:{self.address.port}/0"

    def _configure(self) -> Sequence[str]:
        files = self.home / "valkey-files"
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(ROOT / "deploy" / "valkey", files)
        settings = files / "valkey.conf"
        own = {
            "bind * -::*": f"bind {LOOPBACK}",
            "port 6379": f"port {self.address.port}",
            "dir /data": f"dir {self.folder}\npidfile {self._pid_file()}",
            "aclfile /run/valkey/users.acl": f"aclfile {files}/users.acl",
        }
        text = settings.read_text()
        for theirs, ours in own.items():
            assert f"\n{theirs}\n" in text
            text = text.replace(f"\n{theirs}\n", f"\n{ours}\n")
        settings.write_text(text)
        with os.fdopen(os.open(files / "env", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"BROKER_PASSWORD={PASSWORDS['BROKER_PASSWORD']} ACL_FOLDER={files}\n")
        script = f"export $(cat {files}/env); exec /bin/sh {files}/start.sh {self.address.program} {settings}"
        return ["/bin/sh", "-c", script]


@contextmanager
def started(home: Path) -> Iterator[tuple[RolesPostgres, ListedValkey]]:
    """Both servers for a block; they end with it, and with this process."""
    home = prepare_home(home)
    postgres, valkey = RolesPostgres(home), ListedValkey(home)
    servers: list[Server] = [postgres, valkey]
    with Guard() as guard:
        try:
            for server in servers:
                server.set_up(Places.usual(os.environ))
                server.start()
                if (pid := server.pid) is not None:
                    guard.watch(pid, server.stop_signal, STOP_LIMIT_S)
            made = postgres.make_roles()
            assert made.returncode == 0, made.stderr
            yield postgres, valkey
        finally:
            for server in servers:
                server.stop()


def refused(valkey: ListedValkey, user: str | None, password: str | None) -> bool:
    """Whether the broker turns somebody away."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(host=LOOPBACK, port=valkey.address.port, username=user, password=password, retry=once) as client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return True
        return False


def random_secret() -> str:
    return secrets.token_urlsafe(24)
