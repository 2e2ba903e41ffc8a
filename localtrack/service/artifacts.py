"""The rows "Artifacts" of the operations: files of runs and logged models, into the store and out of it.

What was logged is a copy of its own: later changes to the caller's file do not show in it. docs/artifacts.md says how
files get in and what a crash leaves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from localtrack import attention, rules
from localtrack.artifacts import paths
from localtrack.artifacts.place import Entry, Owner, Place, owner_to_read, root
from localtrack.entities import FileInfo, PagedList
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.trouble import HINT
from localtrack.service.core import pages
from localtrack.service.linked import Linked
from localtrack.service.models import missing_model

if TYPE_CHECKING:
    from localtrack.artifacts.intake import Failure, Incoming
    from localtrack.artifacts.removed import Note
    from localtrack.catalog.linked_queries import Registered

#: Entries of a page of list_artifacts; MLflow's own proxies page by 1000 too.
PAGE = 1000


class Artifacts(Linked):
    """Operations on files."""

    # --- into the store --------------------------------------------------------------------------------------------

    def log_artifact(self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store a copy of a file, or of a directory under its own name, with the run.

        Args:
            run_id: the run.
            local_path: the file or directory.
            artifact_path: directory among the artifacts; None is the topmost.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE for a path that is not acceptable.
            OSError: the file cannot be opened (FileNotFoundError, PermissionError, ...).
        """
        local = os.fspath(local_path)
        owner = self._run_to_store(run_id)
        if os.path.isdir(local):
            name = os.path.basename(os.path.normpath(local))
            self._store_directory(owner, local, paths.below(artifact_path, name))
        else:
            self._store_file(owner, local, artifact_path)

    def log_artifacts(self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store copies of everything below a directory with the run.

        Links to files are stored as the files, links to directories are not followed, as in MLflow. A directory that
        does not exist stores nothing, as in MLflow, and a warning says so.

        Raises:
            TrackingError: as log_artifact; then nothing was stored.
            OSError: a file cannot be opened.
        """
        self._store_directory(self._run_to_store(run_id), os.fspath(local_dir), artifact_path)

    def log_model_artifact(
        self, model_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Store a copy of a file with a logged model; arguments and errors as for log_artifact."""
        self._store_file(self._model_as_owner(model_id), os.fspath(local_path), artifact_path)

    def log_model_artifacts(
        self, model_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Store copies of everything below a directory with a logged model; as log_artifacts."""
        self._store_directory(self._model_as_owner(model_id), os.fspath(local_dir), artifact_path)

    def _store_file(self, owner: Owner, local: str, artifact_path: str | None) -> None:
        from localtrack.artifacts.intake import Incoming

        self._store(owner, [Incoming(local, paths.below(artifact_path, os.path.basename(local)))])

    def _store_directory(self, owner: Owner, local: str, artifact_path: str | None) -> None:
        from localtrack.artifacts import tree

        prefix = None if artifact_path is None or artifact_path == "" else paths.checked(artifact_path)
        if not os.path.isdir(local):
            attention.warn(f"log_artifacts: {rules.shown(local)} is not a directory, so nothing is logged")
            return
        skip = root(self.store, owner)
        tree.check(local, prefix, skip)
        self._store(owner, tree.files_below(local, prefix, skip))

    def _store(self, owner: Owner, files: Iterable[Incoming]) -> None:
        from localtrack.artifacts.intake import Intake

        with Place(self.store, owner) as place:
            intake = Intake(place, self.journal.append)
            try:
                intake.bring(files)
            finally:
                self._lose(intake.failures)

    def _lose(self, failures: list[Failure]) -> None:
        """The machine did not let us store files: say it once and count them, or raise (strict)."""
        if not failures:
            return
        path, error = failures[0]
        why = f"cannot store artifact {path} in {self.store.artifacts}: {error}"
        if self.settings.strict:
            raise StoreError(why, HINT) from error
        attention.warn_once(
            f"artifacts {self.store.path}",
            f"{why}. Training goes on; artifacts that cannot be stored are counted as lost ({HINT})",
        )
        self.journal.lose("artifact", len(failures), f"{type(error).__name__}: {error}")

    # --- whose -----------------------------------------------------------------------------------------------------

    def _run_as_owner(self, run_id: object) -> Owner:
        run = self._run(run_id)
        return Owner(run.run_id, run.experiment_id)

    def _run_to_store(self, run_id: object) -> Owner:
        """The run, for who stores files with it: deleted ones too, as in MLflow."""
        run = self._run_to_write_to(run_id)
        return Owner(run.run_id, run.experiment_id)

    def _model_as_owner(self, model_id: object) -> Owner:
        """A logged model that is not deleted.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when it is deleted.
        """
        model = self._model(model_id)
        if model.deleted:
            raise missing_model(model.model_id)
        return Owner(model.model_id, model.experiment_id, model=True)

    # --- out of the store ------------------------------------------------------------------------------------------

    def list_artifacts(
        self, run_id: str, path: str | None = None, page_token: str | None = None
    ) -> PagedList[FileInfo]:
        """A page of what lies in a directory of a run's artifacts, by path; empty for a file or for nothing.

        What `localtrack gc` removed is listed too; `removed_to` then names the remote that has it.

        Args:
            run_id: the run.
            path: the directory; None is the topmost.
            page_token: `token` of the page before; a page has at most 1000 entries.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST for the run, INVALID_PARAMETER_VALUE.
            StoreError: the directory cannot be read.
        """
        return self._list(self._run_as_owner(run_id), path, page_token)

    def list_artifacts_iter(self, run_id: str, path: str | None = None) -> Iterator[FileInfo]:
        """Everything in a directory of a run's artifacts, read page by page."""
        return pages(lambda token: self.list_artifacts(run_id, path, token))

    def list_logged_model_artifacts(
        self, model_id: str, path: str | None = None, page_token: str | None = None
    ) -> PagedList[FileInfo]:
        """A page of what lies in a directory of a logged model's files; as list_artifacts."""
        return self._list(self._model_as_owner(model_id), path, page_token)

    def list_logged_model_artifacts_iter(self, model_id: str, path: str | None = None) -> Iterator[FileInfo]:
        """Everything in a directory of a logged model's files, read page by page."""
        return pages(lambda token: self.list_logged_model_artifacts(model_id, path, token))

    def _list(self, owner: Owner, path: str | None, page_token: str | None) -> PagedList[FileInfo]:
        from localtrack.catalog.paging import start_of, token_after

        where = paths.directory(path)
        query = ("artifacts", owner.id, where)
        after = start_of(query, page_token, [str])
        try:
            with Place(self.store, owner_to_read(self.store, owner)) as place:
                here = {entry.name: entry for entry in (*self._gone_from(place, where), *place.entries(where))}
        except OSError as error:
            raise StoreError(f"The artifacts of {owner.id} cannot be read: {error}") from error
        found = [here[name] for name in sorted(here) if after is None or name > str(after[0])]
        infos = [
            FileInfo(f"{where}/{name}" if where else name, is_dir, None if is_dir else size, removed_to)
            for name, is_dir, size, removed_to in found[:PAGE]
        ]
        return PagedList(infos, token_after(query, [found[PAGE - 1].name]) if len(found) > PAGE else None)

    def _removed(self, place: Place, where: str) -> list[Note]:
        """What of a file or directory ("": all) `localtrack gc` removed here, and is registered like that still."""
        from localtrack.artifacts.removed import absent, notes_of

        notes = notes_of(self.store, place.owner.id)
        if not notes:
            return []
        gone = absent(place, notes.values(), where)
        known: dict[str, Registered] | None = self._ask(
            lambda catalog: catalog.registered(place.owner.id, refresh=False), None
        )
        if known is None:  # the catalog cannot be read: the notes were true when they were written
            return gone
        return [note for note in gone if (one := known.get(note.path)) and one[:2] == (note.size, note.sha256)]

    def _gone_from(self, place: Place, where: str) -> Iterator[Entry]:
        """The entries of a directory for what was removed in it and below."""
        for note in self._removed(place, where):
            rest = note.path[len(where) + 1 :] if where else note.path
            name, slash, _ = rest.partition("/")
            if name:
                yield Entry(name, True, 0) if slash else Entry(name, False, note.size, note.remote)  # noqa: FBT003

    def download_artifacts(
        self, run_id: str, path: str | None = None, dst_path: str | os.PathLike[str] | None = None
    ) -> str:
        """Where a file or directory of a run's artifacts lies, or lies after it was copied.

        Args:
            run_id: the run.
            path: file or directory; None or "" is all of it.
            dst_path: copy it there, made if missing. None copies nothing: the path in the store is returned, as MLflow
                returns it for local stores; what lies there must not be changed.

        Returns:
            An absolute path.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE.
            RemovedError: `localtrack gc` removed it, or some of it; the message says which remote has it.
            OSError: a copy cannot be made.
        """
        return self._download(self._run_as_owner(run_id), path, dst_path)

    def download_model_artifacts(
        self, model_id: str, path: str | None = None, dst_path: str | os.PathLike[str] | None = None
    ) -> str:
        """The same for a logged model's files."""
        return self._download(self._model_as_owner(model_id), path, dst_path)

    def _download(self, owner: Owner, path: str | None, dst_path: str | os.PathLike[str] | None) -> str:
        from localtrack.artifacts.fetch import exists, fetch

        where = paths.directory(path)
        owner = owner_to_read(self.store, owner)
        with Place(self.store, owner) as place:
            if removed := self._removed(place, where):
                from localtrack.artifacts.removed import error_for

                raise error_for(removed, where, model=owner.model)
            if not exists(place, where):
                if where:
                    raise TrackingError(f"No such artifact: '{where}'", "RESOURCE_DOES_NOT_EXIST")
                place.directory(make=True)  # nothing was logged yet: an empty directory is the right answer
            if dst_path is None:
                return os.path.join(root(self.store, owner), where).rstrip("/")
            target = os.path.abspath(os.fspath(dst_path))
            fetch(place, where, target)
            return os.path.join(target, where)

    def get_artifact_uri(self, run_id: str, artifact_path: str | None = None) -> str:
        """The path in the store where an artifact of a run lies, or would lie; None is the artifact directory.

        Files that are written straight to it are registered by the next scan, once they have settled.
        """
        where = paths.directory(artifact_path)
        directory = root(self.store, self._run_as_owner(run_id))
        return f"{directory}/{where}" if where else directory
