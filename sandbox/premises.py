"""A home folder made ready for a sync on this machine.

It holds a warehouse file, a feed's secret and the environment of every process. The demo, the benchmarks and the system
tests all run on one of these.
"""

import http.client
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from sandbox import stack
from sandbox.child import Program
from sandbox.demo import ITERATOR, QUERY
from sandbox.home_keys import PUBLIC_KEY, key_variables
from sandbox.ports import free_port
from sandbox.services import BROKER_URL, DATABASE_URL, Services
from shared import catalog
from shared.feed import Feed
from shared.providers.duckdb import DuckDbConfig
from shared.schedule import OnDemand
from shared.settings import PREFIX, Settings

FEED_KEY: Final = "us1-sandbox"
UNLIMITED: Final = 10_000_000.0
"""Batches per second of which no machine reaches a tenth, where an account begins: the machine is then the limit."""


@dataclass(frozen=True, slots=True)
class Premises:
    """Where everything of one home is.

    Attributes:
        home: the folder; its ``logs`` hold what every program writes.
        environment: of every process of these premises; holds passwords.
        feed_port: where the stand-in mParticle listens.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)
    feed_port: int

    @property
    def warehouse(self) -> Path:
        """The sample warehouse's file; its name is the catalog that queries use."""
        return self.home / "warehouse" / "mp.duckdb"

    @property
    def feed_url(self) -> str:
        """The stand-in mParticle's address, without a path."""
        return f"http://127.0.0.1:{self.feed_port}"

    def ask(self, path: str, *, method: str = "GET", content: object = None) -> Any:
        """Ask the stand-in mParticle for its counters or profiles, or change its faults; give the JSON it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.feed_port, timeout=30)
        try:
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text) if text else None
        finally:
            connection.close()

    def settings(self) -> Settings:
        """Give the settings that their processes read."""
        return Settings(
            home=self.home,
            database_url=SecretStr(self.environment[DATABASE_URL]),
            broker_url=SecretStr(self.environment[BROKER_URL]),
            spool_url=self.environment[f"{PREFIX}SPOOL_URL"],
            feed_hosts=("127.0.0.1",),
            duckdb_folders=(self.warehouse.parent,),
            public_key=self.environment[PUBLIC_KEY],
        )

    def feed_program(self, *arguments: str) -> Program:
        """Give the stand-in mParticle's program."""
        secret = str(self.home / "secrets" / "feed")
        told = ("--key", FEED_KEY, "--secret-file", secret, *arguments)
        return stack.feed(self.home, self.environment, port=self.feed_port, arguments=told)

    def feed(self, *, batches_per_s: float = UNLIMITED) -> Feed:
        """Give the declaration of the stand-in as a feed."""
        return Feed(
            id="sandbox",
            name="The stand-in mParticle",
            base_url=f"{self.feed_url}/v2",
            api_key=FEED_KEY,
            api_secret=f"file:{self.home / 'secrets' / 'feed'}",
            quota_group="sandbox",
            batches_per_s=batches_per_s,
        )

    def connection(self) -> catalog.Connection:
        """Give the declaration of the sample warehouse."""
        return catalog.Connection(
            id="sample",
            name="The sample warehouse",
            service_provider=catalog.ServiceProvider.DUCKDB,
            config=DuckDbConfig(database=self.warehouse),
        )

    def data_model(self) -> catalog.DataModel:
        """Give the declaration of the sample query."""
        return catalog.DataModel(id="users", name="Users", sql_query=QUERY)

    def pipeline(self, pipeline_id: str, mode: catalog.Incremental | catalog.Full | None = None) -> catalog.Pipeline:
        """Give the declaration of a pipeline over the sample query, incremental unless told otherwise."""
        return catalog.Pipeline(
            id=pipeline_id,
            name=f"Users to mParticle, {pipeline_id}",
            connection_id="sample",
            data_model_id="users",
            feed_id="sandbox",
            environment=catalog.Environment.DEVELOPMENT,
            sync_mode=mode
            or catalog.Incremental(iterator_field=ITERATOR, iterator_data_type=catalog.IteratorType.TIMESTAMP),
            schedule=OnDemand(delay=timedelta(0)),
        )


def prepare_premises(home: Path, services: Services, *, limits: Mapping[str, str] | None = None) -> Premises:
    """Make the folders and the feed's secret; ``limits`` are settings by their variable's name."""
    for folder in ("secrets", "warehouse", "logs"):
        (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = home / "secrets" / "feed"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = {
        **inherited,
        "WAREHOUSE_SYNC_HOME": str(home),
        DATABASE_URL: services.database_url,
        BROKER_URL: services.broker_url,
        "WAREHOUSE_SYNC_SPOOL_URL": (home / "spool").as_uri(),
        "WAREHOUSE_SYNC_SECRET_FOLDER": str(home / "secrets"),
        "WAREHOUSE_SYNC_FEED_HOSTS": '["127.0.0.1"]',
        "WAREHOUSE_SYNC_DUCKDB_FOLDERS": json.dumps([str(home / "warehouse")]),
        **key_variables(home, inherited),
        **(limits or {}),
    }
    return Premises(home, environment, free_port())
