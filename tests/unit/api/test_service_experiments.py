from __future__ import annotations

from collections.abc import Callable

import pytest

from localtrack.entities import ViewType
from localtrack.errors import TrackingError
from localtrack.service import Service
from localtrack.service.experiments import experiment_id_of
from tests.unit.api.journals import another, code


def test_experiment_ids_are_derived_from_the_name(service: Service) -> None:
    """Machines that never met agree on the id; it has 18 digits, the first not 0; Default is 0."""
    assert service.create_experiment("mnist") == experiment_id_of("mnist")
    assert experiment_id_of("Default") == "0"
    for name in ("mnist", "", "é", "x" * 500):
        assert len(str(int(experiment_id_of(name)))) == 18
    assert experiment_id_of("a") != experiment_id_of("a", 1)
    assert experiment_id_of("mnist") == "900393046759720960"


def test_a_taken_name_is_refused_deleted_ones_too(service: Service) -> None:
    """RESOURCE_ALREADY_EXISTS for a name in the store, also a deleted one, also Default, also for another process."""
    experiment_id = service.create_experiment("a")
    for deleted in (False, True):
        if deleted:
            service.delete_experiment(experiment_id)
        for one in (service, another(service)):
            with pytest.raises(TrackingError) as caught:
                one.create_experiment("a")
            assert code(caught) == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(TrackingError) as caught:
        service.create_experiment("Default")
    assert code(caught) == "RESOURCE_ALREADY_EXISTS"


def test_a_name_that_became_free_gets_another_id(service: Service) -> None:
    """After a rename the old name can be used again, and the new experiment is not the renamed one."""
    first = service.create_experiment("a")
    service.update_experiment(first, "b")
    second = service.create_experiment("a")
    assert second == experiment_id_of("a", 1)
    seen = another(service)
    assert (seen.get_experiment(first).name, seen.get_experiment(second).name) == ("b", "a")
    assert seen.get_experiment_by_name("a").experiment_id == second


def test_experiments_are_read_back(service: Service) -> None:
    """What was created, tagged, renamed, deleted and restored is what any process of the store reads."""
    experiment_id = service.create_experiment("a", "s3://bucket/x", {"team": 7})
    service.set_experiment_tag(experiment_id, "note", "é")
    service.set_experiment_tag(experiment_id, "gone", "x")
    service.delete_experiment_tag(experiment_id, "gone")
    service.update_experiment(experiment_id, "b")
    found = another(service).get_experiment(experiment_id)
    assert (found.name, found.artifact_location, found.tags) == ("b", "s3://bucket/x", {"team": "7", "note": "é"})
    service.delete_experiment(experiment_id)
    assert another(service).get_experiment(experiment_id).lifecycle_stage == "deleted"
    service.restore_experiment(experiment_id)
    assert another(service).get_experiment(experiment_id).lifecycle_stage == "active"


def test_experiment_errors_are_those_of_the_server(service: Service) -> None:
    """Missing, deleted and taken experiments answer with the server's error codes."""
    a, b = service.create_experiment("a"), service.create_experiment("b")
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: service.get_experiment("12345"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.get_experiment_by_name("zzz"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.delete_experiment("12345"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.restore_experiment(a), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.update_experiment(a, "b"), "RESOURCE_ALREADY_EXISTS"),
        (lambda: service.delete_experiment_tag(a, "none"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.create_experiment("c", artifact_location="runs:/x"), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_experiment("c", tags={"a@b": 1}), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_experiment("c", tags=["t"]), "INVALID_PARAMETER_VALUE"),  # type: ignore[arg-type]
    ]
    for refused, expected in refusals:
        with pytest.raises(TrackingError) as caught:
            refused()
        assert code(caught) == expected
    service.delete_experiment(b)
    refusals = [
        (lambda: service.delete_experiment(b), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.update_experiment(b, "c"), "INVALID_STATE"),
        (lambda: service.set_experiment_tag(b, "k", "v"), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_run(b), "INVALID_PARAMETER_VALUE"),
    ]
    for refused, expected in refusals:
        with pytest.raises(TrackingError) as caught:
            refused()
        assert code(caught) == expected
    service.update_experiment(a, "a")  # the same name again is fine


def test_experiments_are_paged(service: Service) -> None:
    """Pages are disjoint, together complete, and follow the view type."""
    ids = [service.create_experiment(f"e{i}") for i in range(7)]
    service.delete_experiment(ids[0])
    page = service.list_experiments(max_results=3)
    assert len(page) == 3
    found = [e.experiment_id for e in service.list_experiments_iter()]
    assert sorted(found) == sorted([*ids[1:], "0"])
    assert [e.experiment_id for e in service.search_experiments_iter(view_type=ViewType.DELETED_ONLY)] == [ids[0]]
    assert len(list(service.list_experiments_iter(ViewType.ALL))) == 8
    assert [e.name for e in service.search_experiments("name LIKE 'e%'", ["name ASC"])] == [
        f"e{i}" for i in range(1, 7)
    ]
