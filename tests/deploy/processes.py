"""The compose file's services as plain processes of this machine: their own commands, environments and health checks.

What Docker would give them is put in place: hosts and ports are those of 127.0.0.1, mounted folders are folders of one
home, and who mounts no secrets is told of an empty folder. What Docker would keep from them (files, networks, rights)
is not: that stands in ``test_compose.py``.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sandbox import processes
from sandbox.child import Child, Program
from sandbox.guard import Guard
from sandbox.ports import LOOPBACK
from tests.deploy.compose import ROOT, Service

LIMIT_S: Final = 150
_MOUNTED: Final = ("spool", "lake", "scratch", "state", "run/keys", "run/secrets")
_PROGRAMS: Final = {
    "python": (sys.executable,),
    "celery": (sys.executable, "-m", "celery"),
    "warehouse-sync": (sys.executable, "-c", "from console.cli import main; main()"),
}


@dataclass(frozen=True)
class Grounds:
    """Where everything is: a home, the ports that stand for the services' own, and those of the two servers."""

    home: Path
    ports: Mapping[int, int]
    servers: Mapping[str, int]

    def folder(self, name: str) -> Path:
        found = self.home / name
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        return found

    def put(self, text: str, service: Service, instance: str) -> str:
        """Say in this machine's words what a service is told; in one pass, as our own folders lie under /tmp."""

        def ours(found: re.Match[str]) -> str:
            if found["server"]:
                return f"{LOOPBACK}:{self.servers[found['server']]}"
            if found["port"]:
                return str(self.ports.get(int(found["port"]), found["port"]))
            if found["secret"]:
                return str(self.home / "secrets" / "feeds" / found["secret"])
            if found["tmp"]:
                return str(self.folder(f"tmp/{instance}"))
            return str(self.folder(found["mounted"].removeprefix("run/")))

        secrets = "|".join(service.told.get("secrets", ["(?!)"]))
        return re.sub(
            rf"(?<=@)(?P<server>postgres|valkey):\d+|\b(?P<port>\d{{4}})\b|(?<![\w.-])/(?:run/secrets/(?P<secret>{secrets})"
            rf"|(?P<tmp>tmp)|(?P<mounted>{'|'.join(_MOUNTED)}))(?=/|$)",
            ours,
            text,
        )


@dataclass(frozen=True)
class Instance:
    """One container's process."""

    name: str
    service: Service
    environment: Mapping[str, str] = field(repr=False)
    command: Sequence[str]
    check: Sequence[str]
    child: Child = field(repr=False)

    def is_healthy(self) -> bool:
        """Ask as Docker would."""
        return self.run(self.check).returncode == 0

    def run(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run another command in its place: ``docker compose exec``."""
        program = _PROGRAMS[command[0]]
        return subprocess.run(
            [*program, *command[1:]],
            env={**self.environment, **environment},
            cwd=self.child.program.cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    @property
    def grace_s(self) -> float:
        return float(self.service.told["stop_grace_period"].removesuffix("s"))


def instance(grounds: Grounds, service: Service, guard: Guard, number: int = 1) -> Instance:
    """Prepare one process of a service, without starting it."""
    name = f"{service.name}-{number}"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(grounds.folder(f"tmp/{name}")),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(grounds.folder(f"tmp/{name}")),
        "WAREHOUSE_SYNC_SECRET_FOLDER": str(
            grounds.folder("secrets" if any("secrets" in target for target in service.mounts) else "nothing")
        ),
        **{variable: grounds.put(value, service, name) for variable, value in service.environment.items()},
    }
    command = [grounds.put(word, service, name) for word in service.command]
    check = [grounds.put(word, service, name) for word in service.told["healthcheck"].get("test", [""])[1:]]
    program = Program(
        name, (*_PROGRAMS[command[0]], *command[1:]), environment, grounds.folder(f"tmp/{name}"), stop_timeout_s=60
    )
    return Instance(
        name, service, environment, command, check, Child(program, grounds.home / "logs" / f"{name}.log", guard)
    )


@contextmanager
def running(grounds: Grounds, services: Mapping[str, Service]) -> Iterator[list[Instance]]:
    """Start every service of ours as often as it says, the one-shot first; kill for certain what is left of them."""
    with Guard() as guard:
        prepared = [
            instance(grounds, service, guard, number)
            for service in services.values()
            if service.is_ours
            for number in range(1, service.told["deploy"].get("replicas", 1) + 1)
        ]
        try:
            for one in sorted(prepared, key=lambda one: not one.service.runs_once):
                one.child.start()
                if one.service.runs_once:
                    processes.wait_for(one.child.has_ended, LIMIT_S)
                    assert one.child.collect() == 0, one.child.log_tail()
            yield [one for one in prepared if not one.service.runs_once]
        finally:
            for one in prepared:
                one.child.collect()


def until_healthy(instances: Sequence[Instance], limit_s: float) -> None:
    """Wait until every health check succeeds."""
    waiting = list(instances)

    def all_well() -> bool:
        waiting[:] = [one for one in waiting if not one.is_healthy()]
        return not waiting

    if not processes.wait_for(all_well, limit_s):
        lines = [f"{one.name}: {one.run(one.check).stderr}\n{one.child.log_tail()}" for one in waiting]
        raise AssertionError(f"not healthy within {limit_s:g} s:\n" + "\n".join(lines))


def ended(instances: Sequence[Instance]) -> dict[str, int | None]:
    """Stop all at once as Docker would, and give their exit codes; of who had to be killed after its grace, -9."""
    for one in instances:
        one.child.signal_stop()
    return {one.name: one.child.collect(one.grace_s) for one in instances}
