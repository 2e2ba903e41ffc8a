"""The store directory: where the journals, the catalog, the artifacts and the delivery states of one store lie."""

from __future__ import annotations

import os
import stat
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

    def exposures(self) -> list[str]:
        """What lets other users of this machine change the store or put another one in its place; one line for each.

        What localtrack makes is for its owner only. Directories that are there already keep the modes that somebody
        gave them, because a team may share a store by its group; so a group that may write is not named here.
        """
        found = []
        for path in (self.path, self.journals, self.artifacts, self.sync):
            try:
                about = os.stat(path)
            except OSError:
                continue
            if about.st_mode & stat.S_IWOTH:
                found.append(f"every user of this machine may write to {path}: chmod o-w {path}")
            if about.st_uid not in (os.geteuid(), 0) and _anybody_makes(os.path.dirname(path)):
                found.append(
                    f"{path} belongs to user {about.st_uid}, in a directory where everybody may make one: that user "
                    "can read and change what is logged there; choose another place (LOCALTRACK_STORE)"
                )
        above = self.path
        while above != (above := os.path.dirname(above)):
            if _anybody_makes(above, unless=stat.S_ISVTX):
                found.append(f"every user of this machine may write to {above}, and so replace the store in it")
        return found


def _anybody_makes(directory: str, *, unless: int = 0) -> bool:
    """Whether every user may make files in a directory that has not the bits `unless`."""
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & unless
