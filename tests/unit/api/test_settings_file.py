"""The settings file: what it may say, who may write it, and what wins over it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import localtrack
from localtrack import settings_file
from localtrack.errors import SettingsError
from localtrack.settings import load, one, resolve
from localtrack.settings_file import line_of

Write = Callable[[str], dict[str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the settings file of a new user; returns that user's environment."""

    def written(text: str) -> dict[str, str]:
        path = tmp_path / ".config" / "localtrack" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return {"HOME": str(tmp_path)}

    return written


def refusal(env: dict[str, str]) -> str:
    """Message and hint of the refusal to load."""
    with pytest.raises(SettingsError) as caught:
        load(env)
    return f"{caught.value.message}\n{caught.value.hint}"


def test_each_key_is_honoured(write: Write, tmp_path: Path) -> None:
    """Every key of the file changes its setting; a relative path begins at the file's directory."""
    env = write(
        'store = "runs/store"\nstrict = true\nattach = true\nlocking = "exclusive"\ntruncate_long_values = false\n'
        'async_logging = true\nremote = "https://a"\ndialect = "mlflow"\nconnections = 4\nsettle_seconds = 1\n'
        'databricks_folder = "/Workspace/Shared/team/"\nautostart = true\ngc_older_than = "7d"\ngc_max_bytes = 5\n'
        "[daemon]\npoll_seconds = 3\n"
    )
    found = load(env)
    assert found.store == str(tmp_path / ".config" / "localtrack" / "runs" / "store")
    assert (found.strict, found.attach, found.locking) == (True, True, "exclusive")
    assert (found.truncate_long_values, found.async_logging) == (False, True)
    assert (found.remote, found.dialect, found.connections, found.settle_seconds) == ("https://a", "mlflow", 4, 1.0)
    assert found.databricks_folder == "/Shared/team"
    assert {one.origin for one in resolve(env)} == {"file"}


def test_a_variable_wins_over_the_file(write: Write) -> None:
    """What the environment says counts; an empty variable says nothing."""
    env = write('store = "/file"\nconnections = 4\nlocking = "normal"\n')
    found = load({**env, "LOCALTRACK_STORE": "/variable", "LOCALTRACK_CONNECTIONS": "7", "LOCALTRACK_LOCKING": ""})
    assert (found.store, found.connections, found.locking) == ("/variable", 7, "normal")
    assert load({**env, "MLFLOW_TRACKING_URI": "localtrack:/uri"}).store == "/uri"


def test_a_server_in_the_tracking_uri_wins_over_the_remote_of_the_file(write: Write) -> None:
    """LOCALTRACK_REMOTE, then MLFLOW_TRACKING_URI when it names a server, then the file."""
    env = write('remote = "https://file"\n')
    assert load(env).remote == "https://file"
    assert load({**env, "MLFLOW_TRACKING_URI": "/some/store"}).remote == "https://file"
    by_uri = load({**env, "MLFLOW_TRACKING_URI": "https://uri"})
    assert (by_uri.remote, by_uri.tracking_uri) == (None, "https://uri")
    assert load({**env, "MLFLOW_TRACKING_URI": "https://uri", "LOCALTRACK_REMOTE": "https://v"}).remote == "https://v"


def test_the_home_is_expanded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in a path of the file is the user's home."""
    env = write('store = "~/store"\n')
    monkeypatch.setenv("HOME", env["HOME"])
    assert load(env).store == os.path.join(env["HOME"], "store")


