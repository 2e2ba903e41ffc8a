"""Module functions that search runs and logged models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from localtrack import attention
from localtrack.client import TrackingClient
from localtrack.entities import LoggedModel, PagedList, Run, ViewType
from localtrack.errors import TrackingError
from localtrack.fluent.experiments import experiment_id_for_calls, search_experiments
from localtrack.service.current import current_service

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

T = TypeVar("T")

_RUNS_PAGE = 10_000
_MODELS_PAGE = 1000


def search_runs(
    experiment_ids: list[str] | None = None,
    filter_string: str = "",
    run_view_type: int = ViewType.ACTIVE_ONLY,
    max_results: int = 100_000,
    order_by: list[str] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
    search_all_experiments: bool = False,
    experiment_names: list[str] | None = None,
) -> pd.DataFrame | list[Run]:
    """Runs, by descending start time unless ordered otherwise.

    Args:
        experiment_ids: which experiments; None or [] is the active one.
        filter_string: MLflow's filter language, as "metrics.loss < 0.1 AND params.model = 'resnet'"; "" for all.
        run_view_type: active, deleted or all.
        max_results: how many at most.
        order_by: clauses like "metrics.loss DESC".
        output_format: "pandas" is a DataFrame where pandas is installed, else a list, with a warning; or "list".
        search_all_experiments: without ids and names: all active experiments, and the runs that were attached to.
        experiment_names: names instead of ids.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    pandas = _wants_pandas(output_format)
    ids = _ids(experiment_ids, experiment_names, everywhere=search_all_experiments)
    client = TrackingClient()

    def page(length: int, token: str | None) -> PagedList[Run]:
        return client.search_runs(ids, filter_string, run_view_type, length, order_by, token)

    found = _collect(page, _RUNS_PAGE, max_results) if ids else []
    if not pandas:
        return found
    from localtrack.fluent.frame import run_frame

    return run_frame(found)


def search_logged_models(
    experiment_ids: list[str] | None = None,
    filter_string: str | None = None,
    datasets: list[dict[str, str]] | None = None,
    max_results: int | None = None,
    order_by: list[dict[str, Any]] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
) -> pd.DataFrame | list[LoggedModel]:
    """Logged models, newest first unless ordered otherwise.

    Args:
        experiment_ids: which experiments; None or [] is the active one.
        filter_string: over attributes, metrics, params and tags, as "name = 'best' AND metrics.acc > 0.9".
        datasets: dictionaries with `dataset_name` and maybe `dataset_digest`: what metrics of the filter must be on.
        max_results: how many at most; None is all.
        order_by: dictionaries with `field_name` and maybe `ascending`, `dataset_name`, `dataset_digest`.
        output_format: as in `search_runs`.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    pandas = _wants_pandas(output_format)
    ids = experiment_ids or [experiment_id_for_calls(current_service())]
    client = TrackingClient()

    def page(length: int, token: str | None) -> PagedList[LoggedModel]:
        return client.search_logged_models(ids, filter_string, datasets, length, order_by, token)

    found = _collect(page, _MODELS_PAGE, max_results)
    if not pandas:
        return found
    from localtrack.fluent.frame import model_frame

    return model_frame(found)


def _wants_pandas(output_format: object) -> bool:
    """Whether a DataFrame is asked for, and possible."""
    if output_format not in ("list", "pandas"):
        raise TrackingError(f"Unsupported output format: {output_format}. Supported are 'pandas' and 'list'")
    if output_format == "list":
        return False
    from importlib.util import find_spec

    if find_spec("pandas") is not None:
        return True
    attention.warn_once(
        "pandas", "pandas is not installed, so searches return lists: `pip install pandas`, or output_format='list'"
    )
    return False


def _collect(page: Callable[[int, str | None], PagedList[T]], length: int, most: int | None) -> list[T]:
    """Pages one after the other, until there are no more, or enough."""
    found = list[T]()
    token: str | None = None
    while most is None or len(found) < most:
        items = page(length if most is None else min(length, most - len(found)), token)
        found.extend(items)
        token = items.token
        if not token:
            break
    return found


def _ids(ids: list[str] | None, names: list[str] | None, *, everywhere: bool) -> list[str]:
    if ids and names:
        raise TrackingError("Only experiment_ids or experiment_names can be used, but not both")
    if ids:
        return ids
    if names:
        client = TrackingClient()
        experiments = [(name, client.get_experiment_by_name(name)) for name in names if name is not None]
        for name, experiment in experiments:
            if experiment is None:
                attention.warn(f"Cannot retrieve experiment by name {name}")
        return [experiment.experiment_id for _, experiment in experiments if experiment is not None]
    if everywhere:
        return ["", *(experiment.experiment_id for experiment in search_experiments())]
    return [experiment_id_for_calls(current_service())]
