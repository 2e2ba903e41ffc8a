"""Tables among the artifacts: rows that one call after the other adds, read back for many runs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localtrack import attention
from localtrack.entities import Run
from localtrack.errors import RemovedError, TrackingError
from localtrack.json_text import loaded
from localtrack.service.made_files import MadeFiles

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

TABLES_TAG = "mlflow.loggedArtifacts"


class Tables(MadeFiles):
    """Operations on tables."""

    def log_table(self, run_id: str, data: dict[str, Any] | pd.DataFrame, artifact_file: str) -> None:
        """Store a table as JSON or Parquet by the ending of its name; a table that is there gets more rows.

        Args:
            run_id: the run.
            data: a dict of columns (or of one row's values), or a pandas.DataFrame. Images in it are stored as files.
            artifact_file: `.json`, for which pandas need not be installed, or `.parquet`.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE.
            ModuleNotFoundError: Parquet without pandas and pyarrow.
        """
        from localtrack.artifacts import images, tables
        from localtrack.artifacts.intake import Failure

        tables.check_ending(tables.check_name(artifact_file))
        owner, pandas = self._run_to_store(run_id), tables.pandas_or_none()
        table = tables.table_of(data, pandas)
        table = tables.with_pictures(
            table, lambda picture: self._store_picture(owner, picture, images.names_in_table(artifact_file))
        )
        with self.known.lock:  # threads that add to one table come one after the other
            try:
                there = self._existing(run_id, artifact_file)
            except RemovedError as error:  # rows alone would take the place of the whole table on the remote
                self._lose([Failure(artifact_file, FileNotFoundError(error.message))])
                return
            if there is not None:
                table = tables.joined(tables.read(there, pandas), table, pandas)
            self._make(owner, artifact_file, lambda path: tables.write(table, path))
            self._tag_table(run_id, artifact_file)

    def _existing(self, run_id: str, path: str) -> str | None:
        try:
            return self.download_artifacts(run_id, path)
        except TrackingError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _tag_table(self, run_id: str, artifact_file: str) -> None:
        run = self._run(run_id)
        found = self._ask(lambda catalog: catalog.run(run.run_id, refresh=False), None)
        tags = run.tags if found is None else {**run.tags, **found.data.tags}
        listed = _tables_of(tags)
        entry = {"path": artifact_file, "type": "table"}
        if entry not in listed:
            self.set_tag(run_id, TABLES_TAG, json.dumps([*listed, entry]))

    def load_table(
        self,
        experiment_id: str,
        artifact_file: str,
        run_ids: list[str] | None = None,
        extra_columns: list[str] | None = None,
    ) -> pd.DataFrame:
        """The rows of a table of all active runs of an experiment that have it, newest run first.

        Args:
            experiment_id: the experiment.
            artifact_file: name of the table.
            run_ids: only these runs; None is all.
            extra_columns: what to add of the run: "run_id", "start_time", ..., "params.x", "metrics.x", "tags.x".

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST when no run has it.
            ModuleNotFoundError: pandas is not installed.
            KeyError: a run has no such extra column.
        """
        from localtrack.artifacts import tables
        from localtrack.artifacts.optional import library

        tables.check_name(artifact_file)
        pandas = library("pandas", "pandas", "load_table")
        runs = list(self._runs_with_table(experiment_id, artifact_file, run_ids))
        if run_ids and len(run_ids) != len(runs):
            attention.warn("Not all runs have the specified table artifact. Some runs will be skipped.")
        if not runs:
            message = "No runs found with the corresponding table artifact."
            raise TrackingError(message, "RESOURCE_DOES_NOT_EXIST")
        parts = []
        for run in runs:
            if (there := self._existing(run.info.run_id, artifact_file)) is None:
                message = f"Artifact {artifact_file} not found for run {run.info.run_id}."
                raise TrackingError(message, "RESOURCE_DOES_NOT_EXIST")
            table = tables.read(there, pandas)
            for column in extra_columns or ():
                table[f"{column}_" if column in table else column] = _of_run(run, column)
            parts.append(table)
        return pandas.concat(parts, ignore_index=True)

    def _runs_with_table(self, experiment_id: str, artifact_file: str, run_ids: list[str] | None) -> Iterator[Run]:
        for run in self.search_runs_iter([experiment_id]):
            if run_ids and run.info.run_id not in run_ids:
                continue
            if {"path": artifact_file, "type": "table"} in _tables_of(run.data.tags):
                yield run


def _tables_of(tags: dict[str, str]) -> list[Any]:
    """What the tag mlflow.loggedArtifacts lists; anything else than a JSON list counts as nothing."""
    try:
        listed = loaded(tags.get(TABLES_TAG, "[]"))
    except ValueError:
        return []
    return listed if isinstance(listed, list) else []


def _of_run(run: Run, column: str) -> object:
    kind, _, name = column.partition(".")
    if name:
        values: dict[str, dict[str, Any]] = {
            "metrics": run.data.metrics,
            "params": run.data.params,
            "tags": run.data.tags,
        }
        return values[kind][name]
    if column not in ("run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"):
        raise KeyError(column)
    return getattr(run.info, column)
