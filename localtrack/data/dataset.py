"""What every dataset has: name, digest, source, and perhaps schema and profile."""

from __future__ import annotations

from typing import Any

from localtrack.data.sources import resolve_source
from localtrack.entities import Dataset as DatasetEntity


class Dataset:
    """A dataset as runs record it; the data itself is not recorded.

    Args:
        source: where it came from (see `resolve_source`).
        name: None is "dataset", as in MLflow.
        digest: which version it is, at most 36 characters; None computes it.
    """

    #: Fields that `to_dict` has even when there is nothing to tell.
    _told_of_none: tuple[str, ...] = ()

    def __init__(self, source: Any, name: str | None = None, digest: str | None = None) -> None:
        self._name = name
        self._source = resolve_source(source)
        self._digest = digest or self._compute_digest()

    def _compute_digest(self) -> str:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What it is called."""
        return "dataset" if self._name is None else self._name

    @property
    def digest(self) -> str:
        """Which version it is."""
        return self._digest

    @property
    def source(self) -> Any:
        """Where it came from: anything with `to_json()`."""
        return self._source

    @property
    def schema(self) -> Any:
        """JSON object (as MLflow lays it out), or None."""
        return None

    @property
    def profile(self) -> Any:
        """JSON object of sizes, or None."""
        return None

    def to_dict(self) -> dict[str, str | None]:
        """Name, digest, source and source_type; schema and profile as JSON text (None, or left out: there is none)."""
        import json

        told: dict[str, str | None] = {
            "name": self.name,
            "digest": self.digest,
            "source": self.source.to_json(),
            "source_type": self.source._get_source_type(),  # noqa: SLF001 - MLflow's own name for it
        }
        for what, value in (("schema", self.schema), ("profile", self.profile)):
            if value is not None or what in self._told_of_none:
                told[what] = None if value is None else json.dumps(value)
        return told

    def to_json(self) -> str:
        """The same as JSON text."""
        import json

        return json.dumps(self.to_dict())

    def _to_mlflow_entity(self) -> DatasetEntity:
        return DatasetEntity(**self.to_dict())  # type: ignore[arg-type] # the four that an entity needs are never None
