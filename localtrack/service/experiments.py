"""The rows "Experiments" of the operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from localtrack import rules
from localtrack.entities import Experiment, LifecycleStage, PagedList, ViewType
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import ExperimentCreate, ExperimentLifecycle, ExperimentRename, ExperimentTagSet
from localtrack.service.core import Core, pages
from localtrack.service.known import KnownExperiment

if TYPE_CHECKING:
    from localtrack.catalog.catalog import Catalog

DEFAULT_ID, DEFAULT_NAME = "0", "Default"
_ID_DIGITS = 18
_SALTS = 1000


def experiment_id_of(name: str, salt: int = 0) -> str:
    """The id of the experiment that was created as `name`: the same on machines that never met.

    18 decimal digits, the first not 0 (MLflow's file store has such ids), from SHA-256 of the name; another salt makes
    another id. "Default" has "0".
    """
    if name == DEFAULT_NAME and salt == 0:
        return DEFAULT_ID
    import hashlib  # loads OpenSSL: only who names an experiment pays

    digest = hashlib.sha256(f"localtrack experiment {salt} {name}".encode()).digest()
    least = 10 ** (_ID_DIGITS - 1)
    return str(least + int.from_bytes(digest, "big") % (9 * least))


def missing_experiment(experiment_id: str) -> TrackingError:
    """The error for an experiment that the store does not have."""
    return TrackingError(f"No Experiment with id={experiment_id} exists", "RESOURCE_DOES_NOT_EXIST")


class Experiments(Core):
    """Operations on experiments."""

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Mapping[str, object] | None = None
    ) -> str:
        """Create an experiment and return its id.

        Args:
            name: 1 to 500 characters, unique in the store, deleted experiments included.
            artifact_location: where artifacts shall lie on the server; None leaves it to the server.
            tags: keys to anything; values are stringified.

        Raises:
            TrackingError: RESOURCE_ALREADY_EXISTS, or INVALID_PARAMETER_VALUE.
        """
        name = rules.experiment_name(name)
        location = rules.artifact_location(artifact_location)
        checked = tuple(rules.experiment_tag(key, value) for key, value in rules.items("tags", tags))
        _must_be_free(name, self._look_by_name(name))
        experiment_id = self._free_id(name)
        self.journal.append(ExperimentCreate(experiment_id, name, location, checked))
        self.known.experiments[experiment_id] = KnownExperiment(experiment_id, name)
        return experiment_id

    def get_or_create_experiment(self, name: str) -> Experiment:
        """The experiment with that name; made if there is none. Safe against processes that do the same at once.

        As all checks before a write it goes on when the catalog cannot be read, or takes long to be brought up to date.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE.
        """
        name = rules.experiment_name(name)
        found = self._look_by_name(name)
        if found is not None:
            return found
        try:
            return self.find_experiment(self.create_experiment(name))
        except TrackingError as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._look_by_name(name)
        if found is not None:
            return found
        # The catalog came and went between the questions. To create it again changes nothing where it exists.
        known = KnownExperiment(experiment_id_of(name), name)
        self.journal.append(ExperimentCreate(known.experiment_id, name))
        return self._from_memory(self.known.experiments.setdefault(known.experiment_id, known))

    def _free_id(self, name: str) -> str:
        for salt in range(_SALTS):
            experiment_id = experiment_id_of(name, salt)
            found = self._look(experiment_id)
            if found is None:
                return experiment_id
            if found.name == name:  # another process was faster since we asked by name
                _must_be_free(name, found)
        raise AssertionError(f"{_SALTS} experiments were created as {name!r} and renamed")

    def _look(self, experiment_id: str, unread: KnownExperiment | None = None) -> Experiment | None:
        """The experiment as it is now; when the catalog cannot be read, what this process knows, else `unread`."""
        known = self.known.experiments.get(experiment_id)
        if known is None and experiment_id == DEFAULT_ID:
            known = KnownExperiment(DEFAULT_ID, DEFAULT_NAME)
        instead = known or unread
        memory = None if instead is None else self._from_memory(instead)
        found = self._ask(lambda catalog: catalog.experiment(experiment_id, refresh=False), memory)
        if found is None and known is not None:  # made here, and not in a journal yet
            found = memory
        return self._remembered(found)

    def _look_by_name(self, name: str) -> Experiment | None:
        known = self._known_by_name(name)
        memory = None if known is None else self._from_memory(known)
        return self._remembered(self._ask(lambda catalog: catalog.experiment_by_name(name, refresh=False), memory))

    def _known_by_name(self, name: str) -> KnownExperiment | None:
        known = next((one for one in list(self.known.experiments.values()) if one.name == name), None)
        if known is None and name == DEFAULT_NAME and DEFAULT_ID not in self.known.experiments:
            known = KnownExperiment(DEFAULT_ID, DEFAULT_NAME)
        return known

    def find_experiment(self, experiment_id: str) -> Experiment:
        """The experiment, deleted ones too, for who is about to write to it.

        With a catalog that cannot be read the caller's word is taken: training goes on, the merge has the last word.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
        """
        wanted = rules.experiment_id(experiment_id)
        found = self._look(wanted, unread=KnownExperiment(wanted, ""))
        if found is None:
            raise missing_experiment(wanted)
        return found

    def _active_experiment(self, experiment_id: str) -> str:
        """The id of an experiment that may be written to."""
        experiment = self.find_experiment(experiment_id)
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            raise TrackingError(
                f"The experiment {experiment.experiment_id} must be in the 'active' state. Current state is deleted."
            )
        return experiment.experiment_id

    def get_experiment(self, experiment_id: str) -> Experiment:
        """The experiment, deleted ones too.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
            StoreError: the catalog cannot be read and this process does not know the experiment.
        """
        wanted = rules.experiment_id(experiment_id)
        known = self.known.experiments.get(wanted)
        found = self._read_or_known(lambda catalog: catalog.experiment(wanted, refresh=False), known)
        if found is None:
            raise missing_experiment(wanted)
        return found

    def get_experiment_by_name(self, name: str) -> Experiment:
        """The experiment with that name, active preferred over deleted.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
            StoreError: the catalog cannot be read and this process does not know the experiment.
        """
        name = rules.experiment_name(name)
        found = self._read_or_known(
            lambda catalog: catalog.experiment_by_name(name, refresh=False), self._known_by_name(name)
        )
        if found is None:
            raise TrackingError(f"Could not find experiment with name '{name}'", "RESOURCE_DOES_NOT_EXIST")
        return found

    def _read_or_known(
        self, question: Callable[[Catalog], Experiment | None], known: KnownExperiment | None
    ) -> Experiment | None:
        try:
            found = self._read(question)
        except StoreError:
            if known is None:
                raise
            found = None
        if found is None and known is not None:
            return self._from_memory(known)
        return self._remembered(found)

    def _from_memory(self, known: KnownExperiment) -> Experiment:
        stage = LifecycleStage.DELETED if known.deleted else LifecycleStage.ACTIVE
        location = f"{self.store.artifacts}/{known.experiment_id}"
        return Experiment(known.experiment_id, known.name, location, stage)

    def _remembered(self, experiment: Experiment | None) -> Experiment | None:
        if experiment is not None:
            deleted = experiment.lifecycle_stage == LifecycleStage.DELETED
            known = KnownExperiment(experiment.experiment_id, experiment.name, deleted)
            self.known.experiments[experiment.experiment_id] = known
        return experiment

    def list_experiments(
        self, view_type: int = ViewType.ACTIVE_ONLY, max_results: int = 1000, page_token: str | None = None
    ) -> PagedList[Experiment]:
        """A page of experiments, newest first."""
        view, length = rules.view_type(view_type), rules.max_results(max_results)
        return self._read(lambda catalog: catalog.experiments(view, length, page_token or None, refresh=False))

    def list_experiments_iter(self, view_type: int = ViewType.ACTIVE_ONLY) -> Iterator[Experiment]:
        """All experiments, newest first, read page by page."""
        return pages(lambda token: self.list_experiments(view_type, page_token=token))

    def update_experiment(self, experiment_id: str, new_name: str) -> None:
        """Rename an experiment.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, RESOURCE_ALREADY_EXISTS when another one has the name, INVALID_STATE
                when it is deleted.
        """
        new_name = rules.experiment_name(new_name)
        experiment = self.find_experiment(experiment_id)
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            raise TrackingError("Cannot rename a non-active experiment.", "INVALID_STATE")
        holder = self._look_by_name(new_name)
        if holder is not None and holder.experiment_id != experiment.experiment_id:
            _must_be_free(new_name, holder)
        self.journal.append(ExperimentRename(experiment.experiment_id, new_name))
        self.known.experiments[experiment.experiment_id] = KnownExperiment(experiment.experiment_id, new_name)

    def set_experiment_tag(self, experiment_id: str, key: str, value: object) -> None:
        """Set a tag of an active experiment; the value is stringified, at most 20,000 characters."""
        key, text = rules.experiment_tag(key, value)
        self.journal.append(ExperimentTagSet(self._active_experiment(experiment_id), key, text))

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an active experiment.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when the experiment has no such tag.
        """
        key = rules.key("experiment tag", key)
        experiment_id = self._active_experiment(experiment_id)
        found = self._ask(lambda catalog: catalog.experiment(experiment_id, refresh=False), None)
        if found is not None and key not in found.tags:
            message = f"No tag with name: {key} in experiment with id {experiment_id}"
            raise TrackingError(message, "RESOURCE_DOES_NOT_EXIST")
        self.journal.append(ExperimentTagSet(experiment_id, key, None))

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment and all its runs, softly: `restore_experiment` brings all back.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when it is deleted already.
        """
        self._set_deleted(experiment_id, deleted=True)

    def restore_experiment(self, experiment_id: str) -> None:
        """Restore a deleted experiment and all its runs, also those that were deleted on their own before.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when it is not deleted.
        """
        self._set_deleted(experiment_id, deleted=False)

    def _set_deleted(self, experiment_id: str, *, deleted: bool) -> None:
        experiment = self.find_experiment(experiment_id)
        if (experiment.lifecycle_stage == LifecycleStage.DELETED) == deleted:
            raise missing_experiment(experiment.experiment_id)
        self.journal.append(ExperimentLifecycle(experiment.experiment_id, deleted))
        self.known.mark_experiment(experiment.experiment_id, deleted=deleted)


def _must_be_free(name: str, holder: Experiment | None) -> None:
    if holder is not None:
        deleted = " in deleted state" if holder.lifecycle_stage == LifecycleStage.DELETED else ""
        raise TrackingError(f"Experiment(name={name}) already exists{deleted}", "RESOURCE_ALREADY_EXISTS")
