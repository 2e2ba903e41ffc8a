from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import localtrack
from localtrack.artifacts.copy import Content, copy
from localtrack.artifacts.place import Owner, Place
from localtrack.errors import TrackingError
from localtrack.journal.ops import ArtifactStored, ModelCreate
from localtrack.service import Service
from tests.unit.api.journals import another, ops_in
from tests.unit.artifacts.stored import on_disk, registered

MODEL = "m-" + "1" * 32


@pytest.fixture
def run_id(service: Service) -> str:
    """A run."""
    return service.create_run("0").info.run_id


def files(service: Service, run_id: str) -> dict[str, tuple[int, str]]:
    """What lies in a run's artifact directory."""
    return on_disk(service.get_artifact_uri(run_id))


def tree(where: Path) -> Path:
    """A directory with files, a link to a file, a link that is a cycle, and an empty directory."""
    (where / "a" / "b").mkdir(parents=True)
    (where / "empty").mkdir()
    (where / "x.txt").write_text("x")
    (where / "a" / "b" / "y.bin").write_bytes(os.urandom(70_000))
    (where / "a" / "link.txt").symlink_to(where / "x.txt")
    (where / "a" / "cycle").symlink_to(where)
    return where


def test_a_file_is_stored_and_registered(service: Service, run_id: str, home: Path) -> None:
    """log_artifact copies the bytes, private to the user, and one op says path, size and hash."""
    source = home / "model.bin"
    source.write_bytes(os.urandom(300_000))
    service.log_artifact(run_id, source, "deep/er")
    assert files(service, run_id) == registered(service.store.path)
    assert list(registered(service.store.path)) == ["deep/er/model.bin"]
    stored = Path(service.download_artifacts(run_id, "deep/er/model.bin"))
    assert stored.read_bytes() == source.read_bytes()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700


def test_later_changes_to_the_source_do_not_show(service: Service, run_id: str, home: Path) -> None:
    """What was logged stays as it was when the source is overwritten in place, cut, or removed."""
    source = home / "x"
    source.write_bytes(b"before" * 100_000)
    service.log_artifact(run_id, source)
    with source.open("r+b") as file:
        file.write(b"after!")
        file.truncate(10)
    source.unlink()
    assert Path(service.download_artifacts(run_id, "x")).read_bytes() == b"before" * 100_000


def test_a_directory_is_stored_as_mlflow_takes_it(service: Service, run_id: str, home: Path) -> None:
    """Files and links to files of all levels come in; links to directories are not entered, so cycles end."""
    source = tree(home / "src")
    service.log_artifacts(run_id, source)
    assert set(files(service, run_id)) == {"x.txt", "a/b/y.bin", "a/link.txt"}
    service.log_artifact(run_id, source, "whole")
    assert {path for path in files(service, run_id) if path.startswith("whole/")} == {
        "whole/src/x.txt",
        "whole/src/a/b/y.bin",
        "whole/src/a/link.txt",
    }
    assert files(service, run_id) == registered(service.store.path)


def test_an_absent_directory_stores_nothing(service: Service, run_id: str, home: Path) -> None:
    """As in MLflow, logging a directory that does not exist is no error."""
    service.log_artifacts(run_id, home / "nowhere")
    assert registered(service.store.path) == {}


def test_logging_the_directory_that_holds_the_store(service: Service, run_id: str, home: Path) -> None:
    """Logging a directory above the store copies it once, and not its own copies again."""
    service.log_text(run_id, "first", "first.txt")
    service.log_artifacts(run_id, home, "all")
    assert not any(path.count("all/") > 1 for path in files(service, run_id))


@pytest.mark.parametrize("number", [1, 127, 128, 129, 300])
def test_all_of_many(service: Service, run_id: str, home: Path, number: int) -> None:
    """However many files are logged in one call, each is stored and registered once, in their order."""
    source = home / "many"
    for i in range(number):
        (source / f"d{i % 7}").mkdir(parents=True, exist_ok=True)
        (source / f"d{i % 7}" / f"{i}").write_text(str(i))
    service.log_artifacts(run_id, source)
    assert len(files(service, run_id)) == number
    assert files(service, run_id) == registered(service.store.path)
    assert sum(isinstance(op, ArtifactStored) for op in ops_in(service.store.path)) == number


