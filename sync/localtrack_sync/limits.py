"""What a remote accepts, as data. Pure.

Sources: MLflow 3.17.2 `utils/validation.py` and the Databricks REST reference for experiments; where both give a
    number,
the same one is used for both, because a smaller batch costs little and a refused one costs a round trip.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one dialect.

    Attributes:
        metrics, params, tags: records of one kind in a log-batch request.
        metric_keys: distinct metric names in a request; servers older than 3.10 refuse a repeated batch with more.
        body_bytes: encoded size of a request. MLflow documents 1,000,000 and does not enforce it; Databricks does.
        create_tags: tags in a runs/create request.
        create_tag_bytes: encoded size of these tags; the others follow in a log-batch.
        param_value, tag_value, experiment_tag_value: characters; longer ones are cut by the server without
            a word, so they are compared and sent cut.
        search_page: runs asked for in one search.
        search_experiments: experiments that one search for runs names.
        experiments_page: experiments asked for in one list; Databricks gives at most 3,000.
        history_page: points asked for in one read of a metric's history.
        skip_tags: tags that the remote sets itself and that a replay must not send.
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
    search_page: int = 100
    search_experiments: int = 100
    experiments_page: int = 1000
    history_page: int = 25_000
    skip_tags: frozenset[str] = frozenset()


MLFLOW = Limits()

#: Databricks' pages contradict each other about the length of values (250, 500 bytes, 64 KB): nothing is cut on a
#: guess, what the remote refuses is listed as rejected. The tags are those that mlflow-export-import leaves out for
#: Databricks.
DATABRICKS = Limits(
    create_tags=20,
    skip_tags=frozenset(
        {
            "mlflow.user",
            "mlflow.log-model.history",
            "mlflow.rootRunId",
            "mlflow.experiment.sourceType",
            "mlflow.experiment.sourceId",
        }
    ),
)

DIALECTS: dict[str, Limits] = {"mlflow": MLFLOW, "databricks": DATABRICKS}
