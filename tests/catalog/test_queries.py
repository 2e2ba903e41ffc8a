"""What the catalog answers: MLflow's orders, pages that stay stable, histories, lifecycle."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.entities import LifecycleStage, Metric, Param, Run, RunStatus, RunTag, ViewType
from localtrack.errors import TrackingError
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store

MS = 1_700_000_000_000
OpenJournal = Callable[[int], Journal]


def run_id(number: int) -> str:
    """A run id."""
    return f"{number:032x}"


def create(journal: Journal, number: int, start_time: int = MS, experiment_id: str = "7") -> str:
    """Record a run."""
    journal.append(ops.RunCreate(run_id(number), experiment_id, f"run-{number}", "me", start_time))
    return run_id(number)


def ids(runs: list[Run]) -> list[str]:
    """Run ids of runs."""
    return [run.info.run_id for run in runs]


def test_an_empty_store_has_the_default_experiment(catalog: Catalog) -> None:
    """Experiment "0" named "Default" exists before anything was logged, and nothing else does."""
    default = catalog.experiment("0")
    assert default is not None
    assert (default.name, default.lifecycle_stage) == ("Default", "active")
    assert catalog.experiment_by_name("Default") == default
    assert list(catalog.experiments(ViewType.ALL, 10)) == [default]
    assert catalog.experiment("1") is None
    assert catalog.run(run_id(1)) is None
    assert catalog.runs(["0"], ViewType.ALL, 10) == []
    assert catalog.run_index() == []


def test_a_store_that_does_not_exist_reads_as_empty_and_is_not_made(store: Store) -> None:
    """Reading a store that is not there makes no directory."""
    missing = Store.at(store.path + "-missing")
    with Catalog(missing) as catalog:
        assert catalog.experiment("0") is not None
        assert catalog.run_index() == []
        missing.make()
        with_run = Journal(missing, strict=True)
        create(with_run, 1)
        assert ids(catalog.runs(["7"], ViewType.ALL, 10)) == [run_id(1)]
        with_run.close()


def test_the_default_experiment_can_be_renamed_and_deleted_without_a_creation(
    catalog: Catalog, open_journal: OpenJournal
) -> None:
    """Ops on experiment 0 count although nobody created it."""
    journal = open_journal(MS)
    journal.append(ops.ExperimentRename("0", "Base"))
    journal.append(ops.ExperimentLifecycle("0", deleted=True))
    found = catalog.experiment("0")
    assert found is not None
    assert (found.name, found.lifecycle_stage) == ("Base", "deleted")


def test_a_run_is_shown_with_everything_that_was_logged(
    catalog: Catalog, store: Store, open_journal: OpenJournal
) -> None:
    """Info, latest metrics, params and tags of a run, with the artifact URI in the store."""
    journal = open_journal(MS)
    one = create(journal, 1, start_time=5)
    journal.append_batch(
        one,
        [Metric("loss", 2.0, 10, 1), Metric("loss", math.nan, 5, 2), Metric("acc", math.inf, 1, 0)],
        [Param("lr", "0.1")],
        [RunTag("stage", "x")],
    )
    journal.append(ops.RunUpdate(one, RunStatus.FINISHED, 99))
    run = catalog.run(one)
    assert run is not None
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 5, 99)
    assert run.info.artifact_uri == f"{store.path}/artifacts/7/{one}/artifacts"
    assert math.isnan(run.data.metrics["loss"])
    assert run.data.metrics["acc"] == math.inf
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags == {"stage": "x", "mlflow.runName": "run-1"}


def test_run_name_and_name_tag_are_one(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Setting mlflow.runName renames the run and the reverse; "" changes neither; deleting the tag leaves the name."""
    journal = open_journal(MS)
    one = create(journal, 1)

    def name_and_tag() -> tuple[str, str | None]:
        run = catalog.run(one)
        assert run is not None
        return run.info.run_name, run.data.tags.get("mlflow.runName")

    assert name_and_tag() == ("run-1", "run-1")
    journal.append_batch(one, [], [], [RunTag("mlflow.runName", "by tag")])
    assert name_and_tag() == ("by tag", "by tag")
    journal.append_batch(one, [], [], [RunTag("mlflow.runName", "")])
    assert name_and_tag() == ("by tag", "by tag")
    journal.append(ops.RunUpdate(one, name="by update"))
    assert name_and_tag() == ("by update", "by update")
    journal.append_batch(one, [], [], [], ["mlflow.runName"])
    assert name_and_tag() == ("by update", None)
    journal.append(ops.RunUpdate(one, name="again"))
    assert name_and_tag() == ("again", "again")


