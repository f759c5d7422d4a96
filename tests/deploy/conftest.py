"""The compose file's servers, one of each a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.servers import ListedValkey, RolesPostgres, started


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RolesPostgres, ListedValkey]]:
    home: Path = tmp_path_factory.mktemp("deploy")
    with started(home) as found:
        yield found
