"""Fixtures that more than one directory of tests uses."""

from __future__ import annotations

import os

from tests.servers.fixtures import mlflow_reader, mlflow_server, modern_server, proxy, server_kind, sql_server

__all__ = ["mlflow_reader", "mlflow_server", "modern_server", "proxy", "server_kind", "sql_server"]

# The settings file of whoever runs the tests is not read; tests that want one name it.
os.environ["LOCALTRACK_CONFIG"] = os.devnull
