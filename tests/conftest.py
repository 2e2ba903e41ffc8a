"""Fixtures that more than one directory of tests uses."""

from __future__ import annotations

from tests.servers.fixtures import mlflow_reader, mlflow_server, modern_server, proxy, server_kind, sql_server

__all__ = ["mlflow_reader", "mlflow_server", "modern_server", "proxy", "server_kind", "sql_server"]
