"""Datasets and models that go into runs and come out of them: service and pure checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from localtrack import inputs
from localtrack.data import MetaDataset
from localtrack.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric
from localtrack.errors import TrackingError
from localtrack.journal.ops import RunInputs, RunModelLogged, RunOutputs
from localtrack.service import Service
from tests.unit.api.journals import another, code, ops_in

TRAIN = Dataset("train", "v1", "s3", '{"uri": "s3://b/train"}', None, '{"num_rows": 3}')
MODEL = "m-" + "a" * 32


def links(service: Service) -> list[object]:
    """Ops about inputs, outputs and log_model, in order."""
    return [op for op in ops_in(service.store.path) if isinstance(op, RunInputs | RunOutputs | RunModelLogged)]


def test_inputs_are_one_record_and_read_back(service: Service) -> None:
    """Datasets with tags and models of one call are one record, and another process reads them."""
    run_id = service.create_run("0").info.run_id
    given = DatasetInput(TRAIN, (InputTag("mlflow.data.context", "training"), InputTag("a", "1")))
    service.log_inputs(run_id, [given], [LoggedModelInput(MODEL)])
    assert len(links(service)) == 1
    found = another(service).get_run(run_id).inputs
    assert found.dataset_inputs == (given,)
    assert found.model_inputs == (LoggedModelInput(MODEL),)


def test_the_first_input_of_a_dataset_counts(service: Service) -> None:
    """The same name and digest again, in one call or another, in this process or another, changes nothing."""
    run_id = service.create_run("0").info.run_id
    other = Dataset("train", "v1", "local", '{"uri": "elsewhere"}')
    service.log_inputs(run_id, [DatasetInput(TRAIN), DatasetInput(other)])
    service.log_inputs(run_id, [other], [MODEL])
    service.log_inputs(run_id, [other], [MODEL])
    another(service).log_inputs(run_id, [other], [MODEL])
    assert len(links(service)) == 2
    assert another(service).get_run(run_id).inputs.dataset_inputs == (DatasetInput(TRAIN),)


def test_no_inputs_write_nothing(service: Service) -> None:
    """A call without datasets and models is fine and leaves no record; of a missing run it is an error."""
    service.log_inputs(service.create_run("0").info.run_id)
    service.log_inputs(service.create_run("0").info.run_id, [], [])
    assert links(service) == []
    with pytest.raises(TrackingError) as caught:
        service.log_inputs("f" * 32, [])
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 501},
        {"digest": "x" * 37},
        {"source": "x" * 65_536},
        {"schema": "x" * 1_048_576},
        {"profile": "x" * 16_777_216},
        {"name": None},
        {"digest": None},
        {"source": None},
        {"source_type": None},
        {"name": 7},
        {"name": "a\0b"},
        {"source": "\ud800"},
    ],
    ids=lambda change: f"{next(iter(change))} {str(next(iter(change.values())))[:5]!a}",
)
def test_a_bad_dataset_is_refused_and_nothing_is_written(service: Service, change: dict[str, Any]) -> None:
    """Missing fields, MLflow's length limits and unstorable text: INVALID_PARAMETER_VALUE, also beside good ones."""
    run_id = service.create_run("0").info.run_id
    fields = {"name": "n", "digest": "d", "source_type": "s", "source": "x", "schema": None, "profile": None}
    with pytest.raises(TrackingError) as caught:
        service.log_inputs(run_id, [TRAIN, Dataset(**(fields | change))], [MODEL])
    assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert links(service) == []


@pytest.mark.parametrize(
    "tags", [[InputTag("x" * 256, "")], [InputTag("x", "y" * 501)], {"a": None}, {"": 1}, ["a"], "tags", 7]
)
def test_bad_input_tags_are_refused(tags: object) -> None:
    """Keys over 255 and values over 500 characters, empty keys, None and what are no tags."""
    with pytest.raises(TrackingError):
        inputs.dataset_row(TRAIN, tags)


@pytest.mark.parametrize("given", [None, 7, "train", object(), {"name": "n"}])
def test_what_is_no_dataset_is_refused(given: object) -> None:
    """Only objects with the fields of a dataset, or a way to get at them, are taken."""
    with pytest.raises(TrackingError):
        inputs.dataset_row(given)


def test_datasets_are_taken_by_what_they_can_do() -> None:
    """MLflow's Dataset (_to_mlflow_entity), its older form (to_dict) and an entity give the same row."""

    class Theirs:
        name, digest = "train", "v1"

        def to_dict(self) -> dict[str, str | None]:
            return {
                "name": "train",
                "digest": "v1",
                "source_type": "s3",
                "source": TRAIN.source,
                "profile": TRAIN.profile,
            }

    class Newer(Theirs):
        def _to_mlflow_entity(self) -> Dataset:
            return TRAIN

    rows = {inputs.dataset_row(given, {"a": 1}) for given in (TRAIN, Theirs(), Newer())}
    assert rows == {("train", "v1", "s3", TRAIN.source, None, TRAIN.profile, (("a", "1"),))}