def test_the_file_is_found_where_the_variables_say(tmp_path: Path) -> None:
    """LOCALTRACK_CONFIG names the file, else it lies in XDG_CONFIG_HOME; /dev/null is no file."""
    named, usual = tmp_path / "named.toml", tmp_path / "xdg" / "localtrack" / "config.toml"
    usual.parent.mkdir(parents=True)
    named.write_text("connections = 3\n")
    usual.write_text("connections = 5\n")
    for path in (named, usual):
        path.chmod(0o644)
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load(env).connections == 5
    assert load({**env, "LOCALTRACK_CONFIG": str(named)}).connections == 3
    assert load({**env, "LOCALTRACK_CONFIG": os.devnull}).connections == 2


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A mistyped LOCALTRACK_CONFIG is not the same as no file."""
    told = refusal({"HOME": str(tmp_path), "LOCALTRACK_CONFIG": str(tmp_path / "gone.toml")})
    assert "LOCALTRACK_CONFIG" in told
    assert "localtrack config --example" in told


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("strict = 1", "must be true or false"),
        ('strict = "true"', "must be true or false"),
        ("connections = 0", "must be a whole number from 1 to 64"),
        ("connections = 2.0", "must be a whole number from 1 to 64"),
        ('connections = "2"', "must be a whole number from 1 to 64"),
        ("connections = true", "must be a whole number from 1 to 64"),
        ("settle_seconds = nan", "must be a number from 0 to 86,400"),
        ("settle_seconds = 1e9", "must be a number from 0 to 86,400"),
        ('dialect = "azure"', "must be one of auto, mlflow, databricks"),
        ('databricks_folder = "team"', "must be an absolute path in the workspace"),
        ('store = ["/a"]', "must be a path"),
        ('store = "https://a"', "must be a path"),
        ("remote = 3", "must be text"),
        ("daemon = 3", "must be a table"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_line(write: Write, line: str, rule: str) -> None:
    """A wrong type or range is an error with the key, the file, the line, and the words that the variable has."""
    env = write(f"# first\n{line}\n")
    told = refusal(env)
    assert told.startswith(line.partition(" =")[0])
    assert f"{env['HOME']}/.config/localtrack/config.toml:2" in told
    assert rule in told


def test_variables_and_file_are_refused_in_the_same_words(write: Write) -> None:
    """The rule that a wrong value breaks is told alike, wherever the value stands."""
    told = refusal(write("connections = 65\n")).splitlines()[0]
    with pytest.raises(SettingsError) as caught:
        load({"HOME": "/h", "LOCALTRACK_CONFIG": os.devnull, "LOCALTRACK_CONNECTIONS": "65"})
    assert told.partition("): ")[2] == caught.value.message.partition(": ")[2] != ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conections = 3\n", "'conections' (PATH:1)\nDid you mean connections?"),
        ("[demon]\npoll_seconds = 3\n", "'demon' (PATH:1)\nDid you mean daemon?"),
        ("zzz = 3\n", "'zzz' (PATH:1)\nlocaltrack config --example"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(write: Write, text: str, said: str) -> None:
    """A mistyped key is an error with its place, never ignored."""
    env = write(text)
    assert said.replace("PATH", env["HOME"] + "/.config/localtrack/config.toml") in refusal(env)


def test_a_shared_key_below_daemon_is_refused(write: Write) -> None:
    """A key that was appended after [daemon] would be missed by training code, so it is refused there."""
    told = refusal(write('[daemon]\npoll_seconds = 3\n\nremote = "https://a"\n'))
    assert "config.toml:4" in told
    assert "above the line [daemon]" in told


def test_training_code_leaves_the_keys_of_the_daemon_alone(write: Write) -> None:
    """A mistake in the daemon's table stops the daemon, not a training."""
    assert load(write("connections = 3\n[daemon]\npoll_secnds = 3\n")).connections == 3


@pytest.mark.parametrize(
    "text",
    [
        'token = "s3cret"\n',
        'MLFLOW_TRACKING_PASSWORD = "s3cret"\n',
        '[daemon]\napi_key = "s3cret"\n',
        '[[remote]]\nurl = "https://a"\npassword = "s3cret"\n',
        'remote = "https://ada:s3cret@host"\n',
        'remote = "https://host/?access=s3cret"\n',
        'store = "https://ada:s3cret@host"\n',
        '[daemon]\nstores = ["/a", "https://ada:s3cret@host"]\n',
    ],
)
def test_secrets_are_refused_and_not_repeated(write: Write, text: str) -> None:
    """A secret in the file is an error that says where secrets belong, and does not show it."""
    told = refusal(write(text))
    assert "MLFLOW_TRACKING_TOKEN" in told
    assert "~/.mlflow/credentials" in told
    assert "s3cret" not in told


