"""A journal that somebody made by hand and copied into the store: it can lie, and nothing more."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.cli.entry import run as command
from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import LocaltrackError
from localtrack.journal import codec, connect, ops
from localtrack.journal.reader import JournalReader
from localtrack.journal.writer import Journal, journal_of
from localtrack.store import Store
from localtrack_sync.protocol.effects import Upload
from localtrack_sync.remote.local_files import LocalFileError, LocalFiles
from tests.security.hostile import Hostile
from tests.security.places import around, replay

HASH = "0" * 64
ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e"
#: Ids that are a way out, or hurt whoever prints or stores them.
IDS = ["../../../out", "/etc", "..", "a/b", "", "\0", ESCAPE, "x" * 5000, "attached", "models", "artifacts", "CON"]
PATHS = ["../../../../out/x", "/etc/passwd", "a/../../x", "C:\\x", "a\\..\\x", "\0", ESCAPE, "ok.txt", "x" * 9000]
PAIRS = ((ESCAPE, ESCAPE),)
DEEP = "[" * 100_000


def hostile_ops() -> list[ops.Op]:
    """One of everything that a journal can say, with the worst in it."""
    made: list[ops.Op] = []
    for number, one in enumerate(IDS):
        made += [
            ops.ExperimentCreate(one, f"e{number}{ESCAPE}", one, ()),
            ops.RunCreate(one, one, ESCAPE, ESCAPE, 2**62, ((ESCAPE, ESCAPE),), f"http://h{number}/{ESCAPE}", "x" * 64),
            ops.LogBatch(
                one, (Metric(ESCAPE, float("nan"), -(2**62), 2**62),), (Param(ESCAPE, ESCAPE),), (RunTag("a", ESCAPE),)
            ),
            ops.RunUpdate(one, status=ESCAPE, end_time=-1, name=one),
            ops.RunInputs(one, ((ESCAPE, ESCAPE, "local", DEEP, DEEP, DEEP, ((ESCAPE, ESCAPE),)),), (one,)),
            ops.RunModelLogged(one, DEEP),
            ops.ModelCreate(f"m-{one}", one, ESCAPE, ESCAPE, one, PAIRS, PAIRS, f"http://{ESCAPE}", "x"),
        ]  # fmt: skip
        made += [ops.ArtifactStored(one, path, 3, HASH) for path in PATHS]
    return made


@pytest.fixture
def poisoned(tmp_path: Path) -> Store:
    """A store with an honest run, and a journal of somebody else."""
    store = Store.at(tmp_path / "store")
    client = TrackingClient(store.path)
    client.log_param(client.create_run("0").info.run_id, "a", "1")
    elsewhere = Journal(Store.at(tmp_path / "elsewhere"))
    kept = 0
    for op in hostile_ops():
        with suppress(LocaltrackError, ValueError, UnicodeError, OverflowError):
            elsewhere.append(op)
            kept += 1
    assert kept > 100, "most of it can be written down"
    path = elsewhere.path
    assert path is not None
    elsewhere.close()
    os.rename(path, os.path.join(store.journals, os.path.basename(path)))
    return store


def test_commands_survive_a_hostile_journal(
    poisoned: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command ends as documented, prints no control character, and changes nothing outside the store."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = around(tmp_path, poisoned)
    run_id = next(run.run_id for run in Catalog(poisoned).run_index() if len(run.run_id) == 32)
    with Hostile() as server:
        to = ["--to", server.url, "--patience", "0.2"]
        for words in (
            ["runs"], ["runs", "--json"], ["status"], ["status", "--json"], ["sync", *to[:2], "--dry-run"],
            ["sync", *to, "--settle", "0"], ["verify", *to, "--json"], ["conflicts"],
            ["conflicts", "--json"], ["show", run_id], ["show", "a/b"], ["sync", "--dry-run"], ["status"],
        ):  # fmt: skip
            code = command([*words, "--store", poisoned.path])
            told = capfd.readouterr()
            assert code in (0, 1, 2, 3, 4, 5), words
            assert "mistake in localtrack" not in told.err, (words, told.err)
            assert all(c.isprintable() or c == "\n" for c in told.out + told.err), words
    assert around(tmp_path, poisoned) == before


def test_an_honest_run_beside_it_is_delivered(poisoned: Store) -> None:
    """What is odd is refused or parked one by one; the rest of the store arrives."""
    with Hostile() as server:
        ended = replay(poisoned, server.url)
    (honest,) = [account for account in ended.accounts if len(account.run_id) == 32]
    assert (honest.owed, honest.parked, honest.rejected) == (0, 0, 0)


def test_a_journal_directs_no_credentials(poisoned: Store) -> None:
    """Runs that name servers of the author's choice go nowhere without --to: they were not logged by this user."""
    assert command(["sync", "--store", poisoned.path]) in (2, 3)
    assert os.listdir(poisoned.sync) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("directory", ["0/run/artifacts", "../../out", "/etc", "0/../../x/artifacts", "0/\0/artifacts"])
