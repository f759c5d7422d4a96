"""Flower as an operator sees it, signed in."""

import base64
import http.client
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from sandbox import stack
from sandbox.ports import free_port
from sandbox.supervisor import Supervisor
from tests.system.deployment import LIMIT_S, UNWEARYING, Deployment, fetch

WORKERS: Final = frozenset({"control", "extract", "extract-backfill", "upload", "upload-backfill"})


@dataclass(frozen=True)
class Flower:
    port: int
    password: str

    def get(self, path: str, *, password: str | None = None) -> Any:
        signed = base64.b64encode(f"operator:{password or self.password}".encode()).decode()
        return json.loads(fetch(self.port, path, {"Authorization": f"Basic {signed}"}))

    def heard(self) -> set[str]:
        """Which workers it has had an event of."""
        return {name.partition("@")[0] for name in self.get("/api/workers?status=1")}

    def send(self, task: str, *arguments: str) -> None:
        """Have Flower send a task, as its API lets whoever has signed in."""
        signed = base64.b64encode(f"operator:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            body = json.dumps({"args": arguments})
            headers = {"Authorization": f"Basic {signed}", "Content-Type": "application/json"}
            connection.request("POST", f"/api/task/async-apply/{task}", body, headers)
            answer = connection.getresponse()
            assert answer.status == HTTPStatus.OK, answer.read()
        finally:
            connection.close()


@contextmanager
def flower_of(deployment: Deployment) -> Iterator[Flower]:
    home, port, password = deployment.home, free_port(), secrets.token_urlsafe(12)
    environment = deployment.premises.environment
    program = stack.flower(home, environment, port=port, user="operator", password=password, allows_control=True)
    with Supervisor(home, [program], patience=UNWEARYING):
        flower = Flower(port, password)
        # It answers before it has subscribed to events, and what it did not hear is not told again.
        deployment.until(lambda: flower.heard() >= WORKERS, "Flower has heard of every worker")
        yield flower