def test_outputs_have_one_step(service: Service) -> None:
    """A model comes out of a run once: the same again is fine, another step is BAD_REQUEST and writes nothing."""
    run_id = service.create_run("0").info.run_id
    service.log_outputs(run_id, [LoggedModelOutput(MODEL, 3), LoggedModelOutput("m-b", 0)])
    service.log_outputs(run_id, [LoggedModelOutput(MODEL, 3)])
    for writer in (service, another(service)):
        with pytest.raises(TrackingError) as caught:
            writer.log_outputs(run_id, [LoggedModelOutput("m-c", 1), LoggedModelOutput(MODEL, 4)])
        assert code(caught) == "BAD_REQUEST"
    with pytest.raises(TrackingError) as caught:
        service.log_outputs(run_id, [LoggedModelOutput("m-d", 1), LoggedModelOutput("m-d", 2)])
    assert code(caught) == "BAD_REQUEST"
    assert links(service) == [RunOutputs(run_id, ((MODEL, 3), ("m-b", 0)))]
    assert set(another(service).get_run(run_id).outputs.model_outputs) == {
        LoggedModelOutput(MODEL, 3),
        LoggedModelOutput("m-b", 0),
    }


@pytest.mark.parametrize("given", [[LoggedModelOutput("", 1)], [LoggedModelOutput("../m", 1)], [MODEL], MODEL, 7])
def test_bad_outputs_are_refused(given: object) -> None:
    """An output is an object with a model id that cannot be a path, and a step."""
    with pytest.raises(TrackingError):
        inputs.model_outputs(given)


def test_log_model_appends_to_the_history(service: Service) -> None:
    """Each call of the deprecated log_model adds what a server would add: no config, no signature; in order."""
    run_id = service.create_run("0").info.run_id
    flavors = {"sklearn": {"version": "1", "config": {"secret": 1}}, "odd": "text"}
    for path in ("first", "second"):
        mlmodel = {"artifact_path": path, "flavors": flavors, "utc_time_created": "t", "run_id": run_id, "more": 1}
        service.log_model(run_id, json.dumps(mlmodel) if path == "first" else mlmodel)
    told = json.loads(another(service).get_run(run_id).data.tags["mlflow.log-model.history"])
    assert [entry["artifact_path"] for entry in told] == ["first", "second"]
    assert told[0]["flavors"] == {"sklearn": {"version": "1"}, "odd": "text"}
    assert "more" not in told[0]


@pytest.mark.parametrize("given", ["{", "[]", "{}", 7, None, {"artifact_path": "a"}])
def test_a_bad_mlmodel_is_refused(service: Service, given: object) -> None:
    """What is no JSON object, or lacks the fields that a server asks for, is INVALID_PARAMETER_VALUE."""
    run_id = service.create_run("0").info.run_id
    with pytest.raises(TrackingError) as caught:
        service.log_model(run_id, given)
    assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert links(service) == []


def test_a_dataset_is_recorded_once_however_often_it_is_measured_on(service: Service) -> None:
    """A thousand points on one dataset are a thousand points and one input; its schema is looked at once."""
    run_id = service.create_run("0").info.run_id
    looks = []

    class Costly(MetaDataset):
        @property
        def schema(self) -> Any:
            looks.append(1)

    dataset = Costly("s3://b/x", "big", "v1")
    for step in range(1000):
        service.log_measured(run_id, {"m": 1.0}, None, step, [None], dataset)
    assert len(looks) == len(links(service)) == 1
    history = another(service).list_metric_history(run_id, "m")
    assert len(history) == 1000
    assert {(point.dataset_name, point.dataset_digest) for point in history} == {("big", "v1")}


def test_bad_points_leave_no_input(service: Service) -> None:
    """When a value, a step or a model is refused, neither the point nor the dataset is written."""
    run_id = service.create_run("0").info.run_id
    bad: list[tuple[dict[str, Any], Any, list[Any]]] = [
        ({"m": None}, 0, [None]),
        ({"m": 1.0}, 0.5, [None]),
        ({"m@": 1.0}, 0, [None]),
        ({"m": 1.0}, 0, ["m-unknown"]),
    ]
    for metrics, step, models in bad:
        with pytest.raises(TrackingError):
            service.log_measured(run_id, metrics, None, step, models, TRAIN)
    assert [type(op).__name__ for op in ops_in(service.store.path)] == ["RunCreate"]


def test_inputs_need_an_active_run(service: Service) -> None:
    """Nothing is linked to a deleted run."""
    run_id = service.create_run("0").info.run_id
    service.delete_run(run_id)
    calls: list[Callable[[], object]] = [
        lambda: service.log_inputs(run_id, [TRAIN]),
        lambda: service.log_outputs(run_id, [LoggedModelOutput(MODEL, 1)]),
        lambda: service.log_all(run_id, [Metric("m", 1.0, 1)]),
    ]
    for call in calls:
        with pytest.raises(TrackingError) as caught:
            call()
        assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert links(service) == []
