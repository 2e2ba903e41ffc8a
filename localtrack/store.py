"""The store directory: where the journals, the catalog, the artifacts and the delivery states of one store lie."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: Takes the place of the experiment id in the paths of what belongs to attached runs.
ATTACHED = "attached"


@dataclass(frozen=True)
class Store:
    """Paths of one store; making one of these touches no disk.

    Attributes:
        path: absolute path of the store directory.
    """

    path: str

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Store:
        """The store at `path`; a relative path is made absolute now, so that a later chdir changes nothing."""
        return cls(os.path.abspath(os.path.expanduser(os.fspath(path))))

    @property
    def journals(self) -> str:
        """Directory of the journals."""
        return os.path.join(self.path, "journals")

    @property
    def catalog(self) -> str:
        """File of the catalog."""
        return os.path.join(self.path, "catalog.db")

    @property
    def artifacts(self) -> str:
        """Directory of the artifacts."""
        return os.path.join(self.path, "artifacts")

    @property
    def sync(self) -> str:
        """Directory of the delivery states, one file per remote."""
        return os.path.join(self.path, "sync")

    def run_artifacts(self, experiment_id: str, run_id: str) -> str:
        """Artifact directory of a run; an attached run, whose experiment is not known (""), has its place beside them.

        Experiment ids made here are digits, so the names cannot meet.
        """
        return os.path.join(self.artifacts, experiment_id or ATTACHED, run_id, "artifacts")

    def model_artifacts(self, experiment_id: str, model_id: str) -> str:
        """Artifact directory of a logged model; "" is the unknown experiment of an attached run."""
        return os.path.join(self.artifacts, experiment_id or ATTACHED, "models", model_id, "artifacts")

    def make(self) -> None:
        """Make the directories that are missing, readable by the owner only (0700).

        Raises:
            OSError: the file system refuses.
        """
        for directory in (self.path, self.journals, self.artifacts, self.sync):
            os.makedirs(directory, mode=0o700, exist_ok=True)
