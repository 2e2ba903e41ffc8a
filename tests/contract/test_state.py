"""The delivery state: one suite for the file and for the simulator's memory, then what only a file has to hold."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.errors import StoreError, TooNewError
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.records import (
    CLASSES,
    Cell,
    Conflict,
    ParamDelivered,
    Record,
    RemoteFacts,
    RunBinding,
    Watermark,
    key_of,
    row_of,
)
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.migrations import MIGRATIONS
from localtrack_sync.store.state import APPLICATION_ID, FORMAT, StateDb, StateReader, migrate, schema

REMOTE = Remote("http://127.0.0.1:5000")
GOLDEN = Path(__file__).with_name(f"state_format_{FORMAT}.sql")

State = MemoryState | StateDb


@pytest.fixture(params=["memory", "file"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    """Each implementation of the delivery state."""
    if request.param == "memory":
        yield MemoryState()
        return
    with StateDb(str(tmp_path / "state.db"), REMOTE) as opened:
        yield opened


def in_order(records: tuple[Record, ...]) -> list[Record]:
    """Records sorted by identity."""
    return sorted(records, key=key_of)


def test_a_saved_record_is_loaded_by_its_scope(state: State) -> None:
    """What was saved comes back equal, for its scope and no other."""
    ours = Watermark("run", "r1", "j1", upto=5, verify_upto=2, top_ts=1_700_000_000_000)
    state.save(Save(puts=(ours, Watermark("run", "r2", "j1", upto=9), RunBinding("run", "r1", "bound", "x"))))
    assert in_order(state.load(Load("run", "r1"))) == [RunBinding("run", "r1", "bound", "x"), ours]
    assert state.load(Load("experiment", "r1")) == ()
    assert len(state.all()) == 3


def test_a_record_replaces_the_one_with_its_key(state: State) -> None:
    """Equal keys: the last saved record stands."""
    state.save(Save(puts=(Cell("run", "r1", "tag", "old", poss=("=a", "-"), unsettled="=b"),)))
    state.save(Save(puts=(Cell("run", "r1", "tag", None),)))
    assert state.load(Load("run", "r1")) == (Cell("run", "r1", "tag", None),)


def test_a_dropped_record_is_gone(state: State) -> None:
    """Drops go by the key, whatever the other fields say; dropping what is not there is fine."""
    state.save(Save(puts=(ParamDelivered("run", "r1", "a", "1"), ParamDelivered("run", "r1", "b", "2"))))
    state.save(Save(drops=(ParamDelivered("run", "r1", "a", "other"), ParamDelivered("run", "r1", "none", ""))))
    assert state.load(Load("run", "r1")) == (ParamDelivered("run", "r1", "b", "2"),)


def test_puts_win_over_drops_of_the_same_save(state: State) -> None:
    """A Save that drops and puts one key leaves the put."""
    record = ParamDelivered("run", "r1", "a", "1")
    state.save(Save(puts=(record,), drops=(record,)))
    assert state.load(Load("run", "r1")) == (record,)


@pytest.mark.parametrize("text", ["", "\x00", "é中\U0001f600", "\ud800", "a" * 20_000, "'; DROP TABLE cell;--"])
def test_any_text_survives(state: State, text: str) -> None:
    """Any string that JSON from a remote can hold comes back as it was, in keys, values and tuples."""
    record = Cell("run", "r1", key=text, base=text, poss=(text, "-"))
    state.save(Save(puts=(record,)))
    assert state.load(Load("run", "r1")) == (record,)
    state.save(Save(drops=(record,)))
    assert state.all() == ()


VALUES = {
    "str": st.text(),
    "str | None": st.none() | st.text(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False),
    "tuple[str, ...]": st.lists(st.text()).map(tuple),
}


def any_record() -> st.SearchStrategy[Record]:
    """A record of any class with any values."""
    return st.one_of(
        *(
            st.builds(kind, **{name: VALUES[hint] for name, hint in kind.__annotations__.items() if name.islower()})
            for kind in CLASSES
        )
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(any_record(), max_size=4), st.lists(any_record(), max_size=2)), max_size=6))
def test_file_and_memory_agree(saves: list[tuple[list[Record], list[Record]]]) -> None:
    """Any sequence of saves leaves the same records in the file as in memory, field for field, type for type."""
    memory = MemoryState()
    with TemporaryDirectory() as directory, StateDb(f"{directory}/state.db", REMOTE) as file:
        for puts, drops in saves:
            memory.save(Save(tuple(puts), tuple(drops)))
            file.save(Save(tuple(puts), tuple(drops)))
        kept = {key_of(record): record for record in file.all()}
    remembered = {key_of(record): record for record in memory.all()}
    assert kept == remembered
    for record in kept.values():
        for name, value in row_of(record).items():
            assert type(value) is type(getattr(remembered[key_of(record)], name))


def test_a_closed_file_is_found_again(tmp_path: Path) -> None:
    """What was saved is there after closing and opening; the file belongs to its owner only."""
    path = str(tmp_path / "sync" / "state.db")
    with StateDb(path, REMOTE) as state:
        state.save(Save(puts=(RemoteFacts("remote", "", version="3.17.2", dedupes=True),)))
        state.flush()
    with StateDb(path, REMOTE) as state:
        assert state.all() == (RemoteFacts("remote", "", version="3.17.2", dedupes=True),)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_flush_goes_to_the_disk(tmp_path: Path) -> None:
    """The file is written with synchronous=FULL: what was flushed survives a power cut."""
    with StateDb(str(tmp_path / "state.db"), REMOTE) as state:
        assert state._db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert state._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_save_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    """Saves are all or nothing: a record that cannot be stored takes what was not flushed with it, and only that."""
    impossible = Watermark("run", "r1", "j1", upto=2**70)
    with StateDb(str(tmp_path / "state.db"), REMOTE) as state:
        state.save(Save(puts=(ParamDelivered("run", "r1", "kept", "1"),)))
        state.flush()
        state.save(Save(puts=(ParamDelivered("run", "r1", "b", "1"),)))
        with pytest.raises(OverflowError):
            state.save(Save(puts=(ParamDelivered("run", "r1", "a", "1"), impossible)))
        assert state.all() == (ParamDelivered("run", "r1", "kept", "1"),)
        state.save(Save(puts=(ParamDelivered("run", "r1", "a", "1"),)))
        assert len(state.all()) == 2


KILLED = """
import os, signal, sys
from localtrack_sync.protocol.effects import Save
from localtrack_sync.protocol.records import Watermark
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.state import StateDb
state = StateDb(sys.argv[1], Remote("http://127.0.0.1:5000"))
for n in range(int(sys.argv[2])):
    state.save(Save(puts=(Watermark("run", "r1", "j1", upto=n),)))
    state.save(Save(puts=(Watermark("run", "r1", "j2", upto=n),)))
    state.flush()