def test_bad_input_raises_and_leaves_nothing(service: Service, run_id: str, home: Path) -> None:
    """A missing file, a pipe, and paths that are refused raise; no file, no op, no temporary name is left."""
    source = home / "x"
    source.write_text("x")
    os.mkfifo(home / "pipe")
    with pytest.raises(FileNotFoundError):
        service.log_artifact(run_id, home / "missing")
    with pytest.raises(TrackingError, match="regular file"):
        service.log_artifact(run_id, home / "pipe")
    for bad in ("../out", "/abs", "a/../../b", "a\\b", "C:"):
        with pytest.raises(TrackingError) as caught:
            service.log_artifact(run_id, source, bad)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    (home / "src").mkdir()
    (home / "src" / "fine").write_text("x")
    (home / "src" / "back\\slash").write_text("x")
    with pytest.raises(TrackingError):
        service.log_artifacts(run_id, home / "src")
    with pytest.raises(TrackingError) as unknown:
        service.log_artifact("f" * 32, source)
    assert unknown.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert on_disk(service.store.artifacts) == {} == registered(service.store.path)


def test_a_file_in_the_way_of_a_directory(service: Service, run_id: str, home: Path) -> None:
    """A file where a directory should be, and a directory where a file should be, are refused; neither is replaced."""
    service.log_text(run_id, "1", "a")
    service.log_text(run_id, "2", "d/x")
    (home / "d").write_text("3")
    with pytest.raises(TrackingError):
        service.log_text(run_id, "3", "a/b")
    with pytest.raises(TrackingError):
        service.log_artifact(run_id, home / "d")
    assert set(files(service, run_id)) == {"a", "d/x"} == set(registered(service.store.path))
    assert set(on_disk(service.store.artifacts)) == {f"0/{run_id}/artifacts/a", f"0/{run_id}/artifacts/d/x"}


@pytest.mark.parametrize("part", ["experiment", "run", "artifacts", "sub"])
def test_links_lead_nowhere(service: Service, run_id: str, home: Path, part: str) -> None:
    """A link in place of any directory of a run is followed neither to write, nor to read, nor to list."""
    outside = home / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    place = Path(service.get_artifact_uri(run_id, "sub"))
    levels = {"sub": place, "artifacts": place.parent, "run": place.parents[1], "experiment": place.parents[2]}
    levels[part].parent.mkdir(parents=True, exist_ok=True)
    levels[part].symlink_to(outside)
    with pytest.raises(TrackingError):
        service.log_text(run_id, "x", "sub/file")
    with pytest.raises(TrackingError):
        service.download_artifacts(run_id, "sub/secret")
    assert service.list_artifacts(run_id, "sub") == []
    assert on_disk(outside) == {"secret": on_disk(outside)["secret"]}
    assert registered(service.store.path) == {}


def test_a_linked_file_is_replaced_and_never_read(service: Service, run_id: str, home: Path) -> None:
    """A link where a file should be: its target is neither read nor written; storing puts a file in its place."""
    (home / "secret").write_text("secret")
    service.log_text(run_id, "x", "other")
    place = Path(service.get_artifact_uri(run_id, "file"))
    place.symlink_to(home / "secret")
    with pytest.raises(TrackingError):
        service.download_artifacts(run_id, "file")
    assert [info.path for info in service.list_artifacts(run_id)] == ["other"]
    service.log_text(run_id, "mine", "file")
    assert not place.is_symlink()
    assert (home / "secret").read_text() == "secret"


def test_ids_of_foreign_journals_do_not_leave_the_store(service: Service) -> None:
    """A place for an owner whose ids are paths cannot be made."""
    for owner in (Owner("../../x", "0"), Owner("x", "../.."), Owner("a/b", "0", model=True)):
        with pytest.raises(TrackingError):
            Place(service.store, owner)
    with Place(service.store, Owner("r", "0")) as place:
        for path in ("../secret", "/etc/passwd", "a/../../b"):
            with pytest.raises(TrackingError):
                place.open_file(path)


