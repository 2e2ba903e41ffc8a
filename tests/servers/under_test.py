"""A remote as the contract suite sees it, whatever it is: an address, a way to send, and what may be expected of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from localtrack_sync.protocol.limits import DIALECTS, Limits
from localtrack_sync.protocol.places import place
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import Transport, TransportSettings
from localtrack_sync.shell.session import login_of
from tests.acceptance.harness import compared
from tests.acceptance.workspace import compared_there
from tests.acceptance.worlds import World
from tests.servers.databricks_server import DatabricksServer
from tests.servers.kinds import Kind
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader

__all__ = ["RemoteUnderTest", "databricks", "mlflow", "remote"]


@dataclass(frozen=True)
class RemoteUnderTest:
    """One remote.

    Attributes:
        uri: as `--to` takes it.
        environ: what the user who replays has set.
        dedupes: a point that is sent twice must be stored once; False: once or twice.
        has_models: it knows logged models.
        removes_experiment_tags: it has a route for that.
        differs: what is not there as a store has it, one line each.
        folder: where experiments without an absolute name go, or "".
    """

    uri: str
    environ: Mapping[str, str]
    dedupes: bool
    has_models: bool
    removes_experiment_tags: bool
    differs: Callable[[World], list[str]] = field(repr=False)
    folder: str = ""

    @property
    def limits(self) -> Limits:
        """Limits of its dialect."""
        return DIALECTS[parse_remote(self.uri, self.environ).remote.dialect]

    def place(self, name: str) -> str:
        """The name of an experiment over there."""
        return place(name, self.folder) if self.limits.names_are_paths else name

    @contextmanager
    def transport(self) -> Iterator[Transport]:
        """A connection with the user's login."""
        address, settings = parse_remote(self.uri, self.environ), TransportSettings(total_s=30)
        login = login_of(address, self.environ, settings, ssl.create_default_context())
        transport = Transport(address.remote, login.current, settings)
        try:
            yield transport
        finally:
            transport.close()


def mlflow(server: MlflowServer, kind: Kind, reader: MlflowReader) -> RemoteUnderTest:
    """A real MLflow server."""
    return RemoteUnderTest(
        server.url,
        {"HOME": "/nowhere"},
        kind.dedupes,
        kind.has_models,
        removes_experiment_tags=kind.has_models,
        differs=lambda world: compared(world, reader, server.url),
    )


def databricks(server: DatabricksServer) -> RemoteUnderTest:
    """The stand-in for Databricks."""
    home = f"/Users/{server.workspace.user}"
    return RemoteUnderTest(
        "databricks",
        {**server.environ, "HOME": "/nowhere"},
        dedupes=False,
        has_models=True,
        removes_experiment_tags=False,
        differs=lambda world: compared_there(world, server),
        folder=home,
    )


@pytest.fixture(params=[pytest.param("mlflow", marks=pytest.mark.server), "databricks"])
def remote(request: pytest.FixtureRequest) -> Iterator[RemoteUnderTest]:
    """Every remote of the contract: the session's MLflow server (of any kind) and the stand-in for Databricks.

    Another one is one more name in `params` and one more branch here.
    """
    if request.param == "mlflow":
        asked = (request.getfixturevalue(name) for name in ("mlflow_server", "server_kind", "mlflow_reader"))
        yield mlflow(*asked)
    else:
        with DatabricksServer() as server:
            yield databricks(server)