state.save(Save(puts=(Watermark("run", "r1", "j1", upto=99),)))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("saves", [0, 1, 7])
def test_a_killed_process_leaves_its_last_flush(tmp_path: Path, saves: int) -> None:
    """After SIGKILL the file holds exactly what was saved before the last flush that returned."""
    path = str(tmp_path / "state.db")
    ended = subprocess.run([sys.executable, "-c", KILLED, path, str(saves)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    with StateDb(path, REMOTE) as state:
        uptos = {record.upto for record in state.all() if isinstance(record, Watermark)}
    assert uptos == ({saves - 1} if saves else set())


def test_a_reader_sees_one_moment_while_the_writer_writes(tmp_path: Path) -> None:
    """`localtrack status` reads beside a running replay, without waiting and without half a save."""
    path = str(tmp_path / "state.db")
    with StateDb(path, REMOTE) as state:
        state.save(Save(puts=(Conflict("run", "r1", "param", "a", "1", "2"), ParamDelivered("run", "r1", "b", "1"))))
        state.flush()
        with StateReader(path) as reader:
            state.save(Save(puts=(Conflict("run", "r2", "param", "a", "1", "2"),)))
            state.flush()
            assert [record.scope_id for record in reader.records(Conflict)] == ["r1"]
            assert reader.load(Load("run", "r2")) == ()
            assert len(reader.load(Load("run", "r1"))) == 2
        with StateReader(path) as reader:
            assert [record.scope_id for record in reader.records(Conflict)] == ["r1", "r2"]
            assert reader.remote == REMOTE


def test_the_state_of_another_remote_is_refused(tmp_path: Path) -> None:
    """A file that was renamed to another remote's name is not taken for that remote's."""
    path = str(tmp_path / "state.db")
    StateDb(path, REMOTE).close()
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:5000"):
        StateDb(path, replace(REMOTE, url="http://elsewhere"))


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file of a later version is neither read nor changed, by writer and reader."""
    path = tmp_path / "state.db"
    StateDb(str(path), REMOTE).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(TooNewError, match="newer"):
        StateDb(str(path), REMOTE)
    with pytest.raises(TooNewError, match="newer"):
        StateReader(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database" * 500, None], ids=["no SQLite", "other SQLite"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no delivery state is left alone, and the message says what to do."""
    path = tmp_path / "state.db"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE other (x)")
        db.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused:
        StateDb(str(path), REMOTE)
    assert "run again" in refused.value.hint
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    """What a process that was killed while making the file leaves behind is made whole."""
    path = tmp_path / "state.db"
    path.touch()
    StateDb(str(path), REMOTE).close()
    with StateReader(str(path)) as reader:
        assert list(reader.records(Watermark)) == []


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    """The reader makes no file."""
    with pytest.raises(StoreError):
        StateReader(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_this_format_are_pinned() -> None:
    """A changed record class changes the tables: that needs a new FORMAT, a migration, and a new golden file."""
    assert ";\n".join(schema()) + ";\n" == GOLDEN.read_text(), "raise FORMAT, add a migration, keep the old golden file"


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_every_earlier_format_becomes_this_one(tmp_path: Path, version: int) -> None:
    """A file of any released format ends with the tables of a new one."""
    golden = Path(__file__).with_name(f"state_format_{version}.sql").read_text()
    old = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    old.executescript(golden + f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
    old.execute("INSERT INTO about VALUES ('url', ?), ('workspace', '')", [REMOTE.url])
    old.close()
    StateDb(str(tmp_path / "old.db"), REMOTE).close()
    StateDb(str(tmp_path / "new.db"), REMOTE).close()
    assert tables(tmp_path / "old.db") == tables(tmp_path / "new.db")


def test_a_migration_runs_once_and_whole(tmp_path: Path) -> None:
    """Steps run in order, each with its version number in one transaction; a step that fails changes nothing."""
    path = tmp_path / "state.db"
    StateDb(str(path), REMOTE).close()
    db = sqlite3.connect(path, isolation_level=None)

    def add_column(target: sqlite3.Connection) -> None:
        target.execute("ALTER TABLE watermark ADD COLUMN extra TEXT")

    def fail(target: sqlite3.Connection) -> None:
        target.execute("DROP TABLE watermark")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        migrate(db, FORMAT, FORMAT + 2, {FORMAT: add_column, FORMAT + 1: fail})
    db.close()
    assert "extra" in tables(path)["watermark"]
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone()[0] == FORMAT + 1
    db.close()
    assert set(MIGRATIONS) == set(range(1, FORMAT))


def tables(path: Path) -> dict[str, str]:
    """Name -> definition of each table of a file, blanks evened out."""
    db = sqlite3.connect(path)
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    db.close()
    return {name: " ".join(sql.split()) for name, sql in found}
