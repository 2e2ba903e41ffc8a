"""What searches find as a pandas DataFrame, with MLflow's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.entities import LoggedModel, Run

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]


def run_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its info, then `metrics.*` (NaN where missing), `params.*` and `tags.*` (None where missing).

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    import pandas as pd

    info = ("run_id", "experiment_id", "status", "artifact_uri")
    columns: dict[str, Any] = {name: [getattr(run.info, name) for run in runs] for name in info}
    for name in ("start_time", "end_time"):
        columns[name] = pd.to_datetime([getattr(run.info, name) for run in runs], unit="ms", utc=True)
    for kind, missing in (("metrics", float("nan")), ("params", None), ("tags", None)):
        names = dict.fromkeys(name for run in runs for name in getattr(run.data, kind))
        for name in names:
            columns[f"{kind}.{name}"] = [getattr(run.data, kind).get(name, missing) for run in runs]
    return pd.DataFrame(columns)


def model_frame(models: Sequence[LoggedModel]) -> pd.DataFrame:
    """One row a model, with the columns of MLflow's LoggedModel.to_dictionary.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    import pandas as pd

    return pd.DataFrame([_model_row(model) for model in models])


#: MLflow's columns, in its order.
_MODEL_COLUMNS = (
    *("artifact_location", "creation_timestamp", "experiment_id", "last_updated_timestamp", "metrics", "model_id"),
    *("model_type", "name", "params", "source_run_id", "status", "status_message", "tags"),
)


def _model_row(model: LoggedModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in _MODEL_COLUMNS} | {"metrics": model.metrics or None}
