"""Logged models in the service."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack import identity
from localtrack.entities import Experiment, LoggedModel, LoggedModelTag, Metric
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import LogBatch, ModelCreate, ModelParamsLogged, ModelTagsSet
from localtrack.service import Service, service_for
from localtrack.service.known import ENDED_REMEMBERED, KnownModel
from localtrack.settings import load
from localtrack.store import Store
from tests.unit.api.journals import another, code, logged, ops_in

UNKNOWN = "m-" + "0" * 32


def test_a_model_has_what_it_was_given(service: Service) -> None:
    """Name, type, source run, params and tags are there, here and in another process, under a new id; it is PENDING."""
    run_id = service.create_run("0").info.run_id
    model = service.create_logged_model("0", "net", "classifier", run_id, {"lr": 0.1}, {"t": None})
    assert re.fullmatch(r"m-[0-9a-f]{32}", model.model_id)
    found = another(service).get_logged_model(model.model_id)
    assert found == model == service.get_logged_model(model.model_id)
    assert (found.name, found.model_type, found.source_run_id, found.status) == ("net", "classifier", run_id, "PENDING")
    assert (found.params, found.tags) == ({"lr": "0.1"}, {"t": "None"})
    assert found.artifact_location == f"{service.store.path}/artifacts/0/models/{model.model_id}/artifacts"


def test_a_name_is_made_when_none_is_given(service: Service) -> None:
    """A model without a name gets one like a run's, and two models may have one name."""
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", service.create_logged_model("0").name)
    assert service.create_logged_model("0", "a").model_id != service.create_logged_model("0", "a").model_id


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", 7, "x" * 501, "a\0"])
def test_bad_names_are_refused(service: Service, name: object) -> None:
    """MLflow's forbidden characters, and what its column cannot hold: nothing is written."""
    with pytest.raises(TrackingError) as caught:
        service.create_logged_model("0", name)  # type: ignore[arg-type]
    assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert ops_in(service.store.path) == []


def test_a_model_needs_an_active_experiment(service: Service) -> None:
    """Unknown: RESOURCE_DOES_NOT_EXIST; deleted: INVALID_PARAMETER_VALUE."""
    gone = service.create_experiment("gone")
    service.delete_experiment(gone)
    for experiment_id, expected in (("987654", "RESOURCE_DOES_NOT_EXIST"), (gone, "INVALID_PARAMETER_VALUE")):
        with pytest.raises(TrackingError) as caught:
            service.create_logged_model(experiment_id)
        assert code(caught) == expected


def test_params_of_a_model_never_change(service: Service) -> None:
    """The same again writes nothing; another value is BAD_REQUEST, here and in another process, and writes nothing."""
    model_id = service.create_logged_model("0", params={"a": 1}).model_id
    service.log_logged_model_params(model_id, {"a": "1", "b": 2})
    service.log_logged_model_params(model_id, {"a": 1, "b": 2})
    for writer in (service, another(service)):
        with pytest.raises(TrackingError) as caught:
            writer.log_logged_model_params(model_id, {"c": 1, "b": 3})
        assert code(caught) == "BAD_REQUEST"
    written = [op for op in ops_in(service.store.path) if isinstance(op, ModelParamsLogged)]
    assert written == [ModelParamsLogged(model_id, (("b", "2"),))]
    assert another(service).get_logged_model(model_id).params == {"a": "1", "b": "2"}


def test_tags_of_a_model_can_be_set_and_deleted(service: Service) -> None:
    """The last value wins, also within one call; deleting what is not there is RESOURCE_DOES_NOT_EXIST."""
    model_id = service.create_logged_model("0", tags={"a": 1}).model_id
    service.set_logged_model_tags(model_id, [LoggedModelTag("b", "1"), LoggedModelTag("b", "2")])
    another(service).set_logged_model_tags(model_id, {"c": 3})
    service.delete_logged_model_tag(model_id, "a")
    service.delete_logged_model_tag(model_id, "c")  # the other process set it
    with pytest.raises(TrackingError) as caught:
        service.delete_logged_model_tag(model_id, "a")
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
    assert another(service).get_logged_model(model_id).tags == {"b": "2"}
    service.set_logged_model_tags(model_id, {})
    assert len([op for op in ops_in(service.store.path) if isinstance(op, ModelTagsSet)]) == 4