def test_an_experiment_takes_its_runs_along_and_brings_all_of_them_back(
    catalog: Catalog, open_journal: OpenJournal
) -> None:
    """Deleting an experiment deletes its runs, restoring it restores all, also one deleted before; later ops count."""
    journal = open_journal(MS)
    journal.append(ops.ExperimentCreate("7", "seven"))
    one, two = create(journal, 1), create(journal, 2)
    journal.append(ops.RunLifecycle(two, deleted=True))

    def stages() -> list[str]:
        return [run.info.lifecycle_stage for run in catalog.runs(["7"], ViewType.ALL, 10)]

    assert stages() == ["active", "deleted"]
    journal.append(ops.ExperimentLifecycle("7", deleted=True))
    assert stages() == ["deleted", "deleted"]
    journal.append(ops.ExperimentLifecycle("7", deleted=False))
    assert stages() == ["active", "active"]
    journal.append(ops.RunLifecycle(one, deleted=True))
    assert stages() == ["deleted", "active"]
    assert ids(catalog.runs(["7"], ViewType.DELETED_ONLY, 10)) == [one]
    assert ids(catalog.runs(["7"], ViewType.ACTIVE_ONLY, 10)) == [two]


def test_a_machine_that_did_not_know_of_a_deletion_brings_the_experiment_back_but_not_the_old_runs(
    catalog: Catalog, open_journal: OpenJournal
) -> None:
    """A later creation of the same experiment elsewhere makes it active again; runs deleted with it stay deleted."""
    here, elsewhere = open_journal(MS), open_journal(MS + 10_000)
    here.append(ops.ExperimentCreate("7", "seven"))
    create(here, 1)
    here.append(ops.ExperimentLifecycle("7", deleted=True))
    elsewhere.append(ops.ExperimentCreate("7", "seven"))
    create(elsewhere, 2)
    found = catalog.experiment("7")
    assert found is not None
    assert found.lifecycle_stage == LifecycleStage.ACTIVE
    assert ids(catalog.runs(["7"], ViewType.ACTIVE_ONLY, 10)) == [run_id(2)]
    assert ids(catalog.runs(["7"], ViewType.DELETED_ONLY, 10)) == [run_id(1)]


def test_params_of_the_owner_win_and_the_others_are_kept(catalog: Catalog, open_journal: OpenJournal) -> None:
    """The journal that created the run decides a param, whatever the stamps; other values are kept."""
    late_owner, early = open_journal(MS + 10_000), open_journal(MS)
    one = run_id(1)
    early.append_batch(one, [], [Param("lr", "0.01"), Param("same", "s")])
    create(late_owner, 1)
    late_owner.append_batch(one, [], [Param("lr", "0.1"), Param("same", "s")])
    desired = catalog.desired_run(one)
    assert desired is not None
    assert desired.params == {"lr": "0.1", "same": "s"}
    (conflict,) = desired.param_conflicts
    assert (conflict.key, conflict.winner, conflict.others) == ("lr", "0.1", (("0.01", early.incarnation),))
    assert catalog.run_index()[0].param_conflicts == 1


