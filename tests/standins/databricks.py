"""Databricks is stood in for by Apache Spark, whose SQL it runs, behind a workspace of ours (``databricks_server.py``).

Spark does not know nanoseconds and rounds what is loaded down to microseconds. TIME is Spark's; Databricks has none.
"""

import json
import re
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from databricks import sql

from sandbox.child import Program
from sandbox.ports import LOOPBACK, free_port
from sandbox.supervisor import Patience, Supervisor
from shared.catalog import Connection, ServiceProvider
from shared.providers.databricks import DatabricksConfig
from tests.standins.environments import python_of
from tests.standins.standin import Differences, Sizes

DIFFERENCES: Final = Differences()
JAVA: Final = 17
CLIENT_ID: Final = "5f4dcc3b-5aa7-65d6-1d83-27deb882cf99"
PATH: Final = "/sql/1.0/warehouses/standin"
READY_S: Final = 180
PARTITION_ROWS: Final = 100_000
"""Spark holds one partition of a result at a time."""


class DatabricksStandin:
    name: Final = "databricks"
    # Each partition is an object of Spark's, so there cannot be too many.
    sizes: Final = Sizes(unread=50_000_000, lasting=500_000_000, tick_ns=1000)
    endless: Final = "SELECT count(*) AS id FROM range(1000000000000) WHERE hash(id) = 3"
    is_continuable: Final = False

    def __init__(self, folder: Path, address: str, web_address: str) -> None:
        self._folder = folder
        self.address = address
        self._web_address = web_address
        self.token = secrets.token_urlsafe()
        self.client_secret = secrets.token_urlsafe()
        self._session: Any = None

    def connection(self, **changed: Any) -> Connection:
        """Give the declaration; ``changed`` fields of its config replace the token's."""
        declared: dict[str, Any] = {
            "server_hostname": LOOPBACK,
            "http_path": PATH,
            "schema": "default",
            "endpoint": self.address,
            "access_token": "env:WAREHOUSE_SYNC_SECRET_DATABRICKS_TOKEN",
        }
        config = DatabricksConfig.model_validate(declared | changed)
        return Connection(id="subject", name="Subject", service_provider=ServiceProvider.DATABRICKS, config=config)

    def variables(self) -> Mapping[str, str]:
        return {
            "WAREHOUSE_SYNC_SECRET_DATABRICKS_TOKEN": self.token,
            "WAREHOUSE_SYNC_SECRET_DATABRICKS_CLIENT": self.client_secret,
            "WAREHOUSE_SYNC_WAREHOUSE_HOSTS": json.dumps([LOOPBACK]),
        }

    def load(self, name: str, table: pa.Table) -> None:
        path = self._folder / f"{secrets.token_hex(8)}.parquet"
        pq.write_table(pa.table([_known(column) for column in table.columns], names=table.column_names), path)
        self.execute(f"CREATE OR REPLACE VIEW `{name}` AS SELECT * FROM parquet.`{path}`")

    def numbers(self, count: int) -> str:
        return f"SELECT id FROM range(0, {count}, 1, {count // PARTITION_ROWS + 1})"

    def failing(self, *, at: int, count: int, secret: str) -> str:
        return f"SELECT id,\n  CAST(IF(id = {at}, '{secret}', '1') AS INT) AS n\nFROM range({count})"

    def running_queries(self) -> int:
        (application,) = _json(f"{self._web_address}/api/v1/applications")
        return len(_json(f"{self._web_address}/api/v1/applications/{application['id']}/jobs?status=running"))

    def sessions(self) -> list[dict[str, Any]]:
        """Tell how clients introduced themselves, oldest first."""
        return _json(f"{self.address}/sessions")  # type: ignore[no-any-return]

    def execute(self, statement: str) -> None:
        """Run a statement as the vendor's client does."""
        if self._session is None:
            self._session = sql.connect(
                server_hostname=LOOPBACK,
                http_path=PATH,
                _connection_uri=f"{self.address}{PATH}",
                access_token=self.token,
                enable_telemetry=False,
                use_cloud_fetch=False,
                _retry_stop_after_attempts_count=1,
            )
        with self._session.cursor() as cursor:
            cursor.execute(statement)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


