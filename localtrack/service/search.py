"""Searches of runs, experiments and logged models, and what is done to all runs that a time decides on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from localtrack import rules, values
from localtrack.entities import Experiment, LoggedModel, PagedList, Run, ViewType
from localtrack.errors import TrackingError
from localtrack.journal.ops import RunLifecycle
from localtrack.service.core import pages
from localtrack.service.runs import Runs

#: MLflow's length of a page of logged models (SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT).
MODELS_PAGE = 100
#: Runs that one bulk delete or restore changes at most, as on Databricks.
MOST_AT_ONCE = 10_000


class Searches(Runs):
    """Operations that ask for many things at once."""

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: list[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> PagedList[Run]:
        """A page of the runs of some experiments.

        Args:
            experiment_ids: one id or several; none finds nothing. "" is the runs that were created elsewhere and
                attached to, whose experiment is not known here.
            filter: MLflow's filter language; None or "" for all.
            order_by: clauses like "metrics.loss DESC"; behind them by start time, latest first, then by run id.
            run_view_type: active, deleted or all.
            max_results: 1 to 50,000.
            page_token: `token` of the page before; stays good while runs are added.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE.
        """
        from localtrack.catalog import queries
        from localtrack.catalog.search import reads
        from localtrack.catalog.search.run_search import run_search

        stages = queries.stages_of(rules.view_type(run_view_type))
        length, token = rules.max_results(max_results), rules.page_token(page_token)
        ids = experiment_ids_of(experiment_ids)
        search = run_search(ids, filter, order_by, stages, self.store.artifacts)
        if not ids:
            return PagedList([])
        return self._read(lambda catalog: catalog.search(reads.runs, search, length, token, refresh=False))

    def search_runs_iter(
        self,
        experiment_ids: Sequence[str],
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: list[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Iterator[Run]:
        """All runs that `search_runs` finds, read page by page."""
        return pages(lambda token: self.search_runs(experiment_ids, filter, order_by, run_view_type, page_token=token))

    def search_experiments(
        self,
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: list[str] | None = None,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> PagedList[Experiment]:
        """A page of experiments.

        Args:
            filter: over name, experiment_id, creation_time, last_update_time and tags; None or "" for all.
            order_by: clauses like "name ASC"; without any, the newest first.
            view_type: active, deleted or all.
            max_results: 1 to 50,000.
            page_token: `token` of the page before.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE.
        """
        from localtrack.catalog import queries
        from localtrack.catalog.search import reads
        from localtrack.catalog.search.experiment_search import experiment_search

        length, token = rules.max_results(max_results), rules.page_token(page_token)
        search = experiment_search(filter, order_by, queries.stages_of(rules.view_type(view_type)))
        return self._read(lambda catalog: catalog.search(reads.experiments, search, length, token, refresh=False))

    def search_experiments_iter(
        self,
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: list[str] | None = None,
        view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Iterator[Experiment]:
        """All experiments that `search_experiments` finds, read page by page."""
        return pages(lambda token: self.search_experiments(filter, order_by, view_type, page_token=token))

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        filter: str | None = None,  # noqa: A002 - the API's name
        datasets: Sequence[Mapping[str, str]] | None = None,
        order_by: Sequence[Mapping[str, Any]] | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """A page of the logged models of some experiments; deleted ones are never found.

        Args:
            experiment_ids: one id or several; none finds nothing.
            filter: over attributes, metrics, params and tags; None or "" for all.
            datasets: dictionaries with `dataset_name`, and `dataset_digest` if it matters: metrics of the filter must
                be on one of them; without metrics in the filter, a model must have any metric on one of them.
            order_by: dictionaries with `field_name` (an attribute or `metrics.<key>`), `ascending` (True),
                `dataset_name` and `dataset_digest`; behind them the newest first, then by id.
            max_results: 1 to 50,000; None is 100.
            page_token: `token` of the page before.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE.
        """
        from localtrack.catalog.search import reads
        from localtrack.catalog.search.model_search import model_search

        length, token = rules.max_results(max_results or MODELS_PAGE), rules.page_token(page_token)
        ids = experiment_ids_of(experiment_ids)
        search = model_search(ids, filter, datasets, order_by)
        if not ids:
            return PagedList([])
        return self._read(lambda catalog: catalog.search(reads.models, search, length, token, refresh=False))

    def search_logged_models_iter(
        self,
        experiment_ids: Sequence[str],
        filter: str | None = None,  # noqa: A002 - the API's name
        datasets: Sequence[Mapping[str, str]] | None = None,
        order_by: Sequence[Mapping[str, Any]] | None = None,
    ) -> Iterator[LoggedModel]:
        """All logged models that `search_logged_models` finds, read page by page."""
        return pages(
            lambda token: self.search_logged_models(experiment_ids, filter, datasets, order_by, page_token=token)
        )

    # --- bulk ----------------------------------------------------------------------------------------------------

    def delete_runs(self, experiment_id: str, max_timestamp_millis: int, max_runs: int | None = None) -> int:
        """Delete, softly, the active runs of an experiment that started at a time or before; the oldest first.

        Each run is deleted by a record of its own: killed in between, the rest is left, and the same call goes on.

        Args:
            experiment_id: the experiment.
            max_timestamp_millis: latest start time, milliseconds since the epoch.
            max_runs: 1 to 10,000; None is 10,000.

        Returns:
            How many were deleted.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE, or RESOURCE_DOES_NOT_EXIST.
            StoreError: the catalog cannot be read.
        """
        upto, most = values.milliseconds("max_timestamp_millis", max_timestamp_millis), _most_runs(max_runs)
        wanted = self.get_experiment(experiment_id).experiment_id
        return self._set_deleted_all(
            self._read(lambda catalog: catalog.runs_started_upto(wanted, upto, most, refresh=False)), deleted=True
        )

    def restore_runs(self, experiment_id: str, min_timestamp_millis: int, max_runs: int | None = None) -> int:
        """Restore the runs of an experiment that were deleted at a time or later; the last deleted first.

        Args:
            experiment_id: the experiment.
            min_timestamp_millis: earliest time of the deletion, milliseconds since the epoch.
            max_runs: 1 to 10,000; None is 10,000.

        Returns:
            How many were restored.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE, or RESOURCE_DOES_NOT_EXIST.
            StoreError: the catalog cannot be read.
        """
        since, most = values.milliseconds("min_timestamp_millis", min_timestamp_millis), _most_runs(max_runs)
        wanted = self.get_experiment(experiment_id).experiment_id
        return self._set_deleted_all(
            self._read(lambda catalog: catalog.runs_deleted_since(wanted, since, most, refresh=False)), deleted=False
        )

    def _set_deleted_all(self, run_ids: Sequence[str], *, deleted: bool) -> int:
        for run_id in run_ids:
            self.journal.append(RunLifecycle(run_id, deleted))
            known = self.known.runs.get(run_id)
            if known is not None:
                known.deleted = deleted
        return len(run_ids)


def _most_runs(given: object) -> int:
    if given is None:
        return MOST_AT_ONCE
    if type(given) is not int or not 1 <= given <= MOST_AT_ONCE:
        raise TrackingError(f"Invalid max_runs {rules.shown(given)}: must be an int from 1 to {MOST_AT_ONCE}")
    return given


def experiment_ids_of(given: object) -> list[str]:
    """Experiment ids from a list, or from one of them; "" is the experiment of runs that were attached to.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    if isinstance(given, str | int):
        given = [given]
    if not isinstance(given, list | tuple):
        raise TrackingError(f"experiment_ids must be a list, got {rules.shown(given)}")
    return [one if one == "" else rules.experiment_id(one) for one in given]
