"""What the engine asks to be read from the store: the catalog's answers, and small files."""

from __future__ import annotations

from typing import Any

from localtrack.catalog.catalog import Catalog
from localtrack_sync.protocol.effects import (
    Local,
    ReadContent,
    ReadExperiment,
    ReadFiles,
    ReadHistory,
    ReadKeys,
    ReadModel,
    ReadModelMetrics,
    ReadPoints,
    ReadRun,
)
from localtrack_sync.remote.local_files import LocalFiles


def read(catalog: Catalog, effect: Local) -> Any:
    """The answer to an effect that reads from the store."""
    match effect:
        case ReadRun():
            known = catalog.desired_run(effect.run_id, refresh=False)
            answer: Any = known or catalog.desired_run(effect.run_id)  # made by another process a moment ago
        case ReadModel():
            model = catalog.desired_model(effect.model_id, refresh=False)
            answer = model or catalog.desired_model(effect.model_id)
        case ReadExperiment():
            answer = catalog.desired_experiment(effect.experiment_id, refresh=False)
        case ReadFiles():
            answer = catalog.files(effect.owner, refresh=False)
        case ReadContent():
            answer = LocalFiles(catalog.store.artifacts).content(effect.upload)
        case _:
            answer = _read_metrics(catalog, effect)
    return answer


def _read_metrics(catalog: Catalog, effect: Local) -> Any:
    answer: Any
    match effect:
        case ReadPoints():
            answer = catalog.points(
                effect.run_id,
                dict(effect.after),
                effect.limit,
                dict(effect.upto),
                distinct=effect.distinct,
                model_id=effect.model_id,
                refresh=False,
            )
        case ReadKeys():
            answer = tuple(metric.key for metric in catalog.latest(effect.run_id, refresh=False))
        case ReadHistory():
            answer = catalog.metric_history(effect.run_id, effect.key, effect.limit, effect.token, refresh=False)
        case ReadModelMetrics():
            model = catalog.model(effect.model_id, allow_deleted=True, refresh=False)
            answer = tuple(model.metrics or ()) if model is not None else ()
        case _:
            raise AssertionError(f"an effect that reads nothing: {effect!r}")
    return answer
