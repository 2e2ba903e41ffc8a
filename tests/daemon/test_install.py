"""`localtrack daemon install` and `uninstall`: files that systems accept, and no secret in them."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from localtrack_sync.daemon.units import MARK, Service, launchd_agent, systemd_unit, systemd_word, windows_task
from tests.daemon.processes import House

TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
STORE = '/data/50% of "it" $HOME\\x'


def service(*stores: str) -> Service:
    """One that has what has to be escaped."""
    return Service(sys.executable, stores, "/home/ada/.config/localtrack/daemon.env", 10.0, "/log dir/x.log", "Debian")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("stores", [(), (STORE,)])
def test_systemd_accepts_the_unit(tmp_path: Path, stores: tuple[str, ...]) -> None:
    """`systemd-analyze verify` finds nothing, also with paths full of what systemd would expand; a mistake it finds."""
    assert complaints(tmp_path, systemd_unit(service(*stores))) == []
    assert complaints(tmp_path, systemd_unit(service(*stores)).replace("WatchdogSec=120", "WatchdogSecs=120"))


def complaints(place: Path, unit: str) -> list[str]:
    """What systemd says against a unit; it also looks at other units, which are none of our business."""
    path = place / "localtrack.service"
    path.write_text(unit)
    runtime = place / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return [line for line in done.stderr.splitlines() if path.name in line]


def test_the_unit_has_what_a_service_needs() -> None:
    """Readiness, watchdog, restart on failure, hardening, the file of variables; an interpreter that has localtrack."""
    text = systemd_unit(service())
    for line in (
        "Type=notify",
        "WatchdogSec=120",
        "Restart=on-failure",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "TimeoutStopSec=30",
        "EnvironmentFile=-/home/ada/.config/localtrack/daemon.env",
        "WantedBy=default.target",
        f"ExecStart={sys.executable} -m localtrack daemon run",
    ):
        assert line in text.splitlines()


def test_words_of_systemd() -> None:
    """Specifiers, variables, quotes and backslashes stand for themselves."""
    assert systemd_word("/plain/path-1.2") == "/plain/path-1.2"
    assert systemd_word(STORE) == '"/data/50%% of \\"it\\" $$HOME\\\\x"'
    assert "\n" not in systemd_word("a\nb")


def test_the_agent_of_launchd() -> None:
    """A property list that can be read, with the command as a list of words, and a log file."""
    agent = plistlib.loads(launchd_agent(service(STORE)).encode())
    assert agent["ProgramArguments"] == [
        sys.executable,
        *("-m", "localtrack", "daemon", "run", "--store", STORE, "--log-file", "/log dir/x.log"),
    ]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["RunAtLoad"] is True


def test_the_task_of_windows() -> None:
    """XML that can be read; the command starts the daemon in the subsystem, words in Windows' quotes."""
    task = ET.fromstring(windows_task(service("/data/a b")).encode("utf-16"))  # noqa: S314 - our own text
    assert task.findtext(f".//{TASK}Command") == "wsl.exe"
    told = task.findtext(f".//{TASK}Arguments")
    assert told == f'-d Debian --exec {sys.executable} -m localtrack daemon run --store "/data/a b"'


def unit_of(house: House) -> Path:
    """Where the unit is."""
    return house.home / ".config" / "systemd" / "user" / "localtrack.service"


