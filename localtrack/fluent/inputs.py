"""Module functions that record what went into the active run and what came out of it."""

from __future__ import annotations

from typing import Any

from localtrack.entities import DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput
from localtrack.errors import TrackingError
from localtrack.fluent.runs import run_for_log
from localtrack.inputs import CONTEXT_TAG, input_tags


def log_input(
    dataset: Any = None,
    context: str | None = None,
    tags: dict[str, Any] | None = None,
    model: LoggedModelInput | None = None,
) -> None:
    """Record a dataset or a model that went into the active run; without one a run is started.

    Args:
        dataset: a dataset of `localtrack.data` or of MLflow, or `entities.Dataset`. The first input with its name and
            digest counts.
        context: what it was used for ("training"): the tag mlflow.data.context of the input.
        tags: tags of the input: keys up to 255 characters, values up to 500.
        model: the model that went in.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    datasets = [] if dataset is None else [_dataset_input(dataset, context, tags)]
    run = run_for_log()
    run.service.log_inputs(run.info.run_id, datasets, [] if model is None else [model])


def log_inputs(
    datasets: list[Any] | None = None,
    contexts: list[str | None] | None = None,
    tags_list: list[dict[str, str] | None] | None = None,
    models: list[LoggedModelInput] | None = None,
) -> None:
    """Record datasets, and models, that went into the active run, as one record.

    Args:
        datasets: datasets as for `log_input`; None entries are left out.
        contexts: as many contexts, or None each.
        tags_list: as many mappings of tags, or None each.
        models: models that went in (MLflow's own servers refuse them in this call; here they are recorded).

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; lists of unequal length.
    """
    datasets, contexts, tags_list = datasets or [], contexts or [], tags_list or []
    if not len(datasets) == len(contexts) == len(tags_list):
        raise TrackingError("log_inputs needs as many contexts and tags_list entries as datasets")
    given = [
        found
        for dataset, context, tags in zip(datasets, contexts, tags_list, strict=True)
        if (found := _dataset_input(dataset, context, tags)) is not None
    ]
    run = run_for_log()
    run.service.log_inputs(run.info.run_id, given, models)


def log_outputs(models: list[LoggedModelOutput] | None = None) -> None:
    """Record models that came out of the active run, each at one step; without a run one is started.

    Raises:
        TrackingError: BAD_REQUEST for a model that came out at another step already; INVALID_PARAMETER_VALUE.
    """
    run = run_for_log()
    run.service.log_outputs(run.info.run_id, models)


def _dataset_input(dataset: Any, context: str | None, tags: dict[str, str] | None) -> DatasetInput | None:
    if dataset is None:
        if context or tags:
            raise TrackingError("`dataset` must be specified if `context` or `tags` is specified.")
        return None
    checked = input_tags(tags)
    if context:
        checked[CONTEXT_TAG] = context
    return DatasetInput(dataset, tuple(InputTag(key, value) for key, value in checked.items()))
