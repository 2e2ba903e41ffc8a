from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.search import reads
from localtrack.catalog.search.experiment_search import experiment_search
from localtrack.catalog.search.model_search import model_search
from localtrack.catalog.search.run_search import run_search
from localtrack.entities import Metric, Param, Run, RunTag
from localtrack.errors import TrackingError
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store
from tests.catalog.conftest import Clock

MS = 1_700_000_000_000
OpenJournal = Callable[[int], Journal]
MODEL = "m-" + "0" * 31


def run_id(number: int) -> str:
    """The id of a test's run."""
    return f"{number:032x}"


def search_runs(catalog: Catalog, filter_string: str = "", order_by: Any = None) -> list[str]:
    """Names of the runs of experiment 7 that a search finds."""
    search = run_search(["7"], filter_string, order_by, (0, 1), catalog.store.artifacts)
    return [run.info.run_name for run in catalog.search(reads.runs, search, 1000)]


def create(journal: Journal, number: int, value: float | None = None, param: str | None = None) -> None:
    """A run with a metric, a param and a tag, or without them."""
    journal.append(ops.RunCreate(run_id(number), "7", f"r{number}", "u", MS + number % 3))
    metrics = [] if value is None else [Metric("m", value, 1, 0)]
    journal.append_batch(
        run_id(number),
        metrics,
        [] if param is None else [Param("p", param)],
        [] if param is None else [RunTag("t", param * 2)],
    )
    if number % 2:
        journal.append(ops.RunUpdate(run_id(number), None, MS + number))


