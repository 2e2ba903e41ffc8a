"""Fixtures that need a real server; tests/conftest.py makes them known to all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.kinds import Kind, wanted
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy
from tests.servers.reader import MlflowReader


@pytest.fixture(scope="session")
def server_kind() -> Kind:
    """Which kind of server the session uses: LOCALTRACK_TEST_SERVER, else the newest version with SQLite."""
    kind = wanted()
    if kind.why_not():
        pytest.skip(kind.why_not())
    return kind


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, server_kind: Kind) -> Iterator[MlflowServer]:
    """One real server for the whole session; tests use experiments of their own."""
    with server_kind.server(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture
def modern_server(server_kind: Kind) -> None:
    """Skip on kinds before 3.0: no logged models, no uploads in parts, no route that removes an experiment's tag."""
    if not server_kind.has_models:
        pytest.skip(f"{server_kind.name} lacks what this test uses; see tests/acceptance/test_versions.py")


@pytest.fixture
def sql_server(server_kind: Kind) -> None:
    """Skip on file stores: of a model they show the latest points only, and points with a dataset at step 0."""
    if server_kind.backend == "file":
        pytest.skip(f"{server_kind.name} does not show enough: docs/replay.md, what cannot be known")


@pytest.fixture(scope="session")
def mlflow_reader() -> Iterator[MlflowReader]:
    """MLflow's own client, to read any server."""
    with MlflowReader() as reader:
        yield reader


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    """A fault proxy in front of the session's server; without a rule it passes everything."""
    with FaultProxy(mlflow_server.port) as between:
        yield between
