"""The rows "Logged models" of the operations. A model that this process made is not looked up in the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from localtrack import attention, inputs
from localtrack.entities import LoggedModel, LoggedModelStatus
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import (
    ModelCreate,
    ModelFinalize,
    ModelLifecycle,
    ModelParamsLogged,
    ModelTagsSet,
    OpId,
    stamp_ms,
)
from localtrack.rules import run_id as checked_run_id
from localtrack.rules import shown
from localtrack.run_names import run_name as name_from
from localtrack.service.known import KnownModel
from localtrack.service.search import Searches

if TYPE_CHECKING:
    from localtrack.catalog.catalog import Catalog
    from localtrack.catalog.entries import ModelEntry


def missing_model(model_id: str) -> TrackingError:
    """The error for a logged model that the store does not have."""
    return TrackingError(f"Logged model with ID '{model_id}' not found.", "RESOURCE_DOES_NOT_EXIST")


class _Found(NamedTuple):
    """A model of the catalog, and whether it is deleted."""

    model: LoggedModel
    deleted: bool


def _in_catalog(catalog: Catalog, model_id: str) -> _Found | None:
    living = catalog.model(model_id, refresh=False)
    found = living or catalog.model(model_id, allow_deleted=True, refresh=False)
    return None if found is None else _Found(found, deleted=living is None)


class Models(Searches):
    """Operations on logged models."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        model_type: str | None = None,
        source_run_id: str | None = None,
        params: object = None,
        tags: object = None,
    ) -> LoggedModel:
        """Create a logged model with status PENDING; it survives power loss at once.

        Args:
            experiment_id: an active experiment; "" with the id of an attached run: that run's, which is not known here.
            name: 1 to 500 characters without `/ : . % " '`; None makes one like "brisk-fjord-417".
            model_type: any text up to 500 characters, or None.
            source_run_id: the run that makes it; as on a server it is not looked up.
            params: keys to anything; values are stringified, and can never be changed.
            tags: keys to anything; values are stringified.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE (a deleted experiment too).
        """
        given = inputs.model_name(name)
        kind = inputs.model_type(model_type)
        source = None if source_run_id is None else checked_run_id(source_run_id)
        checked_params = inputs.model_params(params, self._long)
        checked_tags = inputs.model_tags(tags, self._long)
        experiment_id = self._experiment_for_model(experiment_id, source)
        model_id = f"m-{self._random(16).hex()}"
        op = ModelCreate(
            model_id,
            experiment_id,
            given or name_from(int.from_bytes(self._random(8), "big")),
            kind,
            source,
            tuple(checked_tags.items()),
            tuple(checked_params.items()),
            self.remote,
            self._proof(model_id),
        )
        created = self._when(self.journal.append(op, synced=True))
        place = self.store.model_artifacts(experiment_id, model_id)
        known = KnownModel(model_id, experiment_id, op.name, place, created, created, kind, source)
        known.params, known.tags = checked_params, checked_tags
        self.known.models[model_id] = known
        return known.model()

    def _when(self, op_id: OpId | None) -> int:
        """When an op was recorded, as the catalog will say; now, if it could not be."""
        return self._clock() if op_id is None else stamp_ms(op_id.stamp)

    def _experiment_for_model(self, experiment_id: str, source_run_id: str | None) -> str:
        run = self.known.runs.get(source_run_id) if source_run_id else None
        if experiment_id == "" and run is not None and run.experiment_id == "":
            return ""
        return self._experiment_for_run(experiment_id)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        """The logged model with its params, tags and latest metrics.

        When the catalog cannot be read, a model of this process is returned without its metrics, and a warning says so.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when it is deleted.
            StoreError: the catalog cannot be read and the model is not this process's.
        """
        wanted = inputs.model_id(model_id)
        known = self.known.models.get(wanted)
        try:
            found = self._read(lambda catalog: _in_catalog(catalog, wanted))
            why = "it is not in the catalog"
        except StoreError as error:
            if known is None:
                raise
            found, why = None, error.message
        if found is not None and not found.deleted:
            return found.model
        if found is not None or known is None or known.deleted:
            raise missing_model(wanted)
        attention.warn_once(f"model {wanted}", f"Model {wanted} is shown as this process knows it, no metrics: {why}")
        return known.model()

    def _model(self, model_id: object) -> KnownModel:
        """The model, deleted ones too, from memory if this process knows it, else from the catalog.

        Raises:
            TrackingError: not a model id (INVALID_PARAMETER_VALUE), or no such model (RESOURCE_DOES_NOT_EXIST).
        """
        known = self.known.models.get(model_id) if type(model_id) is str else None
        if known is not None:
            return known
        wanted = inputs.model_id(model_id)
        # With an unreadable catalog the caller's word is taken, as for runs.
        unread: _Found | None = _Found(KnownModel(wanted, "", "", "", 0, 0).model(), deleted=False)
        found = self._ask(lambda catalog: _in_catalog(catalog, wanted), unread)
        if found is None:
            raise missing_model(wanted)
        return self.known.models.setdefault(wanted, KnownModel.found(found.model, deleted=found.deleted))

    def _living_model(self, model_id: object) -> KnownModel:
        try:
            model = self._model(model_id)
        except TrackingError as error:
            raise TrackingError(f"Failed to get logged model with ID {shown(model_id)}: {error.message}") from error
        if model.deleted:
            raise TrackingError(f"Failed to get logged model with ID {model.model_id}: it is deleted")
        return model

    def finalize_logged_model(self, model_id: str, status: str) -> LoggedModel:
        """Give a model its status: READY, FAILED, or PENDING again, as a server allows; it survives power loss at once.

        Returns:
            The model as this process knows it, without metrics.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE for an unknown status.
        """
        status = inputs.model_status(status)
        model = self._model(model_id)
        model.updated = self._when(self.journal.append(ModelFinalize(model.model_id, status), synced=True))
        model.status = status
        if status != LoggedModelStatus.PENDING:
            self.known.finalized(model.model_id)
        return model.model()

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a model softly; deleting a deleted one is fine. There is no restore, as on a server.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST.
        """
        model = self._model(model_id)
        model.updated = self._when(self.journal.append(ModelLifecycle(model.model_id, deleted=True)))
        model.deleted = True

    def set_logged_model_tags(self, model_id: str, tags: object) -> None:
        """Set tags of a model: a mapping of keys to anything, or objects with key and value; the last writer wins.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE, also for an unknown or deleted model (as MLflow's client says).
        """
        checked = inputs.model_tags(tags, self._long)
        model = self._living_model(model_id)
        if checked:
            self.journal.append(ModelTagsSet(model.model_id, tuple(checked.items())))
            model.tags.update(checked)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when the model has no such tag.
        """
        name = inputs.model_key(key)
        model = self._model(model_id)
        if name not in model.tags:
            found = self._ask(lambda catalog: catalog.model(model.model_id, allow_deleted=True, refresh=False), None)
            if found is None or name not in found.tags:
                message = f"No tag with key {name!r} found for model with ID {model.model_id!r}."
                raise TrackingError(message, "RESOURCE_DOES_NOT_EXIST")
        self.journal.append(ModelTagsSet(model.model_id, ((name, None),)))
        model.tags.pop(name, None)

    def log_logged_model_params(self, model_id: str, params: object) -> None:
        """Log params of a model, each once: the same value again is fine (a server refuses that too).

        Raises:
            TrackingError: BAD_REQUEST for another value than the one logged before; INVALID_PARAMETER_VALUE, also for
                an unknown or deleted model (as MLflow's client says). Then nothing was written.
        """
        checked = inputs.model_params(params, self._long)
        model = self._living_model(model_id)
        with self.known.lock:
            new = {}
            for key, value in checked.items():
                old = model.params.get(key)
                if old is not None and old != value:
                    raise TrackingError(
                        f"Changing param values is not allowed. Param with key={key!r} was already logged with "
                        f"value={shown(old)} for model {model.model_id}. Attempted logging new value {shown(value)}.",
                        "BAD_REQUEST",
                    )
                if old is None:
                    new[key] = value
            if new:
                self.journal.append(ModelParamsLogged(model.model_id, tuple(new.items())))
                model.params.update(new)

    def find_logged_model(self, experiment_id: str, name: str) -> LoggedModel | None:
        """The youngest model of that name in an experiment that is not deleted, or None.

        Raises:
            TrackingError: not a model's name.
        """
        wanted = inputs.model_name(name)
        none: list[ModelEntry] = []
        entries = self._ask(lambda catalog: catalog.model_index(refresh=False), otherwise=none)
        ids = [one.model_id for one in entries if (one.experiment_id, one.name) == (experiment_id, wanted)]
        own = [one for one in self.known.models.values() if (one.experiment_id, one.name) == (experiment_id, wanted)]
        ids += [one.model_id for one in own if one.model_id not in ids]
        living = [model for model in map(self._model, ids) if not model.deleted]
        return max(living, key=lambda model: model.created).model() if living else None

    def _measured_model(self, model_id: object) -> str:
        """The id of a model that a metric may be logged to.

        Raises:
            TrackingError: BAD_REQUEST, as MLflow's SQL store answers for a model that it does not have.
        """
        if type(model_id) is str and model_id in self.known.models:
            return model_id
        try:
            return self._model(model_id).model_id
        except TrackingError as error:
            raise TrackingError(
                f"Model {shown(model_id)} is not in this store, so no metric can be logged to it",
                "BAD_REQUEST",
                hint="create_logged_model or initialize_logged_model makes one.",
            ) from error
