"""Fixtures of the contract suite."""

from __future__ import annotations

from tests.servers.under_test import remote

__all__ = ["remote"]
