"""MLflow's place for the client: `from localtrack.tracking import MlflowClient`."""

from __future__ import annotations

from localtrack.client import MlflowClient, TrackingClient

__all__ = ["MlflowClient", "TrackingClient"]