def test_the_owner_wins_also_when_its_creation_is_imported_last(catalog: Catalog, open_journal: OpenJournal) -> None:
    """A param that was decided by stamp is decided again when the creation tells who owns the run."""
    early, late = open_journal(MS), open_journal(MS + 10_000)
    one = run_id(1)
    early.append_batch(one, [], [Param("lr", "early")], [])
    late.append_batch(one, [], [Param("lr", "late")], [])
    catalog.refresh()
    create(late, 1)
    run = catalog.run(one)
    assert run is not None
    assert run.data.params == {"lr": "late"}


@pytest.mark.parametrize("apart", [True, False])
def test_the_latest_metric_has_the_greatest_step_then_time_then_value(
    catalog: Catalog, open_journal: OpenJournal, apart: bool
) -> None:
    """Whatever the order of logging, and NaN counts as 0, as MLflow has it."""
    journal = open_journal(MS)
    one = create(journal, 1)
    logged = {
        "step": [(9.0, 1, 2), (1.0, 5, 1)],
        "time": [(1.0, 5, 1), (9.0, 4, 1)],
        "value": [(2.0, 1, 1), (1.0, 1, 1)],
        "nan over less": [(math.nan, 1, 1), (-1.0, 1, 1)],
        "nan under more": [(math.nan, 1, 1), (1.0, 1, 1)],
    }
    for key, points in logged.items():
        for order in (points, points[::-1]):
            metrics = [Metric(f"{key}{order == points}", *point) for point in order]
            for batch in [[metric] for metric in metrics] if apart else [metrics]:
                journal.append_batch(one, batch)
                if apart:
                    catalog.refresh()
    run = catalog.run(one)
    assert run is not None
    found = {key: repr(value) for key, value in run.data.metrics.items()}
    expected = {"step": "9.0", "time": "1.0", "value": "2.0", "nan over less": "nan", "nan under more": "1.0"}
    assert found == {f"{key}{first}": value for key, value in expected.items() for first in (True, False)}
    assert [metric.timestamp for metric in catalog.latest(one) if metric.key == "timeTrue"] == [5]


def test_ops_of_a_run_wait_for_its_creation(catalog: Catalog, open_journal: OpenJournal) -> None:
    """What comes before the creation is kept, not listed, counted, and takes effect when the creation comes."""
    other = open_journal(MS)
    one = run_id(1)
    other.append_batch(one, [Metric("loss", 1.0, 1, 0)], [Param("lr", "1")], [RunTag("k", "v")])
    assert catalog.run(one) is None
    assert catalog.desired_run(one) is None
    assert catalog.run_index() == []
    assert catalog.totals().uncreated_runs == 1
    create(open_journal(MS), 1)
    run = catalog.run(one)
    assert run is not None
    assert (run.data.metrics, run.data.params, run.data.tags["k"]) == ({"loss": 1.0}, {"lr": "1"}, "v")
    assert catalog.totals().uncreated_runs == 0


def test_experiments_whose_names_collide_are_both_kept(catalog: Catalog, open_journal: OpenJournal) -> None:
    """By name the first created among the active ones is given; a deleted one only when no other is left."""
    journal = open_journal(MS)
    for number in ("7", "8", "9"):
        journal.append(ops.ExperimentCreate(number, f"name {number}"))
    journal.append(ops.ExperimentRename("8", "same"))
    journal.append(ops.ExperimentRename("7", "same"))

    def by_name() -> str:
        found = catalog.experiment_by_name("same")
        assert found is not None
        return found.experiment_id

    assert by_name() == "7"
    journal.append(ops.ExperimentLifecycle("7", deleted=True))
    assert by_name() == "8"
    journal.append(ops.ExperimentLifecycle("8", deleted=True))
    assert by_name() == "7"
    desired = catalog.desired_experiment("7")
    assert desired is not None
    assert desired.names_ever == ("name 7", "same")


