"""Datasets of which only the place is known."""

from __future__ import annotations

from typing import Any

from localtrack.data.dataset import Dataset


class MetaDataset(Dataset):
    """A dataset that is named, not loaded: `MetaDataset("https://example.org/reviews.tar.gz", name="reviews")`.

    Args:
        source: where it is (see `resolve_source`).
        name: None is "dataset".
        digest: which version it is, at most 36 characters; None makes one from name, source and schema: eight hex
            digits, the same as MLflow's.
        schema: columns as a list of JSON objects ({"type": "string", "name": "text"}), an MLflow Schema, or None.
    """

    def __init__(self, source: Any, name: str | None = None, digest: str | None = None, schema: Any = None) -> None:
        to_dict = getattr(schema, "to_dict", None)
        self._columns = to_dict() if callable(to_dict) else schema
        super().__init__(source, name, digest)

    def _compute_digest(self) -> str:
        import hashlib
        import json

        config = {
            "name": self.name,
            "source": self.source.to_json(),
            "source_type": self.source._get_source_type(),  # noqa: SLF001 - MLflow's own name for it
            "schema": self._columns or "",
        }
        return hashlib.sha256(json.dumps(config).encode()).hexdigest()[:8]

    @property
    def schema(self) -> Any:
        """{"mlflow_colspec": columns}, or None."""
        return {"mlflow_colspec": self._columns} if self._columns else None
