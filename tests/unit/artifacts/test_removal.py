"""Files that are taken out of the store: only what was registered goes, and what else is there comes back."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from localtrack import TrackingClient
from localtrack.artifacts.place import Owner, Place
from localtrack.artifacts.removal import ASIDE, Remover
from localtrack.artifacts.removed import Copy, Note, RemovedFiles, notes_of
from localtrack.artifacts.scan import register
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.desired import StoredFile
from localtrack.errors import RemovedError, StoreError, TooNewError
from localtrack.journal.writer import journal_of
from localtrack.store import Store

COPIES = (Copy("http://a", "there"),)


class Kept:
    """A store with one run of one file `d/a.txt`."""

    def __init__(self, path: Path) -> None:
        self.store = Store.at(path)
        self.client = TrackingClient(str(path))
        self.run_id = self.client.create_run("0").info.run_id
        self.client.log_text(self.run_id, "one", "d/a.txt")
        self.owner = Owner(self.run_id, "0")
        self.root = Path(self.store.run_artifacts("0", self.run_id))

    def files(self) -> tuple[StoredFile, ...]:
        """What is registered."""
        with Catalog(self.store) as catalog:
            return catalog.files(self.run_id)

    def remove(self, step: Callable[[str], None] = lambda _step: None) -> tuple[list[str], list[tuple[str, str]]]:
        """Paths that went, and those that stayed with the reason."""
        with RemovedFiles(self.store) as notes, Place(self.store, self.owner) as place:
            done = Remover(self.store, notes, time.time_ns, step).remove(place, self.files(), COPIES)
        return [file.path for file in done.files], [(one.path, one.reason) for one in done.kept]

    def on_disk(self) -> dict[str, str]:
        """Path -> content of every file of the run, hidden ones too."""
        return {str(p.relative_to(self.root)): p.read_text() for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A store with one file."""
    return Kept(tmp_path / "store")


def test_a_registered_file_goes_and_leaves_a_note(kept: Kept) -> None:
    """The file is gone, nothing lies aside, and the note says what it was and where it is."""
    assert kept.remove() == (["d/a.txt"], [])
    assert kept.on_disk() == {}
    note = notes_of(kept.store, kept.run_id)["d/a.txt"]
    assert (note.size, note.sha256, note.copies, note.aside) == (3, hashlib.sha256(b"one").hexdigest(), COPIES, "")
    with pytest.raises(RemovedError, match=r"http://a \(run there\)"):
        kept.client.download_artifacts(kept.run_id, "d/a.txt")
    assert kept.remove() == ([], [("d/a.txt", "it is not here any more")])
    assert "d/a.txt" in notes_of(kept.store, kept.run_id), "a second removal does not forget the first"


def test_another_content_and_links_stay(kept: Kept, tmp_path: Path) -> None:
    """A file that was changed, one behind a link, and a link in its place are not touched."""
    file = kept.root / "d" / "a.txt"
    file.write_text("two")
    assert kept.remove() == ([], [("d/a.txt", "it is not what was registered")])
    file.write_text("one")
    os.rename(kept.root / "d", tmp_path / "outside")
    (kept.root / "d").symlink_to(tmp_path / "outside")
    gone, stays = kept.remove()
    assert (gone, stays[0][0]) == ([], "d/a.txt")
    assert (tmp_path / "outside" / "a.txt").read_text() == "one"
    (kept.root / "d").unlink()
    (kept.root / "d").mkdir()
    file.symlink_to(tmp_path / "outside" / "a.txt")
    assert kept.remove()[0] == []
    assert file.is_symlink()
    assert notes_of(kept.store, kept.run_id) == {}


@pytest.mark.parametrize("when", ["noted", "aside"])
def test_what_is_stored_meanwhile_is_never_removed(kept: Kept, when: str) -> None:
    """Training stores the path again between two steps: the newer file is there at the end, whatever it took."""
    once = [when]

    def step(name: str) -> None:
        if once and name == once[0]:
            once.clear()
            kept.client.log_text(kept.run_id, "newer", "d/a.txt")

    kept.remove(step)
    assert kept.on_disk() == {"d/a.txt": "newer"}
    assert Path(kept.client.download_artifacts(kept.run_id, "d/a.txt")).read_text() == "newer"


def test_a_write_in_place_is_noticed(kept: Kept) -> None:
    """A program writes into the open file after it was hashed: it is put back, with what was written."""
    file = kept.root / "d" / "a.txt"

    def step(name: str) -> None:
        if name == "noted":
            before = file.stat()
            file.write_text("two")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert kept.remove(step) == ([], [("d/a.txt", "it was stored again just now")])
    assert kept.on_disk() == {"d/a.txt": "two"}
    assert notes_of(kept.store, kept.run_id) == {}