def test_a_file_logged_from_its_own_place(service: Service, run_id: str) -> None:
    """A file that was written straight to get_artifact_uri() and is then logged is registered where it lies."""
    service.log_text(run_id, "x", "other")
    place = Path(service.get_artifact_uri(run_id, "own.txt"))
    place.write_text("own")
    service.log_artifact(run_id, place)
    assert place.read_text() == "own"
    assert files(service, run_id) == registered(service.store.path)


def test_logging_again_replaces(service: Service, run_id: str) -> None:
    """The last file stored at a path counts, in the directory and in the catalog."""
    service.log_text(run_id, "one", "t.txt")
    service.log_text(run_id, "another", "t.txt")
    fresh = another(service)
    assert fresh.catalog.files(run_id)[0].size == len("another") == files(service, run_id)["t.txt"][0]


def test_listing_in_pages(service: Service, run_id: str, home: Path) -> None:
    """Pages of 1000 cover a large directory once, in order; sizes and directories are as MLflow says them."""
    source = home / "many"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "f").write_text("")
    for i in range(1100):
        (source / f"{i:05}").write_bytes(b"x" * (i % 5))
    service.log_artifacts(run_id, source)
    first = service.list_artifacts(run_id)
    assert len(first) == 1000
    assert first.token is not None
    rest = service.list_artifacts(run_id, None, first.token)
    assert (len(rest), rest.token) == (101, None)
    listed = list(service.list_artifacts_iter(run_id))
    assert [info.path for info in listed] == sorted(info.path for info in listed)
    assert listed == [*first, *rest]
    assert (listed[3].file_size, listed[-1].is_dir, listed[-1].file_size) == (3, True, None)
    assert [info.path for info in service.list_artifacts(run_id, "sub/")] == ["sub/f"]
    assert service.list_artifacts(run_id, "00001") == service.list_artifacts(run_id, "none") == []
    with pytest.raises(TrackingError):
        service.list_artifacts(run_id, "sub", first.token)
    with pytest.raises(TrackingError):
        service.list_artifacts(run_id, "../..")