def test_no_file_outside_the_store_is_read_for_an_upload(tmp_path: Path, directory: str, path: str) -> None:
    """Paths and ids that lead out, whoever wrote them: nothing is opened."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("abc")
    (tmp_path / "store" / "artifacts").mkdir(parents=True)
    with pytest.raises(LocalFileError):
        list(LocalFiles(str(tmp_path / "store" / "artifacts")).chunks(Upload(directory, path, 3, HASH)))


def crafted(store: Store, payloads: list[bytes]) -> None:
    """A journal with an honest first record, and records of any bytes whose checksums hold."""
    client = TrackingClient(store.path)
    client.log_param(client.create_run("0").info.run_id, "a", "1")
    journal_of(store).close()
    (name,) = [name for name in os.listdir(store.journals) if name.endswith(".db")]
    with sqlite3.connect(os.path.join(store.journals, name)) as db:
        (incarnation,) = db.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()
        seed = codec.seed_of(incarnation)
        (last,) = db.execute("SELECT max(n) FROM record").fetchone()
        db.execute("DELETE FROM record WHERE n = ?", (last,))  # the seal
        for n, payload in enumerate(payloads, last):
            db.execute("INSERT INTO record VALUES (?, ?)", (n, codec.seal(payload, seed, n)))
    db.close()


def test_records_of_any_bytes_stop_nothing(tmp_path: Path) -> None:
    """Kinds, texts and columns that make no sense, with checksums that hold: what can be read is, the rest is named."""
    rng = random.Random(7)
    heads = [codec.HEAD.pack(kind, 1 << 40) for kind in range(256)]
    payloads = [head + b'{"run_id": ' + b"[" * 100_000 for head in heads]
    payloads += [head + b'{"a": ' * 500 + b"1" + b"}" * 500 for head in heads[:64]]
    payloads += [head + rng.randbytes(rng.randrange(200)) for head in heads for _ in range(3)]
    payloads += [b"\0" * 9, b"\xff" * 400, codec.HEAD.pack(codec.BATCH, 1) + b"\xff" * 30]
    store = Store.at(tmp_path / "store")
    crafted(store, payloads)
    with Catalog(store) as catalog:
        catalog.refresh()
        assert len([run for run in catalog.run_index() if len(run.run_id) == 32]) == 1
        (entry,) = catalog.journals()
    assert entry.damage


def journal(path: Path, *statements: str) -> str:
    """A file that says it is a journal, with tables of its own."""
    with sqlite3.connect(path) as db:
        for statement in (*statements, f"PRAGMA application_id={connect.APPLICATION_ID}", "PRAGMA user_version=1"):
            db.execute(statement)
    db.close()
    return str(path)


META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
NAME = "CREATE TABLE name (ref INTEGER PRIMARY KEY, text BLOB NOT NULL, crc INTEGER NOT NULL)"
ENDLESS = (
    "CREATE VIEW record AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
    "SELECT n, x'00' AS body FROM c"
)
RECORD = "CREATE TABLE record (n INTEGER PRIMARY KEY, body BLOB NOT NULL)"


@pytest.mark.parametrize(
    "statements",
    [
        (META, NAME, ENDLESS),
        (META, NAME, "CREATE TABLE record (n TEXT, body BLOB)"),
        (META, NAME, RECORD, "CREATE VIEW more AS SELECT load_extension('/tmp/x.so')"),
        (META, RECORD, "CREATE TABLE name (ref, text, crc)"),
        (META, NAME, RECORD, "CREATE TRIGGER t AFTER INSERT ON record BEGIN SELECT 1; END"),
    ],
    ids=["endless view", "text numbers", "another view", "untyped", "trigger"],
)  # fmt: skip
def test_a_file_whose_tables_are_not_a_journals_is_not_read(tmp_path: Path, statements: tuple[str, ...]) -> None:
    """Views without end, columns of other kinds: named as no journal of ours, and the rest of the store is read."""
    path = journal(tmp_path / "x.db", *statements)
    with pytest.raises(LocaltrackError, match="tables differ"):
        JournalReader(path)
    store = Store.at(tmp_path / "store")
    store.make()
    os.rename(path, os.path.join(store.journals, "20260101-x.db"))
    with Catalog(store) as catalog:
        catalog.refresh()
        (entry,) = catalog.journals()
    assert "tables differ" in str(entry.error)


def test_schemas_of_journals_run_no_functions(tmp_path: Path) -> None:
    """SQLite is told not to trust what stands in a journal's schema."""
    store = Store.at(tmp_path / "store")
    client = TrackingClient(store.path)
    client.log_param(client.create_run("0").info.run_id, "a", "1")
    (name,) = [name for name in os.listdir(store.journals) if name.endswith(".db")]
    connection = connect.open_for_reading(os.path.join(store.journals, name))
    connect.check_header(connection, name)
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    connection.close()


def test_what_is_no_file_among_the_journals_is_not_opened(tmp_path: Path) -> None:
    """A named pipe in the place of a journal would hold up whoever opens it; a directory is no journal either."""
    store = Store.at(tmp_path / "store")
    store.make()
    os.mkfifo(os.path.join(store.journals, "pipe.db"))
    os.mkdir(os.path.join(store.journals, "directory.db"))
    with Catalog(store) as catalog:
        catalog.refresh()
        told = [str(entry.error) for entry in catalog.journals()]
    assert all("not a file" in one for one in told), told
