"""MLflow's name for the error: `from localtrack.exceptions import MlflowException`."""

from __future__ import annotations

from localtrack.errors import TrackingError

MlflowException = TrackingError

__all__ = ["MlflowException"]