def test_experiment_times_and_tags(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Creation, rename and lifecycle move the update time, tags do not (as in MLflow); deleted tags are named."""
    journal = open_journal(MS)
    journal.append(ops.ExperimentCreate("7", "seven", "s3://bucket", (("a", "1"), ("b", "2"))))
    journal.append(ops.ExperimentRename("7", "siebn"))
    journal.append(ops.ExperimentRename("7", "sieben"))
    journal.append(ops.ExperimentTagSet("7", "a", None))
    journal.append(ops.ExperimentTagSet("7", "b", "3"))
    found, desired = catalog.experiment("7"), catalog.desired_experiment("7")
    assert found is not None
    assert desired is not None
    assert found.tags == desired.tags == {"b": "3"}
    assert (desired.dropped_tags, desired.ever) == (("a",), {"a": ("1",), "b": ("2", "3")})
    assert (found.artifact_location, desired.artifact_location) == ("s3://bucket", "s3://bucket")
    assert found.creation_time is not None
    assert found.last_update_time == found.creation_time + 2


def test_experiments_come_newest_first_in_stable_pages(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Pages of experiments neither skip nor repeat one while newer ones are added."""
    journal = open_journal(MS)
    for number in range(10, 17):
        journal.append(ops.ExperimentCreate(str(number), f"e{number}"))
    journal.append(ops.ExperimentLifecycle("12", deleted=True))
    first = catalog.experiments(ViewType.ACTIVE_ONLY, 3)
    journal.append(ops.ExperimentCreate("99", "newer"))
    second = catalog.experiments(ViewType.ACTIVE_ONLY, 3, first.token)
    third = catalog.experiments(ViewType.ACTIVE_ONLY, 3, second.token)
    found = [each.experiment_id for page in (first, second, third) for each in page]
    assert found == ["16", "15", "14", "13", "11", "10", "0"]
    assert third.token is None


@pytest.mark.parametrize("ascending", [False, True])
def test_runs_come_by_start_time_in_stable_pages(catalog: Catalog, open_journal: OpenJournal, ascending: bool) -> None:
    """Pages over two experiments, with equal start times, stay right while runs are added before and behind."""
    journal = open_journal(MS)
    expected = []
    for number in range(40):
        start = MS + number // 3
        expected.append((start, create(journal, 1000 - number, start, experiment_id=str(7 + number % 2))))
    expected.sort(key=lambda pair: (pair[0] if ascending else -pair[0], pair[1]))
    found: list[str] = []
    token = None
    for page_number in range(10):
        page = catalog.runs(["7", "8", "unknown"], ViewType.ALL, 7, token, ascending=ascending)
        found += ids(page)
        # One at the end that is already behind us: it must not move the following pages.
        create(journal, 5000 + page_number, MS - 1 if ascending else MS + 1000)
        token = page.token
        if token is None:
            break
    assert found == [each for _, each in expected]


def test_runs_of_many_experiments(catalog: Catalog, open_journal: OpenJournal) -> None:
    """More experiments than one statement may name are searched as well."""
    journal = open_journal(MS)
    for number in range(5):
        create(journal, number, MS + number, experiment_id=str(number * 300))
    wanted = [str(number) for number in range(2000)]
    first = catalog.runs(wanted, ViewType.ALL, 3)
    assert ids(first) == [run_id(4), run_id(3), run_id(2)]
    assert ids(catalog.runs(wanted, ViewType.ALL, 3, first.token)) == [run_id(1), run_id(0)]


@pytest.mark.parametrize("token", ["x", "####", "bm90IGpzb24=", "e30=", "WzFd", "WzEsIDIsIDNd", "\udcff", "ÿ"])
def test_what_is_no_page_token_is_refused(catalog: Catalog, open_journal: OpenJournal, token: str) -> None:
    """A bad token raises TrackingError INVALID_PARAMETER_VALUE in each paged query."""
    create(open_journal(MS), 1)
    for ask in (
        lambda: catalog.runs(["7"], ViewType.ALL, 1, token),
        lambda: catalog.experiments(ViewType.ALL, 1, token),
        lambda: catalog.metric_history(run_id(1), "loss", 1, token),
    ):
        with pytest.raises(TrackingError) as caught:
            ask()
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_token_of_another_query_is_refused(catalog: Catalog, open_journal: OpenJournal) -> None:
    """A token belongs to its query: used with another one it raises instead of giving a wrong page."""
    journal = open_journal(MS)
    create(journal, 1)
    create(journal, 2)
    token = catalog.runs(["7"], ViewType.ALL, 1).token
    assert token is not None
    with pytest.raises(TrackingError):
        catalog.runs(["7"], ViewType.ACTIVE_ONLY, 1, token)
    with pytest.raises(TrackingError):
        catalog.runs(["7", "8"], ViewType.ALL, 1, token)


@pytest.mark.parametrize("max_results", [0, -1, 50_001])
def test_a_page_size_out_of_range_is_refused(catalog: Catalog, max_results: int) -> None:
    """1 to 50,000 as on MLflow's server."""
    with pytest.raises(TrackingError):
        catalog.runs(["7"], ViewType.ALL, max_results)


def test_history_has_each_distinct_point_once_in_mlflow_order(catalog: Catalog, open_journal: OpenJournal) -> None:
    """By (timestamp, step, value), equal points once also from two journals, NaN and infinities as they were logged."""
    first, second = open_journal(MS), open_journal(MS)
    one = create(first, 1)
    logged = [
        Metric("loss", 3.0, 2, 0),
        Metric("loss", 1.0, 1, 5),
        Metric("loss", 1.0, 1, 5),
        Metric("loss", math.nan, 1, 4),
        Metric("loss", -math.inf, 1, 4),
        Metric("loss", 1.0, 1, 5, model_id="m-1", dataset_name="d", dataset_digest="x"),
        Metric("other", 9.0, 1, 1),
    ]
    first.append_batch(one, logged)
    second.append_batch(one, logged)
    found = catalog.metric_history(one, "loss")
    assert [(m.timestamp, m.step, repr(m.value), m.model_id, m.dataset_digest) for m in found] == [
        (1, 4, "-inf", None, None),
        (1, 4, "nan", None, None),
        (1, 5, "1.0", None, None),
        (1, 5, "1.0", "m-1", "x"),
        (2, 0, "3.0", None, None),
    ]
    assert {m.run_id for m in found} == {one}
    assert [(m.timestamp, m.step, m.value) for m in catalog.metric_history(one, "other")] == [(1, 1, 9.0)]
    assert catalog.metric_history(one, "none") == catalog.metric_history(run_id(2), "loss") == []


def test_history_pages_are_stable(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Pages of a history join to the whole, also when earlier points arrive between two pages."""
    journal = open_journal(MS)
    one = create(journal, 1)
    journal.append_batch(one, [Metric("loss", float(i % 3), 100 + i // 4, i) for i in range(50)])
    whole = list(catalog.metric_history(one, "loss"))
    joined: list[Metric] = []
    token = None
    for page_number in range(20):
        page = catalog.metric_history(one, "loss", 7, token)
        joined += page
        journal.append_batch(one, [Metric("loss", 1.0, page_number, 0)])
        token = page.token
        if token is None:
            break
    assert joined == whole


def test_points_are_given_beyond_the_watermarks_in_delivery_order(catalog: Catalog, open_journal: OpenJournal) -> None:
    """By (incarnation, position), also equal points, in pieces of any size; heads are what is to be reached."""
    journals = [open_journal(MS), open_journal(MS)]
    one = create(journals[0], 1)
    for step in range(9):
        journals[step % 2].append_batch(one, [Metric("loss", 1.0, 5, 0), Metric("acc", math.nan, 6, step)])
        journals[step % 2].append_metric(one, "m", float(step), 7, step)
    everything = catalog.points(one, {}, 1000)
    assert len(everything) == 27
    assert [(p.incarnation, p.pos) for p in everything] == sorted((p.incarnation, p.pos) for p in everything)
    desired = catalog.desired_run(one)
    assert desired is not None
    assert desired.head == {p.incarnation: p.pos for p in everything}
    for size in (1, 2, 5, 26, 27):
        after: dict[str, int] = {}
        taken: list[object] = []
        while points := catalog.points(one, after, size):
            assert len(points) <= size
            taken += [repr(point) for point in points]
            after |= {point.incarnation: point.pos for point in points}
        assert taken == [repr(point) for point in everything]
    assert catalog.count_points(one, {everything[0].incarnation: everything[0].pos}) == 26


def test_equal_points_can_be_left_out(catalog: Catalog, open_journal: OpenJournal) -> None:
    """With `distinct` a point comes once: where it is first in the reading, and not when an equal one is settled."""
    journals = sorted([open_journal(MS), open_journal(MS)], key=id)
    one = create(journals[0], 1)
    same = [Metric("loss", value, 5, 0) for value in (1.0, math.nan, 1.0, math.nan)]
    for journal in journals:
        journal.append_batch(one, [*same, Metric("loss", 2.0, 5, 0)])
        journal.append_batch(one, [Metric("acc", 1.0, 5, 0), Metric("loss", 1.0, 5, 1)])
    every = catalog.points(one, {}, 100)
    assert len(every) == 14
    low, high = sorted({point.incarnation for point in every})
    first = catalog.points(one, {}, 100, distinct=True)
    assert [repr((p.incarnation, p.key, p.value, p.step)) for p in first] == [
        repr((low, *rest))
        for rest in (("loss", 1.0, 0), ("loss", math.nan, 0), ("loss", 2.0, 0), ("acc", 1.0, 0), ("loss", 1.0, 1))
    ]
    # What is settled in one journal is not new in the other.
    head = {point.incarnation: point.pos for point in every}
    assert catalog.points(one, {high: head[high]}, 100, distinct=True) == ()
    assert catalog.points(one, {low: head[low]}, 100, distinct=True) == ()
    within = catalog.points(one, {}, 100, {high: head[high]}, distinct=True)
    assert [(p.incarnation, p.pos) for p in within] == [
        (high, p.pos) for p in every if p.incarnation == high and (p.pos % 4096 not in {2, 3})
    ]
    assert catalog.points(one, {}, 100, {low: first[1].pos}, distinct=True) == first[:2]


def test_stamps_from_the_future_are_left_out(catalog: Catalog, open_journal: OpenJournal) -> None:
    """max_stamp is the greatest stamp of all journals whose clock is at most ten minutes ahead."""
    assert catalog.max_stamp(MS) == 0
    create(open_journal(MS), 1)
    right = catalog.max_stamp(MS)
    assert right >> 16 == MS + 2
    create(open_journal(MS + 9 * 60_000), 2)
    near = catalog.max_stamp(MS)
    assert near > right
    create(open_journal(MS + 60 * 60_000), 3)
    assert catalog.max_stamp(MS) == near


def test_run_index_tells_what_there_is(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Counts, times, remote and experiment name of each run; an unknown experiment is named by its id."""
    journal, other = open_journal(MS), open_journal(MS + 50)
    journal.append(ops.ExperimentCreate("7", "seven"))
    journal.append(ops.RunCreate(run_id(1), "7", "n", "me", 5, (("t", "1"),), "http://remote", "proof"))
    other.append_batch(run_id(1), [Metric("a", 1.0, 1, 0)] * 3, [Param("p", "1")])
    create(journal, 2, experiment_id="unknown")
    first, second = catalog.run_index()
    assert (first.experiment_name, first.remote, first.remote_proof) == ("seven", "http://remote", "proof")
    assert (first.params, first.tags, first.points, first.param_conflicts) == (1, 2, 3, 0)
    assert MS < first.oldest_ms < MS + 50 < first.newest_ms
    assert (second.run_id, second.experiment_name, second.points) == (run_id(2), "unknown", 0)
