"""The rows "Runs" of the operations, except what is logged to a run (see `log`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localtrack import attention, identity, rules, values
from localtrack.entities import Metric, PagedList, Run, RunInfo, RunStatus
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import ENDED_BY_TAG, RunAttach, RunCreate, RunLifecycle, RunUpdate
from localtrack.run_names import run_name as name_from
from localtrack.service.core import missing_run, pages
from localtrack.service.experiments import Experiments
from localtrack.service.known import KnownRun

RUN_NAME_TAG = "mlflow.runName"
_HISTORY_PAGE = 25_000


class Runs(Experiments):
    """Operations on runs."""

    def create_run(
        self,
        experiment_id: str,
        run_name: str | None = None,
        user_id: str | None = None,
        start_time: int | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> Run:
        """Create a run with status RUNNING; it survives power loss at once.

        Args:
            experiment_id: an active experiment.
            run_name: None takes the tag mlflow.runName, else makes one like "brisk-fjord-417".
            user_id: None is "unknown".
            start_time: milliseconds since the epoch; None is now.
            tags: keys to anything; values are stringified.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE (a deleted experiment too).
        """
        checked = rules.run_tags(tags, self._long)
        name = self._run_name(run_name, checked)
        checked.setdefault(RUN_NAME_TAG, name)
        user = rules.text("user_id", "unknown" if user_id is None else user_id, rules.KEY_LENGTH)
        started = self._clock() if start_time is None else values.milliseconds("start_time", start_time)
        experiment_id = self._experiment_for_run(experiment_id)
        run_id = self._random(16).hex()
        named = (self.remote, self._proof(run_id))
        op = RunCreate(run_id, experiment_id, name, user, started, tuple(checked.items()), *named)
        self.journal.append(op, synced=True)
        artifact_uri = self.store.run_artifacts(experiment_id, run_id)
        known = KnownRun(run_id, experiment_id, name, user, started, artifact_uri, tags=checked)
        self.known.runs[run_id] = known
        self.want_daemon()
        return known.run()

    def attach_run(self, run_id: str) -> Run:
        """Go on with a run; one that the store does not know is taken to exist elsewhere, and nobody is asked.

        It may be on the remote already (made by a launcher that hands down its id), or in another machine's store.
        Until a replay has found it, its experiment is not known (""). What is logged to it survives as for any run.

        Args:
            run_id: 1 to 256 letters, digits, underscores and dashes, the first a letter or digit (MLflow's form).

        Raises:
            TrackingError: not a run id.
        """
        wanted = rules.run_id(run_id)
        known = self.known.runs.get(wanted)
        if known is None or not known.artifact_uri:  # without one it was taken at the caller's word
            found = self._ask(lambda catalog: catalog.run(wanted, refresh=False), None)
            known = self._attach(wanted) if found is None else KnownRun.found(found)
            self.known.runs[wanted] = known
            self.want_daemon()
        return known.run()

    def _attach(self, run_id: str) -> KnownRun:
        # If the store has the run all the same (its catalog cannot be read), the merge lets the creation win.
        started = self._clock()
        self.journal.append(RunAttach(run_id, started, self.remote, self._proof(run_id)), synced=True)
        return KnownRun(run_id, "", "", "", started, self.store.run_artifacts("", run_id))

    def _run_to_write_to(self, run_id: object) -> KnownRun:
        """As ever; with LOCALTRACK_ATTACH, a run that the store does not know is attached to."""
        if self.settings.attach:
            self.attach_run(run_id)  # type: ignore[arg-type] # checked there
        return self._run(run_id)

    def _proof(self, made_id: str) -> str | None:
        return identity.proof(made_id, self.remote, self.settings.identity_key) if self.remote else None

    def _experiment_for_run(self, experiment_id: str) -> str:
        """The id of an active experiment; one that this process knows is not looked up again."""
        known = self.known.experiments.get(experiment_id) if type(experiment_id) is str else None
        if known is None or known.deleted:
            return self._active_experiment(experiment_id)
        return known.experiment_id

    def _run_name(self, given: object, tags: Mapping[str, str]) -> str:
        tag = tags.get(RUN_NAME_TAG)
        name = rules.run_name(given)
        if name and tag and name != tag:
            raise TrackingError(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                f"(run_name={rules.shown(name)}, mlflow.runName={rules.shown(tag)})"
            )
        return name or tag or name_from(int.from_bytes(self._random(8), "big"))

    def get_run(self, run_id: str) -> Run:
        """The run with its latest metrics, params and tags; deleted ones too.

        When the catalog cannot be read, a run of this process is returned without its metrics, and a warning says so.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
            StoreError: the catalog cannot be read and the run is not this process's.
        """
        wanted = rules.run_id(run_id)
        known = self.known.runs.get(wanted)
        try:
            found = self._read(lambda catalog: catalog.run(wanted, refresh=False))
            why = "it is not in the catalog"
        except StoreError as error:
            if known is None:
                raise
            found, why = None, error.message
        if found is not None:
            return found
        if known is None:
            raise missing_run(wanted)
        attention.warn_once(f"run {wanted}", f"Run {wanted} is shown as this process knows it, without metrics: {why}")
        return known.run()

    def run_info(self, run_id: str) -> RunInfo:
        """The run's metadata; a run of this process is not looked up.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
        """
        return self._run(run_id).info()

    def update_run(
        self,
        run_id: str,
        status: str | None = None,
        end_time: int | None = None,
        run_name: str | None = None,
    ) -> RunInfo:
        """Change status, end time (milliseconds) or name of an active run; None leaves a field as it is.

        The end of a run (FINISHED, FAILED, KILLED) survives power loss at once.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE (a deleted run or unknown status too).
        """
        status = None if status is None else rules.status(status)
        end_time = None if end_time is None else values.milliseconds("end_time", end_time)
        run_name = rules.run_name(run_name)
        run = self._active_run(run_id)
        ends = status is not None and RunStatus.is_terminated(status)
        if (status, end_time, run_name) != (None, None, None):
            self.journal.append(RunUpdate(run.run_id, status, end_time, run_name), synced=ends)
        if status is not None and run.tags.pop(ENDED_BY_TAG, None) is not None:
            run.end_time = None  # both belonged to the end that this status takes back
        run.status = status or run.status
        run.end_time = run.end_time if end_time is None else end_time
        if run_name is not None:
            run.name = run.tags[RUN_NAME_TAG] = run_name
        if ends:
            self.known.ended(run.run_id)
        return run.info()

    def end_run(self, run_id: str, status: str = RunStatus.FINISHED, end_time: int | None = None) -> RunInfo:
        """Give a run its status and its end time (None: now)."""
        return self.update_run(run_id, status, self._clock() if end_time is None else end_time)

    def delete_run(self, run_id: str) -> None:
        """Delete a run softly; deleting a deleted one is fine."""
        self._set_run_deleted(run_id, deleted=True)

    def restore_run(self, run_id: str) -> None:
        """Restore a deleted run; restoring an active one is fine."""
        self._set_run_deleted(run_id, deleted=False)

    def _set_run_deleted(self, run_id: object, *, deleted: bool) -> None:
        run = self._run(run_id)
        self.journal.append(RunLifecycle(run.run_id, deleted))
        run.deleted = deleted

    def list_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        """All points of a metric by (timestamp, step, value), or one page of them.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
        """
        name = rules.key("metric", metric_key)
        length = None if max_results is None else rules.max_results(max_results)
        run = self._run(run_id)
        return self._read(
            lambda catalog: catalog.metric_history(run.run_id, name, length, page_token or None, refresh=False)
        )

    get_history = list_metric_history

    def list_metric_history_iter(self, run_id: str, metric_key: str) -> Iterator[Metric]:
        """All points of a metric, read page by page."""
        return pages(lambda token: self.list_metric_history(run_id, metric_key, _HISTORY_PAGE, token))

    def checked_tags(self, tags: Mapping[str, object] | None) -> dict[str, str]:
        """Tags of a run as they would be recorded.

        Raises:
            TrackingError: a key or value is not acceptable.
        """
        return rules.run_tags(tags, self._long)