def test_a_wrong_variable_does_not_show_a_password() -> None:
    """An address where something else belongs is cut in the message."""
    told = refusal({"HOME": "/h", "LOCALTRACK_CONFIG": os.devnull, "LOCALTRACK_STORE": "https://ada:s3cret@host"})
    assert "LOCALTRACK_STORE" in told
    assert "s3cret" not in told


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o664, 0o666])
def test_a_file_that_others_may_write_is_refused(write: Write, mode: int) -> None:
    """Whoever can write the file could send runs to a server of theirs, so such a file is not used."""
    env = write("connections = 3\n")
    Path(settings_file.path_of(env)).chmod(mode)
    told = refusal(env)
    assert "others may write it" in told
    assert "chmod go-w" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(write: Write) -> None:
    """The owner of a file may write it, so a file of another user is not used."""
    env = write("connections = 3\n")
    os.chown(settings_file.path_of(env), 12345, -1)
    assert "others may write it" in refusal(env)


def test_what_is_no_settings_file_is_refused(write: Write, tmp_path: Path) -> None:
    """Broken TOML is told with its line; a directory, a pipe and the like are refused, and not waited for."""
    assert "at line 2" in refusal(write("connections = 3\nstore = \n"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"# \xe9\n")
    (tmp_path / "huge").write_bytes(b"#" * 1_000_001)
    for name, said in (("", "not a file"), ("pipe", "not a file"), ("latin", "UTF-8"), ("huge", "longer than")):
        assert said in refusal({"HOME": str(tmp_path), "LOCALTRACK_CONFIG": str(tmp_path / name)})


def test_a_refused_file_is_looked_at_again(write: Write) -> None:
    """Once the file has been put right, the next call goes on without a new process."""
    env = write("conections = 3\n")
    refusal(env)
    Path(settings_file.path_of(env)).write_text("connections = 3\n")
    assert load(env).connections == 3


def test_the_file_is_read_once(write: Write) -> None:
    """A process keeps to what the file said first: no logging call asks the disk for it."""
    env = write("connections = 3\n")
    assert load(env).connections == 3
    Path(settings_file.path_of(env)).write_text("connections = 9\n")
    assert load(env).connections == 3
    assert one(env, "connections") == 3


def test_training_code_logs_where_the_file_says(write: Write, tmp_path: Path) -> None:
    """A script without any variable uses store and locking of the file, and loads TOML only when there is a file."""
    env = write('store = "/nowhere"\nlocking = "exclusive"\n')
    config = Path(settings_file.path_of(env))
    script = (
        "import sys, localtrack\n"
        "with localtrack.start_run(): localtrack.log_metric('m', 1)\n"
        "from localtrack.journal import writer\n"
        "locking = [journal._current._locking for journal in writer._journals.values()]\n"
        "print('tomllib' in sys.modules or 'tomli' in sys.modules, *locking)\n"
    )
    config.write_text(f'store = "{tmp_path}/store"\nlocking = "exclusive"\n')
    root = Path(localtrack.__file__).parents[1]
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), **env}

    def logged(extra: dict[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**clean, **extra},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    assert logged({}) == "True exclusive"
    assert len(list((tmp_path / "store" / "journals").glob("*.db"))) == 1
    assert logged({"LOCALTRACK_CONFIG": os.devnull}) == "False auto"


@pytest.mark.parametrize(
    ("text", "table", "line"),
    [
        ("a = 1\nkey = 2\n", "", 2),
        ("# key\n'key' = 2\n", "", 2),
        ("[daemon]\nkey = 2\n", "", 0),
        ("key = 1\n[daemon]\nkey = 2\n", "daemon", 3),
        ("key = 1\ndaemon.key = 2\n", "daemon", 2),
        ("[other]\nkey = 1\n[ daemon ]\nkeys = 1\n  key=2\n", "daemon", 5),
        ("daemon = {key = 1}\n", "daemon", 0),
        ("[key]\n", "", 1),
        ("[[key]]\n", "", 1),
    ],
)
def test_lines_are_found(text: str, table: str, line: int) -> None:
    """The line of a key in the usual ways of writing; 0, never a wrong line, in others."""
    assert line_of(text, "key", table) == line
