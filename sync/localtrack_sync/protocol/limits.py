"""What a remote accepts, as data. Pure.

Sources: MLflow 3.17.2 `utils/validation.py`; for Databricks the REST reference of the experiments API (log-batch,
log-parameter, set-tag, set-experiment-tag, create) and the page "Resource limits". Where MLflow and Databricks both
give a number, the smaller one is used for both, because a smaller batch costs little and a refused one a round trip.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Pages of one metric's history that are read: 250 million points; a remote whose pages never end is left alone.
HISTORY_PAGES = 10_000
#: As a length of values: nothing is cut.
UNCUT = 1 << 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and habits of one dialect.

    Attributes:
        metrics, params, tags: records of one kind in a log-batch request.
        metric_keys: distinct metric names in a request; servers older than 3.10 refuse a repeated batch with more.
        body_bytes: encoded size of a request. MLflow documents 1,000,000 and does not enforce it; Databricks does.
        create_tags: tags in a runs/create or experiments/create request.
        create_tag_bytes: encoded size of these tags; the others follow on their own.
        param_value, tag_value, experiment_tag_value: characters; longer ones are cut by the server without
            a word, so they are compared and sent cut. UNCUT where a server refuses instead.
        sure_bytes: keys and values up to this size in UTF-8 are accepted whatever page of the documentation is right;
            larger ones travel in requests without smaller ones, so that a refusal finds only them.
        search_page: runs asked for in one search.
        search_experiments: experiments that one search for runs names.
        experiments_page: experiments asked for in one list; Databricks gives at most 3,000.
        history_page: points asked for in one read of a metric's history.
        links_once: an input or output of a run that is sent twice is stored once.
        skip_tags: tags that the remote sets itself and that a replay must not send.
        settle_s: seconds that a request without an answer may still be executed, unless a setting says otherwise.
        asks_what_it_is: whether it has routes that tell its version and kind of store.
        names_are_paths: an experiment's name is an absolute path of a workspace.
        partial_refusals: a batch that was refused may have been written in part.
        pace: (beginning of the path below the API's root, requests per second) that the remote allows.
    """

    metrics: int = 1000
    params: int = 100
    tags: int = 100
    metric_keys: int = 100
    body_bytes: int = 1_000_000
    create_tags: int = 100
    create_tag_bytes: int = 200_000
    param_value: int = 6000
    tag_value: int = 8000
    experiment_tag_value: int = 20_000
    sure_bytes: int = UNCUT
    search_page: int = 100
    search_experiments: int = 100
    experiments_page: int = 1000
    history_page: int = 25_000
    links_once: bool = True
    skip_tags: frozenset[str] = frozenset()
    settle_s: float = 120.0
    asks_what_it_is: bool = True
    names_are_paths: bool = False
    partial_refusals: bool = False
    pace: tuple[tuple[str, float], ...] = ()

    def sure(self, key: str, value: str | None) -> bool:
        """Whether the remote is known to accept a param or tag of this size."""
        return len(key.encode()) <= self.sure_bytes and len((value or "").encode()) <= self.sure_bytes


MLFLOW = Limits()

#: Databricks' pages contradict each other about the length of values (log-batch: 250 characters; log-parameter: 500
#: bytes; set-tag: 64 KB) and of keys (250 or 255 bytes): what was logged is sent as it is, nothing is cut, and what the
#: remote refuses is listed as rejected with its words. The tags are those that mlflow-export-import leaves out for
#: Databricks. It documents that metrics are appended and nothing about how long a request may take: a longer settle
#: time. Paces: the limits per workspace of its page on the MLflow API, a little below, because others use it as well.
DATABRICKS = Limits(
    create_tags=20,
    param_value=UNCUT,
    tag_value=UNCUT,
    experiment_tag_value=UNCUT,
    sure_bytes=250,
    links_once=False,
    skip_tags=frozenset(
        {
            "mlflow.user",
            "mlflow.log-model.history",
            "mlflow.rootRunId",
            "mlflow.experiment.sourceType",
            "mlflow.experiment.sourceId",
        }
    ),
    settle_s=300.0,
    asks_what_it_is=False,
    names_are_paths=True,
    partial_refusals=True,
    pace=(("runs/search", 6.0), ("experiments/", 6.0), ("runs/log-batch", 40.0), ("", 100.0)),
)

DIALECTS: dict[str, Limits] = {"mlflow": MLFLOW, "databricks": DATABRICKS}