@contextmanager
def serving(home: Path) -> Iterator[DatabricksStandin]:
    _require_java()
    spark_port, web_port, port = free_port(), free_port(), free_port()
    standin = DatabricksStandin(home, f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{web_port}")
    programs = [_spark(home, spark_port, web_port), _workspace(home, standin, port, spark_port)]
    with Supervisor(home, programs, patience=Patience(ready_s=READY_S)):
        try:
            yield standin
        finally:
            standin.close()


def _require_java() -> None:
    java = shutil.which("java")
    told = (
        "" if java is None else subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    )
    found = re.search(r'version "(\d+)', told)
    if found is None or int(found[1]) < JAVA:
        raise RuntimeError(
            f"Databricks's stand-in needs `java` {JAVA} or newer in the PATH, and found "
            f"{'none' if found is None else found[1]}; install it with: apt-get install openjdk-{JAVA}-jre-headless"
        )


def _spark(home: Path, port: int, web_port: int) -> Program:
    python = python_of("databricks")
    (spark,) = python.parents[1].glob("lib/python*/site-packages/pyspark")
    temporary = home / "tmp"
    temporary.mkdir()
    settings = {
        "spark.master": "local[2]",
        "spark.driver.memory": "1g",
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={temporary} -Dderby.system.home={home}",
        "spark.local.dir": temporary,
        # Where the work that is running can be seen.
        "spark.ui.port": web_port,
        "spark.ui.showConsoleProgress": "false",
        "spark.ui.retainedJobs": 20,
        "spark.ui.retainedStages": 20,
        "spark.ui.retainedTasks": 200,
        "spark.sql.ui.retainedExecutions": 20,
        "spark.log.level": "WARN",
        "spark.sql.shuffle.partitions": 2,
        # Tests ask many small queries: compiling each would take longer than running it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        # Otherwise threads of their own begin jobs, and one begun just after its query was cancelled never ends.
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.timeType.enabled": "true",
        "spark.sql.warehouse.dir": home / "tables",
        "spark.sql.thriftServer.incrementalCollect": "true",
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:metastore;create=true",
        "spark.hadoop.hive.exec.scratchdir": temporary,
        "spark.hadoop.hive.server2.transport.mode": "http",
        "spark.hadoop.hive.server2.thrift.bind.host": LOOPBACK,
        "spark.hadoop.hive.server2.thrift.http.port": port,
        "spark.hadoop.hive.server2.thrift.http.path": "cliservice",
    }
    properties = home / "spark.properties"
    properties.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    command = ("--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "spark-internal")
    return Program(
        name="spark",
        argv=(str(spark / "bin" / "spark-submit"), "--properties-file", str(properties), *command),
        environment={
            "PATH": f"{python.parent}:{Path(shutil.which('java') or '').parent}:/usr/bin:/bin",
            "HOME": str(home),
            "SPARK_HOME": str(spark),
            "SPARK_LOCAL_IP": LOOPBACK,
        },
        cwd=home,
        ready=lambda: _answers(f"http://{LOOPBACK}:{port}/cliservice"),
    )


def _workspace(home: Path, standin: DatabricksStandin, port: int, spark_port: int) -> Program:
    return Program(
        name="workspace",
        # -P: beside it lies this module, which is named like the client's package.
        argv=(sys.executable, "-P", str(Path(__file__).with_name("databricks_server.py")), str(port), str(spark_port)),
        environment={
            "STANDIN_TOKEN": standin.token,
            "STANDIN_CLIENT_ID": CLIENT_ID,
            "STANDIN_CLIENT_SECRET": standin.client_secret,
        },
        cwd=home,
        ready=lambda: _answers(f"{standin.address}/sessions"),
    )


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own server
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except (OSError, HTTPException):
        return False


def _json(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as response:  # noqa: S310 - our own server
        return json.load(response)


def _known(column: Any) -> Any:
    """Give a column in types that Spark reads: its instants and times have microseconds."""
    kind = column.type
    return column.cast(pa.timestamp("us", kind.tz), safe=False) if pa.types.is_timestamp(kind) else column
