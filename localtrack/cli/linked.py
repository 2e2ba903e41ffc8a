"""What `localtrack show` tells of the datasets and logged models of a run. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from localtrack.catalog.entries import ModelEntry
from localtrack.cli.table import Column
from localtrack.entities import DatasetInput, Run
from localtrack.inputs import CONTEXT_TAG
from localtrack.json_text import loaded

DATASETS = [
    Column("dataset", least=12),
    Column("digest"),
    Column("context", least=8),
    Column("source", least=12),
]
MODELS = [
    Column("model"),
    Column("name", least=12),
    Column("status"),
    Column("role"),
    Column("step", right=True),
]


class LinkedModel(NamedTuple):
    """A logged model that has to do with a run; name and status are empty when the store does not have it.

    Attributes:
        role: `made` (the run is its source), `in`, `out`; joined by commas.
        step: at which it came out, or None.
    """

    model_id: str
    name: str
    status: str
    role: str
    step: int | None


def linked_models(run: Run, index: Sequence[ModelEntry]) -> list[LinkedModel]:
    """The logged models that a run made, that went into it and that came out of it, by name and id."""
    entries = {one.model_id: one for one in index if not one.deleted}
    roles: defaultdict[str, list[str]] = defaultdict(list)
    for one in entries.values():
        if one.source_run_id == run.info.run_id:
            roles[one.model_id].append("made")
    for went_in in run.inputs.model_inputs:
        roles[went_in.model_id].append("in")
    steps = {came_out.model_id: came_out.step for came_out in run.outputs.model_outputs}
    for model_id in steps:
        roles[model_id].append("out")
    found = []
    for model_id, role in roles.items():
        entry = entries.get(model_id)
        name, status = (entry.name, entry.status) if entry else ("", "")
        found.append(LinkedModel(model_id, name, status, ", ".join(role), steps.get(model_id)))
    return sorted(found, key=lambda one: (one.name, one.model_id))


def model_row(model: LinkedModel) -> list[str]:
    """A row of MODELS."""
    return [model.model_id, model.name, model.status, model.role, "" if model.step is None else f"{model.step:,}"]


def dataset_row(given: DatasetInput) -> list[str]:
    """A row of DATASETS: the source without its JSON braces where it is one place."""
    tags = {tag.key: tag.value for tag in given.tags}
    source = given.dataset.source
    try:
        fields = loaded(source)
    except ValueError:
        fields = None
    if isinstance(fields, dict) and len(fields) == 1 and isinstance(value := next(iter(fields.values())), str):
        source = value
    elif given.dataset.source_type == "code":
        source = "the program"
    return [given.dataset.name, given.dataset.digest, tags.get(CONTEXT_TAG, ""), source]