def exec_start(house: House) -> list[str]:
    """The words of the unit's command."""
    [line] = [one for one in unit_of(house).read_text().splitlines() if one.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


def test_install_writes_the_unit_and_says_what_to_run(house: House) -> None:
    """No secret is in it; variables that the service will not see are named, not shown; its file of them is 0600."""
    done = house.said("install", "--kind", "systemd", MLFLOW_TRACKING_TOKEN="s3cr3t")  # noqa: S106
    assert done.returncode == 0, done.stderr
    for word in ("systemctl --user enable --now localtrack.service", "loginctl enable-linger", "MLFLOW_TRACKING_TOKEN"):
        assert word in done.stdout
    text = unit_of(house).read_text()
    assert MARK in text
    assert "s3cr3t" not in text + done.stdout
    variables = house.home / ".config" / "localtrack" / "daemon.env"
    assert variables.stat().st_mode & 0o777 == unit_of(house).stat().st_mode & 0o777 == 0o600
    assert str(variables) in done.stdout


def test_the_unit_names_stores_that_it_would_not_find(house: House) -> None:
    """A store that only this shell's variables name is written into the unit; the usual one is left to the settings."""
    house.said("install", "--kind", "systemd")
    assert exec_start(house)[-2:] == ["--store", house.store().path]
    house.said("install", "--kind", "systemd", LOCALTRACK_STORE="")
    assert exec_start(house)[1:] == ["-m", "localtrack", "daemon", "run"]
    house.said("install", "--kind", "systemd", "--store", house.store("a").path, "--store", house.store("b").path)
    assert exec_start(house)[-4:] == ["--store", house.store("a").path, "--store", house.store("b").path]


def test_the_command_of_the_unit_runs(house: House) -> None:
    """The words of ExecStart are those of a program that knows them: it explains itself."""
    house.said("install", "--kind", "systemd")
    done = subprocess.run(
        [*exec_start(house), "--help"], env=house.environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Run the daemon in the foreground" in done.stdout


def test_a_file_of_somebody_else_is_left_alone(house: House) -> None:
    """A unit of that name without our mark is neither written over nor removed."""
    unit_of(house).parent.mkdir(parents=True)
    unit_of(house).write_text("[Service]\nExecStart=/bin/true\n")
    for command in ("install", "uninstall"):
        done = house.said(command, "--kind", "systemd")
        assert done.returncode == 1
        assert "left alone" in done.stderr
    assert "/bin/true" in unit_of(house).read_text()


def test_a_file_of_variables_that_others_can_read_is_refused(house: House) -> None:
    """It may hold credentials: the words say how to close it."""
    variables = house.home / ".config" / "localtrack" / "daemon.env"
    variables.parent.mkdir(parents=True)
    variables.write_text("A=b\n")
    variables.chmod(0o644)
    done = house.said("install", "--kind", "systemd")
    assert done.returncode == 1
    assert "chmod 600" in done.stderr
    assert variables.read_text() == "A=b\n"


def test_uninstall_removes_the_unit_and_its_link(house: House) -> None:
    """Nothing of the unit is left; a second time there is nothing to do."""
    house.said("install", "--kind", "systemd")
    wants = unit_of(house).parent / "default.target.wants"
    wants.mkdir()
    (wants / unit_of(house).name).symlink_to(unit_of(house))
    done = house.said("uninstall", "--kind", "systemd")
    assert done.returncode == 0
    assert "systemctl --user stop localtrack.service" in done.stdout
    assert not unit_of(house).exists()
    assert list(wants.iterdir()) == []
    assert "Nothing is installed" in house.said("uninstall", "--kind", "systemd").stdout


def test_now_runs_systemctl(house: House) -> None:
    """`--now` runs what is otherwise named, in this order; a systemctl that fails is told in its own words."""
    programs = house.path / "bin"
    programs.mkdir()
    fake = programs / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$*" >> {house.path}/calls\n')
    fake.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    assert house.said("install", "--kind", "systemd", "--now", PATH=path).returncode == 0
    assert house.said("uninstall", "--kind", "systemd", "--now", PATH=path).returncode == 0
    assert (house.path / "calls").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now localtrack.service",
        "--user disable --now localtrack.service",
        "--user daemon-reload",
    ]
    fake.write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    done = house.said("install", "--kind", "systemd", "--now", PATH=path)
    assert done.returncode == 1
    assert "Failed to connect to bus" in done.stderr


@pytest.mark.parametrize("kind", ["launchd", "windows"])
def test_other_systems_get_a_file_and_instructions(house: House, kind: str) -> None:
    """The file is there, 0600, the commands that use it are named; `--now` is refused as a mistake of usage."""
    done = house.said("install", "--kind", kind)
    assert done.returncode == 0, done.stderr
    [path] = [Path(line.removeprefix("Wrote ")) for line in done.stdout.splitlines() if line.startswith("Wrote ")]
    assert path.stat().st_mode & 0o777 == 0o600
    assert {"launchd": "launchctl bootstrap", "windows": "schtasks.exe /Create"}[kind] in done.stdout
    if kind == "launchd":
        assert plistlib.loads(path.read_bytes())["Label"] == "localtrack.daemon"
    else:
        assert ET.parse(path).getroot().tag == f"{TASK}Task"  # noqa: S314 - our own file
    assert house.said("install", "--kind", kind, "--now").returncode == 2
    assert house.said("uninstall", "--kind", kind).returncode == 0
    assert not path.exists()