def test_downloading(service: Service, run_id: str, home: Path) -> None:
    """A copy is the caller's own; without a destination the path in the store is returned; absent is an error."""
    service.log_artifacts(run_id, tree(home / "src"))
    copied = service.download_artifacts(run_id, "a", home / "dst")
    assert copied == str(home / "dst" / "a")
    assert set(on_disk(copied)) == {"b/y.bin", "link.txt"}
    Path(copied, "link.txt").write_text("changed")
    assert Path(service.download_artifacts(run_id, "x.txt")).read_text() == "x"
    assert on_disk(service.download_artifacts(run_id, "", home / "all")) == files(service, run_id)
    with pytest.raises(TrackingError) as caught:
        service.download_artifacts(run_id, "nothing", home / "dst")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_files_of_logged_models(service: Service, home: Path) -> None:
    """A logged model's files lie in its own directory and are registered under its id."""
    service.journal.append(ModelCreate(MODEL, "0", "net"))
    service.log_model_artifacts(MODEL, tree(home / "src"), "weights")
    service.log_model_artifact(MODEL, home / "src" / "x.txt")
    assert [info.path for info in service.list_logged_model_artifacts(MODEL)] == ["weights", "x.txt"]
    place = service.store.artifacts + f"/0/models/{MODEL}/artifacts"
    assert on_disk(place) == registered(service.store.path)
    assert {op.owner for op in ops_in(service.store.path) if isinstance(op, ArtifactStored)} == {MODEL}
    assert service.download_model_artifacts(MODEL, "x.txt") == f"{place}/x.txt"
    with pytest.raises(TrackingError) as caught:
        service.log_model_artifact("m-" + "2" * 32, home / "src" / "x.txt")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_stream_is_stored(service: Service, run_id: str) -> None:
    """log_stream stores what the stream gives, larger than one piece too."""
    data = os.urandom((1 << 20) + 17)
    service.log_stream(run_id, io.BytesIO(data), "s.bin")
    assert Path(service.download_artifacts(run_id, "s.bin")).read_bytes() == data


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A sparse file is copied without filling its holes, and its hash is that of all its bytes."""
    source, target = tmp_path / "sparse", tmp_path / "copy"
    with source.open("wb") as file:
        file.write(b"head")
        file.seek(50 << 20)
        file.write(b"tail")
        file.truncate(60 << 20)
    with source.open("rb") as file, target.open("w+b") as goal:
        content = copy(file.fileno(), goal.fileno())
    assert content == Content(*on_disk(tmp_path)["sparse"]) == Content(*on_disk(tmp_path)["copy"])
    assert target.stat().st_blocks * 512 < 10 << 20


def test_a_large_file_needs_no_memory(tmp_path: Path) -> None:
    """Logging 300 MB raises the process's peak memory by less than 20 MB."""
    source = tmp_path / "large.bin"
    piece = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(300):
            file.write(piece)
    script = (
        "import localtrack, resource, sys\n"
        "localtrack.set_tracking_uri(sys.argv[1])\n"
        "with localtrack.start_run():\n"
        "    localtrack.log_text('x', 'small')\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    localtrack.log_artifact(sys.argv[2])\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 20 << 10
    assert registered(str(tmp_path / "store"))["large.bin"][0] == 300 << 20


def test_functions_by_uri(store_path: str, home: Path) -> None:
    """localtrack.artifacts answers for runs:/, models:/ and local URIs, of the active run's own store too."""
    with localtrack.start_run() as run:
        localtrack.log_text("hello", "t/a.txt")
        localtrack.log_dict({"a": [1]}, "d.json")
        uri = f"runs:/{run.info.run_id}"
        localtrack.set_tracking_uri(str(home / "elsewhere"))
        assert localtrack.artifacts.load_text(f"{uri}/t/a.txt") == "hello"
        localtrack.set_tracking_uri(store_path)
    assert localtrack.artifacts.load_dict(f"{uri}/d.json") == {"a": [1]}
    assert [info.path for info in localtrack.artifacts.list_artifacts(uri)] == ["d.json", "t"]
    assert [info.path for info in localtrack.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="t")] == [
        "t/a.txt"
    ]
    path = localtrack.artifacts.download_artifacts(f"{uri}/t")
    assert localtrack.artifacts.load_text(f"file://{path}/a.txt") == "hello"
    assert localtrack.artifacts.download_artifacts(path, dst_path=str(home / "dst")) == str(home / "dst" / "t")
    with pytest.raises(TrackingError):
        localtrack.artifacts.download_artifacts(uri, run_id="x")
    with pytest.raises(TrackingError):
        localtrack.artifacts.load_dict(f"{uri}/t/a.txt")


@pytest.mark.usefixtures("store_path")
def test_a_call_without_a_run_starts_one() -> None:
    """As every log call, log_text starts a run when none is active."""
    localtrack.log_text("x", "x.txt")
    run = localtrack.active_run()
    assert run is not None
    assert [info.path for info in localtrack.MlflowClient().list_artifacts(run.info.run_id)] == ["x.txt"]


def test_tables_without_pandas(service: Service, run_id: str) -> None:
    """A dict becomes MLflow's JSON table without pandas; a second call adds rows; the run's tag lists it once."""
    service.log_table(run_id, {"a": [1, 2], "b": ["x/y", "é"]}, "tables/t.json")
    service.log_table(run_id, {"a": 3, "c": 0.5}, "tables/t.json")
    text = Path(service.download_artifacts(run_id, "tables/t.json")).read_text(encoding="utf-8")
    assert text == ('{"columns":["a","b","c"],"data":[[1,"x\\/y",null],[2,"\\u00e9",null],[3,null,0.5]]}')
    tag = another(service).get_run(run_id).data.tags["mlflow.loggedArtifacts"]
    assert tag == '[{"path": "tables/t.json", "type": "table"}]'
    for bad in ("t.csv", "a:b.json"):
        with pytest.raises(TrackingError):
            service.log_table(run_id, {"a": [1]}, bad)
    with pytest.raises(TrackingError):
        service.log_table(run_id, [1], "t.json")  # type: ignore[arg-type, unused-ignore] # what is refused