_ORDERS = (
    *("metrics.m", "metrics.m DESC", "metrics.none", "params.p", "params.p DESC", "tags.t DESC", "end_time"),
    *("end_time DESC", "start_time", "start_time DESC", "run_name DESC", "run_id DESC", "artifact_uri", "user_id"),
    "tags.`mlflow.log-model.history`",
)
_RUNS = st.lists(
    st.tuples(
        st.sampled_from((None, math.nan, math.inf, -math.inf, 0.0, -1.5, 1e308, 3.0)),
        st.sampled_from((None, "", "a", "A", "ü", "10")),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=_RUNS,
    between=_RUNS,
    order_by=st.lists(st.sampled_from(_ORDERS), max_size=3),
    length=st.integers(1, 5),
)
def test_pages_stay_right_while_runs_are_added(
    tmp_path_factory: pytest.TempPathFactory, before: Any, between: Any, order_by: list[str], length: int
) -> None:
    """Whatever the order, also with NaN, infinite and missing keys: each run is on exactly one page, in order."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    store.make()
    journal = Journal(store, strict=True, clock=Clock(MS))
    for number, (value, param) in enumerate(before):
        create(journal, number, value, param)
    keys = [one.split()[0] for one in order_by]
    order_by = [one for place, one in enumerate(order_by) if keys.index(keys[place]) == place]
    search = run_search(["7"], None, order_by, (0, 1), store.artifacts)
    new = iter(range(1000, 1000 + len(between)))
    with Catalog(store) as catalog:
        expected = [run.info.run_id for run in catalog.search(reads.runs, search, 1000)]
        found, token = list[Run](), None
        for _ in range(2 * (len(before) + len(between))):
            page = catalog.search(reads.runs, search, length, token)
            found += page
            token = page.token
            if token is None:
                break
            for number in islice(new, 1):
                create(journal, number, *between[number - 1000])
        else:
            pytest.fail("the pages do not end")
        everything = [run.info.run_id for run in catalog.search(reads.runs, search, 1000)]
    journal.close()
    ids = [run.info.run_id for run in found]
    assert [one for one in ids if one in expected] == expected
    assert [one for one in everything if one in ids] == ids


def test_values_that_are_missing_come_last_and_nan_before_them(catalog: Catalog, open_journal: OpenJournal) -> None:
    """In both directions; the infinities are numbers like others."""
    journal = open_journal(MS)
    for number, value in enumerate((None, math.nan, 1.0, -math.inf, math.inf)):
        create(journal, number, value)
    assert search_runs(catalog, order_by=["metrics.m"]) == ["r3", "r2", "r4", "r1", "r0"]
    assert search_runs(catalog, order_by=["metrics.m DESC"]) == ["r4", "r2", "r3", "r1", "r0"]
    assert sorted(search_runs(catalog, "metrics.m != 1")) == ["r1", "r3", "r4"]
    assert search_runs(catalog, "metrics.m <= 0") == ["r3"]


def test_a_deleted_tag_is_no_tag(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Neither a comparison nor IS NOT NULL sees it; a run whose name tag was deleted is not found by its name."""
    journal = open_journal(MS)
    create(journal, 0, param="a")
    journal.append_batch(run_id(0), (), (), (), ("t", "mlflow.runName"))
    assert search_runs(catalog, "tags.t = 'aa'") == search_runs(catalog, "tags.t IS NOT NULL") == []
    assert search_runs(catalog, "tags.t IS NULL") == ["r0"]
    assert search_runs(catalog, "run_name = 'r0'") == []


def test_entries_of_log_model_are_found_in_their_tag(catalog: Catalog, open_journal: OpenJournal) -> None:
    """The tag mlflow.log-model.history is searched as it is shown: what was set, and the entries behind it."""
    journal = open_journal(MS)
    for number in range(3):
        create(journal, number)
    journal.append(ops.RunModelLogged(run_id(0), '{\n "artifact_path": "net"}'))
    journal.append(ops.RunModelLogged(run_id(0), '{"artifact_path": "tree"}'))
    journal.append_batch(run_id(1), (), (), [RunTag("mlflow.log-model.history", '[{"artifact_path": "old"}]')])
    tag = "tags.`mlflow.log-model.history`"
    whole = '[{"artifact_path": "net"}, {"artifact_path": "tree"}]'
    assert search_runs(catalog, f"{tag} = '{whole}'") == ["r0"]
    assert search_runs(catalog, f"""{tag} LIKE '%"tree"%'""") == ["r0"]
    assert search_runs(catalog, f"""{tag} ILIKE '%"OLD"%'""") == ["r1"]
    assert sorted(search_runs(catalog, f"{tag} IS NOT NULL")) == ["r0", "r1"]
    assert search_runs(catalog, f"{tag} IS NULL") == ["r2"]
    assert search_runs(catalog, order_by=[f"{tag} DESC"]) == ["r1", "r0", "r2"]


def test_the_artifact_uri_is_the_one_that_is_shown(catalog: Catalog, open_journal: OpenJournal) -> None:
    """artifact_uri in a filter is what RunInfo says, whatever the store's path is."""
    create(open_journal(MS), 1)
    found = catalog.run(run_id(1))
    assert found is not None
    assert search_runs(catalog, f"artifact_uri = '{found.info.artifact_uri}'") == ["r1"]


def test_runs_that_were_attached_to_are_found_under_no_experiment(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Their experiment is not known here: the id "" stands for it, with all filters and the artifact URI."""
    journal = open_journal(MS)
    journal.append(ops.RunAttach(run_id(1), MS))
    journal.append_batch(run_id(1), [Metric("m", 1.0, 1, 0)])
    shown = catalog.run(run_id(1))
    assert shown is not None
    text = f"metrics.m = 1 AND artifact_uri = '{shown.info.artifact_uri}'"
    search = run_search([""], text, ["user_id", "end_time"], (0,), catalog.store.artifacts)
    assert [run.info.run_id for run in catalog.search(reads.runs, search, 10)] == [run_id(1)]
    assert search_runs(catalog) == []


def models(catalog: Catalog, filter_string: str | None = None, datasets: Any = None, order_by: Any = None) -> list[str]:
    """Last digits of the models of experiment 7 that a search finds."""
    search = model_search(["7"], filter_string, datasets, order_by)
    return [model.model_id[-1] for model in catalog.search(reads.models, search, 1000)]


def test_models_are_found_by_what_mlflows_store_cannot_compare(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Status, text in double quotes, keys in double quotes, and NaN by MLflow's rules for runs."""
    journal = open_journal(MS)
    create(journal, 1)
    for number, (status, value) in enumerate((("READY", 1.0), ("FAILED", math.nan), (None, None))):
        model_id = f"{MODEL}{number}"
        journal.append(ops.ModelCreate(model_id, "7", f"net{number}", None, None, (("a b", "x"),)))
        if status is not None:
            journal.append(ops.ModelFinalize(model_id, status))
        if value is not None:
            journal.append_batch(run_id(1), [Metric("m", value, 1, number, model_id)])
    assert models(catalog) == ["2", "1", "0"]
    assert models(catalog, "status = 'READY'") == ["0"]
    assert models(catalog, "status IN ('FAILED', 'PENDING')") == ["2", "1"]
    assert models(catalog, 'name = "net1" AND tags."a b" = "x"') == ["1"]
    assert models(catalog, "metrics.m != 1") == ["1"]
    assert models(catalog, "metrics.m < 1") == []
    assert models(catalog, order_by=[{"field_name": "metrics.m"}]) == ["0", "1", "2"]
    assert models(catalog, order_by=[{"field_name": "status", "ascending": False}]) == ["1", "0", "2"]


def test_a_model_that_was_logged_to_again_is_on_one_page(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Pages of models neither skip nor repeat one, also when a metric has many points."""
    journal = open_journal(MS)
    create(journal, 1)
    for number in range(7):
        model_id = f"{MODEL}{number}"
        journal.append(ops.ModelCreate(model_id, "7", "net"))
        points = [Metric("m", float(step % (number + 1)), step, step, model_id, "iris", "d") for step in range(9)]
        journal.append_batch(run_id(1), points)
    search = model_search(["7"], "metrics.m >= 0", [{"dataset_name": "iris"}], [{"field_name": "metrics.m"}])
    found, token = list[str](), None
    for number in range(7, 14):
        page = catalog.search(reads.models, search, 2, token)
        found += [model.model_id for model in page]
        token = page.token
        if token is None:
            break
        journal.append(ops.ModelCreate(f"{MODEL}{number:x}", "7", "net"))
    assert sorted(found) == [f"{MODEL}{number}" for number in range(7)]


def forged(token: str, **changes: Any) -> str:
    """A token with another value at a place."""
    parsed = json.loads(base64.urlsafe_b64decode(token))
    for place, value in changes.items():
        parsed[int(place[1:])] = value
    return base64.urlsafe_b64encode(json.dumps(parsed).encode()).decode()


def test_a_token_that_somebody_made_is_refused(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Values that no row has (64 bits are not enough, no UTF-8, another type) are INVALID_PARAMETER_VALUE."""
    journal = open_journal(MS)
    create(journal, 1)
    create(journal, 2)
    search = run_search(["7"], None, None, (0,), catalog.store.artifacts)
    token = catalog.search(reads.runs, search, 1).token
    assert token is not None
    assert len(catalog.search(reads.runs, search, 1, forged(token))) == 1
    for bad in (forged(token, _1=2**64), forged(token, _2="\ud800"), forged(token, _1="x"), forged(token, _0=1)):
        with pytest.raises(TrackingError) as caught:
            catalog.search(reads.runs, search, 1, bad)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_token_belongs_to_its_filter_and_order(catalog: Catalog, open_journal: OpenJournal) -> None:
    """The same question in other words is the same question; another filter, order or kind of thing is another one."""
    journal = open_journal(MS)
    for number in range(3):
        create(journal, number, float(number))
    artifacts = catalog.store.artifacts

    def page(token: str | None, filter_string: str, order_by: list[str]) -> list[str]:
        search = run_search(["7"], filter_string, order_by, (0,), artifacts)
        return [run.info.run_name for run in catalog.search(reads.runs, search, 1, token)]

    search = run_search(["7"], "metrics.m >= 0", ["metrics.m"], (0,), artifacts)
    token = catalog.search(reads.runs, search, 1).token
    assert page(token, "metric.`m`  >=  0.0", ["metrics.m ASC"]) == ["r1"]
    for other in (("metrics.m >= 1", ["metrics.m"]), ("metrics.m >= 0", ["metrics.m DESC"])):
        with pytest.raises(TrackingError, match="another query"):
            page(token, *other)
    with pytest.raises(TrackingError):
        catalog.search(reads.experiments, experiment_search(None, None, (0,)), 1, token)


def test_large_filters_are_answered(catalog: Catalog, open_journal: OpenJournal) -> None:
    """300 comparisons, 50 clauses of an order and 30,000 ids are within SQLite's limits."""
    journal = open_journal(MS)
    for number in range(3):
        create(journal, number, 1.0)
    many = " AND ".join(["metrics.m > 0", "params.none IS NULL", "start_time > 0"] * 100)
    orders = [f"metrics.m{number}" for number in range(50)]
    ids = ", ".join(f"'{run_id(number)}'" for number in range(1, 30_000))
    assert search_runs(catalog, many, orders) == ["r2", "r1", "r0"]
    assert search_runs(catalog, f"run_id IN ({ids})") == ["r2", "r1"]
    search = run_search(["7"], many, orders, (0,), catalog.store.artifacts)
    token = catalog.search(reads.runs, search, 1).token
    assert [run.info.run_name for run in catalog.search(reads.runs, search, 1, token)] == ["r1"]
