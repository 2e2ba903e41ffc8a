"""The kinds of MLflow server that replay is tried on: versions and backend stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.mlflow_server import MlflowServer
from tests.servers.postgres import PostgresServer, why_not
from tests.servers.venv import MLFLOW_VERSION

OLD = "2.22.0"


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    Attributes:
        backend: "sqlite", "postgres" or "file".
    """

    version: str
    backend: str

    @property
    def name(self) -> str:
        """As `--mlflow` calls it."""
        return f"{self.version}-{self.backend}"

    @property
    def dedupes(self) -> bool:
        """Whether it is trusted to store a repeated point once."""
        return self.backend != "file" and self.version != OLD

    @property
    def has_models(self) -> bool:
        """Whether it knows logged models."""
        return self.version != OLD

    def why_not(self) -> str:
        """Why it cannot be started here; "" when it can."""
        return why_not() if self.backend == "postgres" else ""

    @contextmanager
    def database(self) -> Iterator[str]:
        """What the backend needs, for one or more servers: see `server`."""
        if self.backend == "postgres":
            with PostgresServer() as postgres:
                yield postgres.new_database()
        else:
            yield self.backend

    @contextmanager
    def server(self, home: Path) -> Iterator[MlflowServer]:
        """A server of this kind with a store of its own."""
        with self.database() as backend, MlflowServer(home, version=self.version, backend=backend) as server:
            yield server


DEFAULT = Kind(MLFLOW_VERSION, "sqlite")
KINDS = (
    DEFAULT,
    Kind(MLFLOW_VERSION, "postgres"),
    Kind(MLFLOW_VERSION, "file"),
    Kind(OLD, "sqlite"),
    Kind(OLD, "file"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
#: Environment variable that names the kind of the session's server (`make test-versions` goes through all of them).
VARIABLE = "LOCALTRACK_TEST_SERVER"


def wanted() -> Kind:
    """The kind that the environment names, else the default one."""
    return BY_NAME[os.environ.get(VARIABLE, DEFAULT.name)]