def test_a_model_is_finalized_and_deleted(service: Service) -> None:
    """Any status may follow any other, as on a server; a deleted model is not found, and deleting it again is fine."""
    model_id = service.create_logged_model("0").model_id
    for status in ("READY", "FAILED", "PENDING", "READY"):
        assert service.finalize_logged_model(model_id, status).status == status
        assert another(service).get_logged_model(model_id).status == status
    for bad in ("UNSPECIFIED", "ready", None, 2):
        with pytest.raises(TrackingError):
            service.finalize_logged_model(model_id, bad)  # type: ignore[arg-type]
    service.delete_logged_model(model_id)
    service.delete_logged_model(model_id)
    fresh = another(service)
    for reader in (service, fresh):
        with pytest.raises(TrackingError) as caught:
            reader.get_logged_model(model_id)
        assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(TrackingError, match="deleted"):
            reader.set_logged_model_tags(model_id, {"a": 1})
        with pytest.raises(TrackingError, match="deleted"):
            reader.log_logged_model_params(model_id, {"a": 1})
    assert fresh.finalize_logged_model(model_id, "FAILED").status == "FAILED"


CALLS: list[tuple[Callable[[Service], object], str]] = [
    (lambda service: service.get_logged_model(UNKNOWN), "RESOURCE_DOES_NOT_EXIST"),
    (lambda service: service.finalize_logged_model(UNKNOWN, "READY"), "RESOURCE_DOES_NOT_EXIST"),
    (lambda service: service.delete_logged_model(UNKNOWN), "RESOURCE_DOES_NOT_EXIST"),
    (lambda service: service.delete_logged_model_tag(UNKNOWN, "a"), "RESOURCE_DOES_NOT_EXIST"),
    (lambda service: service.set_logged_model_tags(UNKNOWN, {"a": 1}), "INVALID_PARAMETER_VALUE"),
    (lambda service: service.log_logged_model_params(UNKNOWN, {"a": 1}), "INVALID_PARAMETER_VALUE"),
    (lambda service: service.get_logged_model(""), "INVALID_PARAMETER_VALUE"),
    (lambda service: service.get_logged_model("../m"), "INVALID_PARAMETER_VALUE"),
    (lambda service: service.get_logged_model(7), "INVALID_PARAMETER_VALUE"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_unknown_models_are_refused(service: Service, call: Callable[[Service], object], expected: str) -> None:
    """Every call about a model that the store does not have ends with MLflow's code, and writes nothing."""
    with pytest.raises(TrackingError) as caught:
        call(service)
    assert code(caught) == expected
    assert ops_in(service.store.path) == []


@pytest.mark.parametrize(
    "params",
    [{"": 1}, {"x" * 251: 1}, {"a": "\0"}, "a=1", 7, [1], [LoggedModelTag("a", "1"), LoggedModelTag("a", "1")]],
)
def test_bad_params_of_models_are_refused(service: Service, params: object) -> None:
    """Keys have 1 to 250 characters, values are text that can be stored, and no key comes twice."""
    with pytest.raises(TrackingError) as caught:
        service.create_logged_model("0", params=params)
    assert code(caught) == "INVALID_PARAMETER_VALUE"


def test_metrics_can_name_a_model(service: Service) -> None:
    """One point, several, and a batch are recorded with the model, and the model shows its latest points."""
    run_id = service.create_run("0").info.run_id
    model_id = service.create_logged_model("0").model_id
    service.log_metric(run_id, "a", 1.0, 1, 1, model_id)
    service.log_metric(run_id, "a", 2.0, 2, 2, model_id, "d", "v")
    service.log_metrics(run_id, {"a": 3.0}, 3, 3, model_id)
    service.log_all(run_id, [Metric("b", 4.0, 4, 4, model_id), Metric("c", 5.0, 5, 5)])
    assert [[m.model_id for m in batch.metrics] for batch in logged(service.store.path)] == [
        [model_id],
        [model_id],
        [model_id],
        [model_id, None],
    ]
    found = another(service).get_logged_model(model_id)
    assert sorted((m.key, m.value, m.dataset_name or "") for m in found.metrics) == [
        ("a", 2.0, "d"),
        ("a", 3.0, ""),
        ("b", 4.0, ""),
    ]
    another(service).log_metric(run_id, "a", 6.0, 6, 6, model_id)  # a process that did not make it may log to it
    assert another(service).get_run(run_id).data.metrics == {"a": 6.0, "b": 4.0, "c": 5.0}


@pytest.mark.parametrize("model_id", [UNKNOWN, "no id!", "", 7])
def test_metrics_for_an_unknown_model_are_refused(service: Service, model_id: object) -> None:
    """BAD_REQUEST, as from MLflow's SQL store, and (unlike there) the whole call is refused."""
    run_id = service.create_run("0").info.run_id
    good = service.create_logged_model("0").model_id
    calls: list[Callable[[], object]] = [
        lambda: service.log_metric(run_id, "a", 1.0, model_id=model_id),  # type: ignore[arg-type]
        lambda: service.log_metrics(run_id, {"a": 1.0}, model_id=model_id),  # type: ignore[arg-type]
        lambda: service.log_all(run_id, [Metric("a", 1.0, 1, 0, good), Metric("b", 1.0, 1, 0, model_id)]),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(TrackingError) as caught:
            call()
        assert code(caught) == "BAD_REQUEST" or (model_id == 7 and code(caught) == "INVALID_PARAMETER_VALUE")
    assert not any(isinstance(op, LogBatch) for op in ops_in(service.store.path))


def test_a_model_of_this_process_needs_no_catalog(service: Service) -> None:
    """Everything can be done to a model that this process made without the catalog being opened."""
    run_id = service.create_run("0").info.run_id
    model_id = service.create_logged_model("0", params={"a": 1}).model_id
    fresh = Service(service.store, service.settings)
    fresh.log_metric(run_id, "m", 1.0, model_id=model_id)
    fresh.log_metrics(run_id, {"m": 1.0}, model_id=model_id)
    fresh.log_measured(run_id, {"m": 1.0}, None, None, [model_id])
    fresh.log_logged_model_params(model_id, {"a": 1, "b": 2})
    fresh.set_logged_model_tags(model_id, {"t": 1})
    fresh.delete_logged_model_tag(model_id, "t")
    fresh.finalize_logged_model(model_id, "READY")
    assert fresh._catalog is None


def test_models_go_on_without_a_disk(home: Path) -> None:
    """With a store that cannot be made, models are made, measured and finalized; what is known here still holds."""
    (home / "store").write_text("")
    service = Service(Store.at(home / "store"), load({"HOME": str(home)}))
    run_id = service.create_run("0").info.run_id
    model = service.create_logged_model("0", "net", params={"a": 1})
    service.log_metric(run_id, "m", 1.0, model_id=model.model_id)
    service.log_inputs(run_id, models=[model.model_id])
    service.finalize_logged_model(model.model_id, "READY")
    with pytest.raises(TrackingError):
        service.log_logged_model_params(model.model_id, {"a": 2})
    found = service.get_logged_model(model.model_id)
    assert (found.name, found.status, found.params) == ("net", "READY", {"a": "1"})
    service.log_metric(run_id, "m", 2.0, model_id=UNKNOWN)  # another process's model: taken at the caller's word
    with pytest.raises(StoreError):
        service.get_logged_model("m-" + "1" * 32)


def test_strict_raises_for_models_too(home: Path) -> None:
    """With strict the same trouble is a StoreError in the caller's stack."""
    (home / "store").write_text("")
    service = Service(Store.at(home / "store"), load({"HOME": str(home), "LOCALTRACK_STRICT": "1"}))
    with pytest.raises(StoreError):
        service.create_logged_model("0")


def test_a_model_carries_its_remote_with_a_proof(home: Path) -> None:
    """A model under an http URI names that remote, with this user's proof for the model's id."""
    service = service_for("https://host:5000/x", load({"HOME": str(home), "LOCALTRACK_STORE": str(home / "s")}))
    model_id = service.create_logged_model("0").model_id
    create = next(op for op in ops_in(str(home / "s")) if isinstance(op, ModelCreate))
    assert create.remote == "https://host:5000/x"
    assert identity.verify(model_id, create.remote, create.remote_proof, service.settings.identity_key)


def test_the_youngest_model_of_a_name_is_found(service: Service) -> None:
    """By experiment and name, deleted ones apart, those of this process and of others; of several the youngest."""
    elsewhere: Experiment = service.get_or_create_experiment("elsewhere")
    service.create_logged_model(elsewhere.experiment_id, "net")
    assert service.find_logged_model("0", "net") is None
    made: list[LoggedModel] = []
    for writer in (service, another(service)):
        writer._clock = lambda: 1_700_000_000_000 + len(made)
        made.append(writer.create_logged_model("0", "net"))
    youngest = max(made, key=lambda model: model.creation_timestamp)
    found = another(service).find_logged_model("0", "net")
    assert found is not None
    assert found.creation_timestamp == youngest.creation_timestamp
    for model in made:
        service.delete_logged_model(model.model_id)
    assert service.find_logged_model("0", "net") is None
    assert another(service).find_logged_model("0", "net") is None


def test_finalized_models_are_not_remembered_for_ever(service: Service) -> None:
    """A process that makes many models keeps the last thousand finalized ones in memory, and still knows the others."""
    first = service.create_logged_model("0", params={"a": 1}).model_id
    pending = service.create_logged_model("0").model_id
    service.finalize_logged_model(first, "READY")
    for i in range(ENDED_REMEMBERED):
        service.known.models[f"m-{i}"] = KnownModel(f"m-{i}", "0", "", "", 1, 1, status="READY")
        service.known.finalized(f"m-{i}")
    assert first not in service.known.models
    assert pending in service.known.models
    assert len(service.known.models) == ENDED_REMEMBERED + 1
    with pytest.raises(TrackingError) as caught:
        service.log_logged_model_params(first, {"a": 2})
    assert code(caught) == "BAD_REQUEST"