class Died(Exception):  # noqa: N818
    """Ends a removal in the middle, as a kill does for whoever looks at the store afterwards."""


@pytest.mark.parametrize("last", ["noted", "aside", "gone"])
def test_an_unfinished_removal_is_taken_back(kept: Kept, last: str) -> None:
    """Whatever the last step was: reads tell the truth, a scan registers nothing, and the next gc puts it in order."""

    def step(name: str) -> None:
        if name == last:
            raise Died

    with pytest.raises(Died):
        kept.remove(step)
    here = "d/a.txt" in kept.on_disk()
    assert here == (last == "noted")
    assert [one.path for one in kept.client.list_artifacts(kept.run_id, "d")] == ["d/a.txt"]
    if not here:
        with pytest.raises(RemovedError):
            kept.client.download_artifacts(kept.run_id, "d/a.txt")
    with Catalog(kept.store) as catalog:
        later = round(time.time() * 1000) + 7 * 86_400_000
        assert register(kept.store, catalog, lambda: journal_of(kept.store), later).registered == 0
    with RemovedFiles(kept.store) as notes:
        assert Remover(kept.store, notes, time.time_ns).put_back() == (last == "aside")
        assert notes.unfinished() == []
    assert kept.on_disk() == ({} if last == "gone" else {"d/a.txt": "one"})
    assert set(notes_of(kept.store, kept.run_id)) == ({"d/a.txt"} if last == "gone" else set())


def test_a_newer_file_wins_over_one_that_was_left_aside(kept: Kept) -> None:
    """It died after the rename, and training stored the path again: the newer one stays, the older one goes."""

    def step(name: str) -> None:
        if name == "aside":
            raise Died

    with pytest.raises(Died):
        kept.remove(step)
    assert [path.name[: len(ASIDE)] for path in (kept.root / "d").iterdir()] == [ASIDE]
    kept.client.log_text(kept.run_id, "newer", "d/a.txt")
    with RemovedFiles(kept.store) as notes:
        assert Remover(kept.store, notes, time.time_ns).put_back() == 0
    assert kept.on_disk() == {"d/a.txt": "newer"}


def test_a_restored_file_is_the_same_one(kept: Kept) -> None:
    """A removed file that somebody lays back into its place is listed as here, read, and not registered again."""
    kept.remove()
    (kept.root / "d" / "a.txt").write_text("one")
    [listed] = kept.client.list_artifacts(kept.run_id, "d")
    assert (listed.removed_to, listed.file_size) == (None, 3)
    assert Path(kept.client.download_artifacts(kept.run_id, "d/a.txt")).read_text() == "one"
    with Catalog(kept.store) as catalog:
        later = round(time.time() * 1000) + 86_400_000
        assert register(kept.store, catalog, lambda: journal_of(kept.store), later).registered == 0


def test_a_note_of_other_content_says_nothing(kept: Kept) -> None:
    """The path was logged again after the removal and lost by other means: it is missing, and gc is not blamed."""
    kept.remove()
    kept.client.log_text(kept.run_id, "newer", "d/a.txt")
    (kept.root / "d" / "a.txt").unlink()
    assert kept.client.list_artifacts(kept.run_id, "d") == []
    with pytest.raises(ValueError, match="No such artifact"):
        kept.client.download_artifacts(kept.run_id, "d/a.txt")


def test_rows_for_a_removed_table_are_counted_as_lost(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A table that is not here is not begun anew: that would replace the whole one on the remote."""
    kept.client.log_table(kept.run_id, {"x": [1]}, "t.json")
    kept.remove()
    kept.client.log_table(kept.run_id, {"x": [2]}, "t.json")
    assert "was removed from this store" in caplog.text
    assert kept.on_disk() == {}
    with Catalog(kept.store) as catalog:
        assert sum(journal.losses.get("artifact", 0) for journal in catalog.journals()) == 1


def test_notes_of_a_newer_version_and_other_files_are_refused(kept: Kept) -> None:
    """A newer format is told apart from a file that is none of ours; neither is changed."""
    path = Path(kept.store.path, "removed.db")
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE x (y)")
        db.commit()
    with pytest.raises(StoreError, match="does not hold notes"):
        notes_of(kept.store, kept.run_id)
    path.unlink()
    with RemovedFiles(kept.store) as notes:
        notes.put(kept.owner, [Note("a", 1, "0" * 64, COPIES, 0)])
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(TooNewError):
        notes_of(kept.store, kept.run_id)
    with pytest.raises(TooNewError):
        RemovedFiles(kept.store)
    path.write_bytes(b"")
    assert notes_of(kept.store, kept.run_id) == {}
