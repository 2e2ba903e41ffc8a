"""A run as it was read back, whole: what `snapshot` holds and what only a verification looks at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localtrack_sync.protocol.snapshot import RemoteRun, run_of


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as the remote showed it, with its times, inputs and outputs.

    Attributes:
        run: what replay looks at.
        start_time: milliseconds since the epoch.
        datasets: (name, digest) -> tags of the input; MLflow keeps one of a name and digest.
        model_inputs: ids of models that went in.
        model_outputs: (id, step) of models that came out.
    """

    run: RemoteRun
    name: str
    user_id: str
    start_time: int
    datasets: dict[tuple[str, str], dict[str, str]]
    model_inputs: tuple[str, ...]
    model_outputs: tuple[tuple[str, int], ...]


def seen_of(body: Mapping[str, Any]) -> SeenRun:
    """The run in a reply's "run"."""
    info, inputs, outputs = body.get("info") or {}, body.get("inputs") or {}, body.get("outputs") or {}
    return SeenRun(
        run=run_of(body),
        name=str(info.get("run_name") or ""),
        user_id=str(info.get("user_id") or ""),
        start_time=int(info.get("start_time") or 0),
        datasets={
            (str(one["dataset"].get("name", "")), str(one["dataset"].get("digest", ""))): {
                str(tag.get("key", "")): str(tag.get("value", "")) for tag in one.get("tags") or ()
            }
            for one in inputs.get("dataset_inputs") or ()
            if one.get("dataset")
        },
        model_inputs=tuple(str(one.get("model_id", "")) for one in inputs.get("model_inputs") or ()),
        model_outputs=tuple(
            (str(one.get("model_id", "")), int(one.get("step") or 0)) for one in outputs.get("model_outputs") or ()
        ),
    )
