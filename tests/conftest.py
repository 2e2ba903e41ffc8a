"""Fixtures that more than one directory of tests uses."""

from __future__ import annotations

import os
import signal

import pytest

from tests.servers.fixtures import mlflow_reader, mlflow_server, modern_server, proxy, server_kind, sql_server

__all__ = ["mlflow_reader", "mlflow_server", "modern_server", "proxy", "server_kind", "sql_server"]

# The settings file of whoever runs the tests is not read; tests that want one name it.
os.environ["LOCALTRACK_CONFIG"] = os.devnull

# A shell that starts a command in the background has it ignore Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The soak takes minutes of waiting: it begins first, beside the others."""
    items.sort(key=lambda item: item.get_closest_marker("soak") is None)
